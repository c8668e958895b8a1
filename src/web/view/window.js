/** What belongs to the window rather than to a part of it: theme, drawers, keys, and what stands where no conversation does. */
import { isOut } from "../state/rights.js";
import { byId, counted, h, isComposing, setText } from "./dom.js";
import { hrefOf } from "./rooms.js";

const THEMES = ["auto", "light", "dark"];
const THEME_KEY = "chinwag.theme";

export function theme(storage) {
  const root = document.documentElement;
  const button = byId("theme");
  const show = () => {
    const name = root.dataset.theme ?? "auto";
    button.querySelector("use").setAttribute("href", `#i-${name}`);
    const label = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" }[name];
    button.setAttribute("aria-label", label);
    button.title = label;
  };
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(root.dataset.theme ?? "auto") + 1) % THEMES.length];
    if (next === "auto") delete root.dataset.theme;
    else root.dataset.theme = next;
    storage.setItem(THEME_KEY, next === "auto" ? "" : next);
    show();
  });
  addEventListener("storage", ({ key, newValue }) => { // chosen in another tab
    if (key !== THEME_KEY) return;
    if (newValue) root.dataset.theme = newValue;
    else delete root.dataset.theme;
    show();
  });
  show();
}

/** The two side panels, where there is no room for them: over the page, one at a time, and the focus goes along. */
export function drawers() {
  const buttons = { rooms: byId("open-rooms"), members: byId("open-members") };
  let open = null;

  const isWide = () => matchMedia("(width >= 67.5em)").matches;
  const show = (name) => {
    open = name;
    for (const [key, button] of Object.entries(buttons)) {
      byId(key).classList.toggle("open", key === name);
      button.setAttribute("aria-expanded", String(key === name));
    }
    byId("app").classList.toggle("has-drawer", name !== null);
    for (const id of ["skip", "rooms", "talk", "members"]) byId(id).inert = name !== null && id !== name;
    if (name) byId(name).querySelector("a, button:not([hidden]), input").focus();
  };
  const close = () => {
    if (!open) return false;
    const button = buttons[open];
    show(null);
    button.focus();
    return true;
  };

  buttons.rooms.addEventListener("click", () => show("rooms"));
  buttons.members.addEventListener("click", () => {
    if (!isWide()) return show("members");
    const hidden = byId("app").classList.toggle("no-members");
    buttons.members.setAttribute("aria-expanded", String(!hidden));
  });
  buttons.members.setAttribute("aria-expanded", String(isWide()));
  byId("shade").addEventListener("click", close);
  for (const panel of ["rooms", "members"]) byId(panel).querySelector("[data-close]").addEventListener("click", close);
  matchMedia("(width >= 67.5em)").addEventListener("change", () => show(null));
  return { close, show };
}

export function keys({ chat, store, conversation, drawer, goTo }) {
  const input = byId("write");

  const toRoom = (step, unreadOnly) => {
    const { rooms, active } = store.state;
    const names = [...rooms.keys()];
    const at = names.indexOf(active);
    for (let i = 1; i <= names.length; i += 1) {
      const name = names[(Math.max(at, step < 0 ? 0 : -1) + (step + names.length) * i) % names.length];
      if (name !== active && (!unreadOnly || rooms.get(name).unread > 0)) return goTo(name);
    }
  };

  document.addEventListener("keydown", (event) => {
    if (isComposing(event) || document.querySelector("dialog[open], :popover-open")) return;
    const control = event.ctrlKey || event.metaKey;
    const vertical = { ArrowUp: -1, ArrowDown: 1, PageUp: -1, PageDown: 1 }[event.key];
    if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      toRoom(vertical, event.shiftKey);
    } else if (control && event.key.toLowerCase() === "k") {
      if (matchMedia("(width <= 47.5em)").matches) drawer.show("rooms");
      byId("filter").focus();
    } else if (control && event.key === "/") {
      byId("shortcuts").showModal();
    } else if (event.key === "Escape") {
      if (!drawer.close()) {
        conversation.toEnd();
        if (!input.disabled) input.focus();
      }
    } else if (vertical && event.target === input && event.key.startsWith("Page")) {
      conversation.page(vertical);
    } else {
      return;
    }
    event.preventDefault();
  });
  byId("help").addEventListener("click", () => byId("shortcuts").showModal());
  byId("skip").addEventListener("click", () => input.focus());
}

export function welcomeView(startRoom) {
  return (state) => {
    const room = state.rooms.get(state.active);
    byId("room").hidden = !room;
    byId("leave").hidden = !room;
    byId("open-members").hidden = !room || isOut(room);
    setText(byId("title"), room?.title ?? "Chinwag");
    byId("title").title = room?.title ?? "";
    setText(byId("subtitle"), room ? subtitle(room) : "");
    const { topic = "" } = room?.info ?? {};
    setText(byId("topic"), topic);
    byId("topic").title = topic;
    const silent = room && room.segments.length > 0 && room.segments.every(({ messages }) => messages.length === 0) && room.outbox.length === 0;
    const welcome = byId("welcome");
    const busiest = room ? [] : [...state.lobby.rooms.values()].sort((a, b) => b.members - a.members).slice(0, 4);
    const key = room ? (silent ? room.title : "") : state.lobby.ready ? JSON.stringify(busiest) : "";
    welcome.hidden = key === "";
    if (welcome.dataset.key === key) return;
    welcome.dataset.key = key;
    welcome.replaceChildren(...(key === "" ? [] : texts(room, busiest)));
  };

  function texts(room, busiest) {
    if (room) {
      const silence = h("p", { class: "big" }, "Nobody has said anything in ", h("bdi", {}, room.title), " yet.");
      return [silence, h("p", {}, "Somebody has to start.")];
    }
    const begin = h("button", { type: "button", class: "primary", onclick: () => startRoom() }, "Start a room");
    if (busiest.length === 0) return [h("p", { class: "big" }, "It is quiet here."), h("p", {}, "No room is open yet."), begin];
    return [
      h("p", { class: "big" }, "Where to?"),
      h("ul", { class: "cards" }, ...busiest.map(({ room: name, title, members }) => h("li", {}, h("a", { href: hrefOf(name) },
        h("b", { dir: "auto" }, title), h("span", {}, members ? `${counted(members, "person", "people")} there` : "nobody there now"))))),
      begin,
    ];
  }
}

/** The room's name, where its title is another, and what is special about it. */
function subtitle(room) {
  if (room.status === "joining") return "Going in…";
  const mayRead = room.silence !== null && room.silence.reason !== "muted";
  const name = room.title === room.name ? "" : room.name;
  return [name, mayRead ? "read only" : ""].filter(Boolean).join(" · ");
}
