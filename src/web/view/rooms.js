/** The panel of rooms: the user's own with unread marks, the others with live head counts, and the way to new ones. */
import { directory } from "../state/lobby.js";
import { legible, roomName } from "../state/name.js";
import { headCount } from "../state/room.js";
import { byId, counted, h, isComposing, keyedList, setText } from "./dom.js";

/** The hash of an address of a room, to which it may invite. */
export const hrefOf = (name, invite = null) =>
  `#room=${encodeURIComponent(name)}${invite === null ? "" : `&invite=${invite}`}`;

const HASH = /^#room=(.+?)(?:&invite=(inv_[\w.-]+))?$/;

/** The invite in the hash of an address, or null. */
export const inviteIn = (hash) => hash.match(HASH)?.[2] ?? null;

/** The name of the room in the hash of an address, or null. */
export function roomIn(hash) {
  const [, name] = hash.match(HASH) ?? [];
  try {
    return name ? decodeURIComponent(name) : null;
  } catch {
    return name; // somebody's own percent sign
  }
}

export function roomsView(chat, { store, goTo }) {
  const mine = keyedList(byId("mine"), make, update);
  const others = keyedList(byId("others"), make, update);
  const filter = byId("filter");
  const find = (text) => {
    filter.value = text;
    chat.filter(text);
  };
  filter.addEventListener("input", () => chat.filter(filter.value));
  filter.addEventListener("keydown", (event) => {
    if (isComposing(event)) return;
    if (event.key === "Enter") {
      event.preventDefault();
      const name = sought(filter.value);
      if (name) goTo(name);
      find("");
    } else if (event.key === "Escape" && filter.value) {
      event.stopPropagation();
      find("");
    }
  });

  /** The name of the room that is called just so, else of the first one in which it occurs, else of a new one. */
  function sought(text) {
    const { lobby, rooms } = store.state; // what is shown may be older
    const { mine, others, exact } = directory(lobby, rooms, text);
    return (exact ?? mine[0] ?? others[0])?.room ?? roomName(text.trim());
  }

  return (state) => {
    const list = directory(state.lobby, state.rooms, state.filter);
    mine(list.mine.map((room) => row(room, state.active)));
    const wanted = roomName(state.filter.trim());
    const offer = wanted && !list.exact ? [{ key: `start ${wanted}`, signature: "", room: wanted, fresh: true }] : [];
    others([...list.others.map((room) => row(room, state.active)), ...offer]);
    byId("mine-section").hidden = list.mine.length === 0;
    byId("others-section").hidden = list.others.length + offer.length === 0 && Boolean(wanted || list.mine.length);
    const note = list.hidden ? `and ${counted(list.hidden, "more", "more")}: find them by name`
      : state.lobby.ready && list.others.length + offer.length + list.mine.length === 0 ? "No room yet. Start the first one." : "";
    setText(byId("others-note"), note);
  };

  function row({ room, title, members, joined }, active) {
    const people = joined?.members.length ? headCount(joined) : members; // who is inside knows sooner than the lobby tells
    const unread = joined?.unread ?? 0;
    const current = room === active;
    return { key: room, signature: `${title} ${people} ${unread} ${current} ${joined?.status}`, room, title, people, unread, current, joined };
  }

  function make(row) {
    if (row.fresh) {
      return h("li", {}, h("a", { href: hrefOf(row.room), class: "fresh" },
        h("span", { class: "hash", "aria-hidden": "true" }, "+"), h("span", { class: "label", dir: "auto" }, "Start “", h("bdi", {}, legible(row.room)), "”")));
    }
    const item = h("li", {}, h("a", { href: hrefOf(row.room) },
      h("span", { class: "hash", "aria-hidden": "true" }), h("span", { class: "label", dir: "auto" }),
      number("unread"), number("count")));
    update(item, row);
    return item;
  }

  function update(item, { room, title, people, unread, current, joined }) {
    const link = item.firstChild;
    const [, label, badge, count] = link.children;
    setText(label, title);
    label.title = title !== room ? `${title} (${room})` : room;
    showNumber(badge, unread, unread > 99 ? "99+" : String(unread), "unread");
    showNumber(count, people, people.toLocaleString(), people === 1 ? "person" : "people");
    link.classList.toggle("has-unread", unread > 0);
    link.classList.toggle("refused", joined?.status === "refused");
    if (current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** A number whose unit is only spoken. */
function number(name) {
  return h("span", { class: name }, h("span"), h("span", { class: "vh" }));
}

function showNumber(element, value, text, unit) {
  element.hidden = value === 0;
  setText(element.firstChild, text);
  setText(element.lastChild, ` ${unit}`);
}
