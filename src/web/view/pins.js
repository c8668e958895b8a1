/** What is pinned in the room, as far as it is loaded: a number in the head, and a list that leads to each. */
import { legible } from "../state/name.js";
import { pinned } from "../state/room.js";
import { byId, colour, h, setText } from "./dom.js";
import { excerpt } from "./text.js";
import { moment } from "./words.js";

export function pinsView(chat, { goToMessage }) {
  const panel = byId("pins");
  const button = byId("open-pins");
  let room = null;
  let version = -1;

  panel.addEventListener("beforetoggle", ({ newState }) => {
    if (newState !== "open") return;
    fill();
    const { bottom, right } = button.getBoundingClientRect();
    panel.style.setProperty("--top", `${bottom + 4}px`);
    panel.style.setProperty("--right", `${Math.max(8, document.documentElement.clientWidth - right)}px`);
  });

  return (state) => {
    const next = state.rooms.get(state.active) ?? null;
    if (next === room && version === room?.version) return;
    if (next !== room && panel.matches(":popover-open")) panel.hidePopover();
    room = next;
    version = room?.version;
    const count = room ? pinned(room).length : 0;
    button.hidden = count === 0;
    setText(byId("pins-count"), count.toLocaleString());
    setText(byId("pins-unit"), count === 1 ? " pinned message" : " pinned messages");
    if (count === 0 && panel.matches(":popover-open")) panel.hidePopover();
    // Also where it is closed: what is deleted stands nowhere.
    if (byId("pins-list").childElementCount || panel.matches(":popover-open")) fill();
  };

  function fill() {
    byId("pins-list").replaceChildren(...(room ? pinned(room) : []).map(({ offset, user, name, at, body }) => h("li", {},
      h("button", { type: "button", onclick: () => { panel.hidePopover(); goToMessage(offset); } },
        h("span", { class: "by" }, colour(h("b", { dir: "auto" }, legible(name, user)), user), h("time", { datetime: new Date(at).toISOString() }, moment.format(at))),
        h("span", { class: "clipped", dir: "auto" }, excerpt(body))))));
  }
}
