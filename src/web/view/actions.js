/**
 * What can be done to a message, and to who wrote it: the toolbar that comes with the pointer and
 * the focus, the menu, its keys, and the long press.
 *
 * The conversation is one tab stop. Arrows go from message to message, and along the reactions of
 * one; Enter, the menu key, a click on "More" or a long press open the menu, and "React" opens it
 * with the emoji alone. What one may not do is not there.
 */
import { byId, h, icon, isComposing } from "./dom.js";
import { menuIn } from "./menu.js";
import { actionsOn } from "./people.js";
import { COMMON } from "./reactions.js";

const LONG_PRESS_MS = 400;
const SLIPPED_PX = 10;

/** In the order of the menu. `verb` is what a row's `may` must have. */
const ACTIONS = [
  { name: "react", verb: "react", icon: "react", text: () => "React", key: "+" },
  { name: "reply", verb: "reply", icon: "reply", text: () => "Reply", key: "R" },
  { name: "edit", verb: "edit", icon: "edit", text: () => "Edit", key: "E" },
  { name: "copy", icon: "copy", text: () => "Copy the text", key: "C" },
  { name: "pin", verb: "pin", icon: "pin", text: ({ message }) => (message.pinned ? "Unpin" : "Pin"), key: "P" },
  { name: "report", verb: "report", icon: "flag", text: () => "Report…", bad: true },
  { name: "delete", verb: "delete", icon: "trash", text: ({ own }) => (own ? "Delete" : "Delete for everybody"), key: "Del", bad: true },
];

const SHORT = new Set(["react", "reply", "edit"]);

const offered = (row) => (row.may.size === 0 ? [] : ACTIONS.filter(({ verb }) => verb === undefined || row.may.has(verb)));

/** The buttons that float over a message: of those that are used most, and "More". Null where nothing can be done. */
export function toolbar(row) {
  const actions = offered(row);
  if (actions.length === 0) return null;
  const button = (name, picture, label) =>
    h("button", { type: "button", class: "icon", tabindex: -1, "data-act": name, "aria-label": label, title: label }, icon(picture));
  const short = actions.filter(({ name }) => SHORT.has(name));
  return h("div", { class: "toolbar" },
    ...short.map(({ name, icon, text, key }) => button(name, icon, `${text(row)} (${key})`)), button("more", "more", "More"));
}

/**
 * `rowOf(element)` is the row of a message's element; `act(name, row)` does what was chosen, and
 * `react(row, emoji, on)` that.
 */
