/**
 * One menu: a list of actions that opens at a thing, and that arrows, Esc and a press elsewhere
 * serve as they do in any menu. Above the list there may be a row of things to switch. What the
 * actions are, and where the focus goes back to, is told by whoever opens it.
 */
import { h, icon } from "./dom.js";

const GAP_PX = 4;
const SWITCH = "[role=menuitemcheckbox]";

/**
 * `{open(actions, {top, bottom, right, isOver, closed}, switches), close(), isOpen()}`. An action
 * is `{icon, text, key?, bad?, act}`. `top`, `bottom` and `right` are where the thing is, in
 * pixels; `isOver`: the menu may cover it. `closed(takesFocus)` is called whenever the menu is
 * gone. `switches` are `{label, items: [{text, label, isOn, act}]}`, or null; `act(on)` is called.
 */
export function menuIn(element) {
  let closed = null; // of the open menu

  // While the menu is open, the first press elsewhere closes it, and does nothing else.
  document.addEventListener("pointerdown", (event) => {
    if (!closed || element.contains(event.target)) return;
    close(true);
    const once = { capture: true, once: true };
    const swallow = (click) => {
      if (click.detail === 0) return; // by a key
      click.preventDefault();
      click.stopPropagation();
    };
    document.addEventListener("click", swallow, once);
    const forget = () => document.removeEventListener("click", swallow, once);
    document.addEventListener("pointerdown", forget, once);
  }, true);
  element.addEventListener("keydown", (event) => {
    const next = nextFor(event.key);
    if (next) next.focus();
    else if (event.key === "Escape" || event.key === "Tab") close(true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  addEventListener("resize", () => close(true));

  return { open, close, isOpen: () => closed !== null };

  function open(actions, { closed: whenClosed, ...where }, switches = null) {
    close(false);
    closed = whenClosed;
    const firstBad = actions.findIndex(({ bad }) => bad);
    const items = actions.flatMap((action, index) => [
      ...(index > 0 && index === firstBad ? [h("hr")] : []), item(action),
    ]);
    element.replaceChildren(...(switches ? [rowOf(switches)] : []), ...items);
    element.showPopover();
    place(where);
    (items[0] ?? element.querySelector(SWITCH)).focus();
  }

  /** Where a key leads from what has the focus. */
  function nextFor(key) {
    const switches = [...element.querySelectorAll(SWITCH)];
    const items = [...element.querySelectorAll("[role=menuitem]")];
    const { activeElement: focused } = document;
    const among = switches.indexOf(focused);
    const aside = { ArrowRight: 1, ArrowLeft: switches.length - 1 }[key];
    if (among >= 0 && aside) return switches[(among + aside) % switches.length];

    // The switches are one line of the list, unless they are all there is.
    const lines = items.length > 0 ? [...switches.slice(0, 1), ...items] : switches;
    const at = lines.indexOf(among >= 0 && items.length > 0 ? switches[0] : focused);
    const last = lines.length - 1;
    const to = { ArrowDown: at + 1, ArrowUp: at + last, Home: 0, End: last }[key];
    return to === undefined ? undefined : lines[to % lines.length];
  }

  function rowOf({ label, items }) {
    return h("div", { class: "switches", role: "group", "aria-label": label },
      ...items.map(({ text, label, isOn, act }) => h("button", {
        type: "button", role: "menuitemcheckbox", tabindex: -1, "aria-checked": String(isOn),
        "aria-label": label, title: label, onclick: () => {
          close(true);
          act(!isOn);
        },
      }, text)));
  }

  function item({ icon: picture, text, key, bad, act }) {
    const choose = () => {
      close(true);
      act();
    };
    const looks = { type: "button", role: "menuitem", tabindex: -1, class: bad ? "bad" : null };
    return h("button", { ...looks, onclick: choose }, icon(picture), h("span", {}, text),
      key ? h("kbd", { "aria-hidden": "true" }, key) : null);
  }

  /** Under the thing, or above it where there is no room. On a phone the style says where. */
  function place({ top, bottom, right, isOver }) {
    const { offsetWidth: width, offsetHeight: height } = element;
    const below = (isOver ? top : bottom) + GAP_PX;
    const above = Math.max(GAP_PX, (isOver ? bottom : top) - height - GAP_PX);
    const left = Math.max(GAP_PX, Math.min(right - width, innerWidth - width - GAP_PX));
    element.style.setProperty("--top", `${below + height > innerHeight ? above : below}px`);
    element.style.setProperty("--left", `${left}px`);
  }

  function close(takesFocus) {
    if (!closed) return;
    const told = closed;
    closed = null;
    element.hidePopover();
    told(takesFocus);
  }
}
