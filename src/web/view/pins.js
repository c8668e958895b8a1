/**
 * What is pinned in the room: a number in the head, and a list that leads to each that is here. Others are fetched when
 * the list is opened, and can be read in it.
 */
import { legible } from "../state/name.js";
import { pinned } from "../state/room.js";
import { byId, colour, counted, h, setText } from "./dom.js";
import { excerpt } from "./text.js";
import { moment } from "./words.js";

const NONE = { here: [], aside: [], others: 0 };

export function pinsView(chat, { goToMessage }) {
  const panel = byId("pins");
  const button = byId("open-pins");
  let room = null;
  let version = -1;

  panel.addEventListener("beforetoggle", ({ newState }) => {
    if (newState !== "open") return;
    if (pinned(room).others > 0) chat.findPins(room.name);
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
    const { here, aside, others } = room ? pinned(room) : NONE;
    const count = here.length + aside.length + others;
    button.hidden = count === 0;
    setText(byId("pins-count"), count.toLocaleString());
    setText(byId("pins-unit"), count === 1 ? " pinned message" : " pinned messages");
    if (count === 0 && panel.matches(":popover-open")) panel.hidePopover();
    // Also where it is closed: what is deleted stands nowhere.
    if (byId("pins-list").childElementCount || panel.matches(":popover-open")) fill();
  };

  function fill() {
    const { here, aside, others } = room ? pinned(room) : NONE;
    byId("pins-list").replaceChildren(
      ...here.map((message) => h("li", {},
        h("button", { type: "button", onclick: () => leadTo(message) }, ...said(message)))),
      ...aside.map((message) => h("li", { class: "further" }, ...said(message, message.body))),
      others > 0 ? h("li", { class: "further missing" }, `${counted(others, "message", "messages")} further back`) : "");
  }

  function leadTo({ offset }) {
    panel.hidePopover();
    goToMessage(offset);
  }
}

/** Who said it, when, and what: as much as leads there, unless all of its text is to be read here. */
function said({ user, name, at, body }, text = excerpt(body)) {
  return [
    h("span", { class: "by" }, colour(h("b", { dir: "auto" }, legible(name, user)), user),
      h("time", { datetime: new Date(at).toISOString() }, moment.format(at))),
    h("span", { class: "clipped", dir: "auto" }, text),
  ];
}