export function messageActions({ rowOf, act, react }) {
  const log = byId("log");
  const scroller = byId("scroller");
  const menu = menuIn(byId("actions"));
  let pressed = null; // {timer, x, y}
  let isLong = false; // the finger that opened the menu is still down

  const messages = () => [...log.querySelectorAll(".said[data-key]")];
  const messageOf = (target) => target.closest?.(".said[data-key]") ?? null;

  log.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-act]");
    if (!button) return;
    const element = messageOf(button);
    if (button.dataset.act === "more") open(element, { button });
    else begin(button.dataset.act, element, button);
  });
  // Who reacts with the pointer goes on writing.
  log.addEventListener("mousedown", (event) => {
    if (event.target.closest("button.reaction")) event.preventDefault();
  });
  scroller.addEventListener("keydown", keyed);
  scroller.addEventListener("wheel", () => menu.close(false), { passive: true });
  scroller.addEventListener("scroll", release, { passive: true });

  // A long press, and not what the browser would do of its own then.
  log.addEventListener("pointerdown", ({ target, pointerType, clientX, clientY }) => {
    release();
    isLong = false;
    const element = messageOf(target);
    if (pointerType !== "touch" || !element) return;
    const timer = setTimeout(() => {
      pressed = null;
      isLong = true;
      open(element);
    }, LONG_PRESS_MS);
    pressed = { x: clientX, y: clientY, timer };
  });
  log.addEventListener("touchend", (event) => {
    if (isLong) event.preventDefault(); // it is no tap on what lies below
    isLong = false;
  });
  log.addEventListener("pointermove", ({ clientX, clientY }) => {
    if (pressed && Math.hypot(clientX - pressed.x, clientY - pressed.y) > SLIPPED_PX) release();
  });
  for (const event of ["pointerup", "pointercancel"]) log.addEventListener(event, release);
  log.addEventListener("contextmenu", (event) => {
    if (event.pointerType === "touch" || menu.isOpen()) event.preventDefault();
  });

  return { close: () => menu.close(false) };

  function release() {
    clearTimeout(pressed?.timer);
    pressed = null;
  }

  function keyed(event) {
    const { key, target } = event;
    if (isComposing(event) || event.altKey || event.ctrlKey || event.metaKey) return;
    const element = messageOf(target);
    const row = element && rowOf(element);
    const parts = [...(element?.querySelectorAll(".body a, .fold, .reactions button") ?? [])];
    const isPlace = target === scroller || target === element || parts.includes(target);
    if (isPlace && (key === "ArrowUp" || key === "ArrowDown")) {
      step(element, key === "ArrowDown" ? 1 : -1);
    } else if (isPlace && element && (key === "ArrowRight" || key === "ArrowLeft")) {
      const places = [element, ...parts];
      places[places.indexOf(target) + (key === "ArrowRight" ? 1 : -1)]?.focus();
    } else if (target !== element || !row) {
      return;
    } else if (key === "Enter" || key === "ContextMenu" || (key === "F10" && event.shiftKey)) {
      if (offered(row).length === 0) return;
      open(element);
    } else {
      const pressed = { "+": "+", r: "R", e: "E", c: "C", p: "P", Delete: "Del" }[key];
      const action = offered(row).find(({ key }) => key === pressed);
      if (!action) return;
      begin(action.name, element);
    }
    event.preventDefault();
  }

  /** From the conversation itself to the last message in sight, or the first one. */
  function step(from, by) {
    const all = messages();
    const view = scroller.getBoundingClientRect();
    const isSeen = (element) => {
      const { top, bottom } = element.getBoundingClientRect();
      return bottom > view.top && top < view.bottom;
    };
    const start = by < 0 ? all.findLast(isSeen) : all.find(isSeen);
    const next = from ? all[all.indexOf(from) + by] : start;
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }

  function begin(name, element, button = null) {
    if (name === "react") open(element, { button, isPicker: true });
    else act(name, rowOf(element));
  }

  /** Opens the menu; as a picker it has the emoji alone. */
  function open(element, { button = null, isPicker = false } = {}) {
    const row = rowOf(element);
    const all = row ? offered(row) : [];
    const actions = isPicker ? [] : all.filter(({ name }) => name !== "react");
    const canReact = all.some(({ name }) => name === "react");
    menu.close(false);
    if (actions.length === 0 && !canReact) return;
    element.classList.add("active");
    // What has scrolled out of sight is no place for a menu.
    const at = (button ?? element).getBoundingClientRect();
    const view = scroller.getBoundingClientRect();
    menu.open([
      ...actions.filter(({ bad }) => !bad).map((action) => itemFor(action, row)),
      ...(isPicker ? [] : actionsOn([...row.may], (verb) => act(verb, row))),
      ...actions.filter(({ bad }) => bad).map((action) => itemFor(action, row)),
    ], {
      top: Math.max(at.top, view.top), bottom: Math.min(at.bottom, view.bottom), right: at.right,
      isOver: button === null, closed: (takesFocus) => closed(row, element, takesFocus),
    }, canReact ? emojiFor(row) : null);
  }

  function emojiFor(row) {
    const { mine = [] } = row.message;
    return { label: "React", items: COMMON.map((emoji) => ({
      text: emoji, label: `React with ${emoji}`, isOn: mine.includes(emoji),
      act: (on) => react(row, emoji, on),
    })) };
  }

  function itemFor({ name, icon, text, key, bad }, row) {
    return { icon, text: text(row), key, bad, act: () => act(name, row) };
  }

  /** Gives the focus back to the message, if it is here still, or else to the conversation. */
  function closed(row, element, takesFocus) {
    element.classList.remove("active");
    const again = messages().find(({ dataset }) => dataset.key === row.key);
    again?.classList.remove("active");
    if (takesFocus) (again ?? scroller).focus({ preventScroll: true });
  }
}

/**
 * Copies a text, also where the page came by plain http, to which browsers give no clipboard: then
 * by way of a field in `place`, which must not lie behind an open dialog.
 */
export async function copy(text, place = document.body) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = h("textarea", { class: "vh" });
    const focused = document.activeElement;
    field.value = text;
    place.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    focused?.focus({ preventScroll: true });
  }
}
