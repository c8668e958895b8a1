/**
 * What can be done to a message: the toolbar that comes with the pointer and the focus, the menu, its keys, and the long press.
 *
 * The conversation is one tab stop. Arrows go from message to message; Enter, the menu key, a click on "More" or a long press open the
 * menu. What one may not do is not there.
 */
import { byId, h, icon, isComposing } from "./dom.js";

const LONG_PRESS_MS = 400;
const SLIPPED_PX = 10;
const GAP_PX = 4;

/** In the order of the menu. `verb` is what a row's `may` must have. */
const ACTIONS = [
  { name: "reply", verb: "reply", icon: "reply", text: () => "Reply", key: "R" },
  { name: "edit", verb: "edit", icon: "edit", text: () => "Edit", key: "E" },
  { name: "copy", icon: "copy", text: () => "Copy the text", key: "C" },
  { name: "pin", verb: "pin", icon: "pin", text: ({ message }) => (message.pinned ? "Unpin" : "Pin"), key: "P" },
  { name: "delete", verb: "delete", icon: "trash", text: ({ own }) => (own ? "Delete" : "Delete for everybody"), key: "Del", bad: true },
];

const offered = (row) => (row.may.size === 0 ? [] : ACTIONS.filter(({ verb }) => verb === undefined || row.may.has(verb)));

/** The buttons that float over a message: of those that are used most, and "More". Null where nothing can be done. */
export function toolbar(row) {
  const actions = offered(row);
  if (actions.length === 0) return null;
  const button = (name, picture, label) =>
    h("button", { type: "button", class: "icon", tabindex: -1, "data-act": name, "aria-label": label, title: label }, icon(picture));
  const short = actions.filter(({ name }) => name === "reply" || name === "edit");
  return h("div", { class: "toolbar" },
    ...short.map(({ name, icon, text, key }) => button(name, icon, `${text(row)} (${key})`)), button("more", "more", "More"));
}

/** `rowOf(element)` is the row of a message's element; `act(name, row)` does what was chosen. */
export function messageActions({ rowOf, act }) {
  const log = byId("log");
  const scroller = byId("scroller");
  const menu = byId("actions");
  let opened = null; // {row, element}
  let pressed = null; // {timer, x, y}
  let isLong = false; // the finger that opened the menu is still down

  const messages = () => [...log.querySelectorAll(".said[data-key]")];
  const messageOf = (target) => target.closest?.(".said[data-key]") ?? null;

  log.addEventListener("click", ({ target }) => {
    const button = target.closest("[data-act]");
    if (!button) return;
    const element = messageOf(button);
    if (button.dataset.act === "more") open(element, button);
    else act(button.dataset.act, rowOf(element));
  });
  scroller.addEventListener("keydown", keyed);
  scroller.addEventListener("wheel", () => close(false), { passive: true });
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
    if (event.pointerType === "touch" || opened) event.preventDefault();
  });

  // While the menu is open, the first press elsewhere closes it, and does nothing else.
  document.addEventListener("pointerdown", (event) => {
    if (!opened || menu.contains(event.target)) return;
    close(true);
    const once = { capture: true, once: true };
    const swallow = (click) => {
      if (click.detail === 0) return; // by a key
      click.preventDefault();
      click.stopPropagation();
    };
    document.addEventListener("click", swallow, once);
    document.addEventListener("pointerdown", () => document.removeEventListener("click", swallow, once), once);
  }, true);
  menu.addEventListener("keydown", (event) => {
    const items = [...menu.querySelectorAll("[role=menuitem]")];
    const at = items.indexOf(document.activeElement);
    const to = { ArrowDown: at + 1, ArrowUp: at - 1 + items.length, Home: 0, End: items.length - 1 }[event.key];
    if (to !== undefined) items[to % items.length].focus();
    else if (event.key === "Escape" || event.key === "Tab") close(true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  addEventListener("resize", () => close(true));

  return { close: () => close(false) };

  function release() {
    clearTimeout(pressed?.timer);
    pressed = null;
  }

  function keyed(event) {
    const { key, target } = event;
    if (isComposing(event) || event.altKey || event.ctrlKey || event.metaKey) return;
    const element = messageOf(target);
    const row = element && rowOf(element);
    if (key === "ArrowUp" || key === "ArrowDown") {
      if (target !== scroller && target !== element) return;
      step(element, key === "ArrowDown" ? 1 : -1);
    } else if (target !== element || !row) {
      return;
    } else if (key === "Enter" || key === "ContextMenu" || (key === "F10" && event.shiftKey)) {
      if (offered(row).length === 0) return;
      open(element);
    } else {
      const pressed = { r: "R", e: "E", c: "C", p: "P", Delete: "Del" }[key];
      const action = offered(row).find(({ key }) => key === pressed);
      if (!action) return;
      act(action.name, row);
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

  function open(element, button = null) {
    const row = rowOf(element);
    const actions = row ? offered(row) : [];
    close(false);
    if (actions.length === 0) return;
    opened = { row, element };
    element.classList.add("active");
    menu.replaceChildren(...actions.flatMap((action, index) => [
      action.bad && index > 0 ? h("hr") : null,
      h("button", { type: "button", role: "menuitem", tabindex: -1, class: action.bad ? "bad" : null, onclick: () => choose(action.name) },
        icon(action.icon), h("span", {}, action.text(row)), h("kbd", { "aria-hidden": "true" }, action.key)),
    ]).filter(Boolean));
    menu.showPopover();
    place(button ?? element, button === null);
    menu.querySelector("[role=menuitem]").focus();
  }

  /** Under the button, or above it where there is no room; of a message without one, at its end. On a phone the style says where. */
  function place(anchor, isMessage) {
    const at = anchor.getBoundingClientRect();
    const view = scroller.getBoundingClientRect();
    const [top, bottom] = [Math.max(at.top, view.top), Math.min(at.bottom, view.bottom)];
    const { offsetWidth: width, offsetHeight: height } = menu;
    const below = isMessage ? top + GAP_PX : bottom + GAP_PX;
    const y = below + height > innerHeight ? Math.max(GAP_PX, (isMessage ? bottom : top) - height - GAP_PX) : below;
    menu.style.setProperty("--top", `${y}px`);
    menu.style.setProperty("--left", `${Math.max(GAP_PX, Math.min(at.right - width, innerWidth - width - GAP_PX))}px`);
  }

  function choose(name) {
    const { row } = opened;
    close(true);
    act(name, row);
  }

  /** Gives the focus back to the message, if it is here still, or else to the conversation. */
  function close(takesFocus) {
    if (!opened) return;
    const { row, element } = opened;
    opened = null;
    menu.hidePopover();
    element.classList.remove("active");
    const again = messages().find(({ dataset }) => dataset.key === row.key);
    again?.classList.remove("active");
    if (takesFocus) (again ?? scroller).focus({ preventScroll: true });
  }
}

/** Copies a text, also where the page came by plain http, to which browsers give no clipboard. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = h("textarea", { class: "vh" });
    const focused = document.activeElement;
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    focused?.focus({ preventScroll: true });
  }
}
