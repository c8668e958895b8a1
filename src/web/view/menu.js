/**
 * One menu: a list of actions that opens at a thing, and that arrows, Esc and a press elsewhere
 * serve as they do in any menu. What the actions are, and where the focus goes back to, is told
 * by whoever opens it.
 */
import { h, icon } from "./dom.js";

const GAP_PX = 4;

/**
 * `{open(actions, {top, bottom, right, isOver, closed}), close(), isOpen()}`. An action is
 * `{icon, text, key?, bad?, act}`. `top`, `bottom` and `right` are where the thing is, in pixels;
 * `isOver`: the menu may cover it. `closed(takesFocus)` is called whenever the menu is gone.
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
    const items = [...element.querySelectorAll("[role=menuitem]")];
    const at = items.indexOf(document.activeElement);
    const last = items.length - 1;
    const to = { ArrowDown: at + 1, ArrowUp: at + last, Home: 0, End: last }[event.key];
    if (to !== undefined) items[to % items.length].focus();
    else if (event.key === "Escape" || event.key === "Tab") close(true);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  addEventListener("resize", () => close(true));

  return { open, close, isOpen: () => closed !== null };

  function open(actions, { closed: whenClosed, ...where }) {
    close(false);
    closed = whenClosed;
    const firstBad = actions.findIndex(({ bad }) => bad);
    element.replaceChildren(...actions.flatMap((action, index) => [
      ...(index > 0 && index === firstBad ? [h("hr")] : []), item(action),
    ]));
    element.showPopover();
    place(where);
    element.querySelector("[role=menuitem]").focus();
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
