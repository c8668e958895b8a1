/** The connection, what a screen reader is told, and the title of the window. */
import { isUnseen, legible } from "../state/name.js";
import { isOut } from "../state/rights.js";
import { byId, counted, h, setText } from "./dom.js";
import { BLANK } from "./text.js";

/** Shorter breaks are mended before anybody could read about them. */
const BANNER_AFTER_MS = 1_200;
/** Refusals that will not be different the next time. */
const FOREVER = new Set(["unauthorized", "invalid", "unmatched topic"]);
const HEARD_KEPT = 20;
const HEARD_BURST = 3;
const HEARD_TEXT_MAX = 200;

export function statusView(chat, store) {
  let ticking = null;
  let spokenState = "";
  byId("retry-now").addEventListener("click", () => {
    if (store.state.connection.state === "open") chat.open(store.state.active);
    else chat.retryNow();
  });

  return (state) => {
    const { connection } = state;
    const open = connection.state === "open";
    const ever = state.lobby.ready;
    setText(byId("connection"), open ? "Connected" : connection.state === "waiting" ? "Not connected" : "Connecting…");
    byId("connection").title = connection.rttMs === null ? "" : `${connection.rttMs} ms to the server and back`;
    byId("lamp").className = `lamp ${open ? "on" : connection.state === "waiting" ? "off" : "trying"}`;

    const lost = !open && (ever ? Date.now() - connection.lostAt > BANNER_AFTER_MS : connection.state === "waiting");
    const active = state.rooms.get(state.active);
    const refused = active && !isOut(active) ? active.refusal : null; // the conversation tells that
    byId("banner").hidden = !lost && !refused;
    byId("retry-now").hidden = lost ? connection.state !== "waiting" : !refused || FOREVER.has(refused.reason);
    setText(byId("banner-text"), lost ? lostText(connection, ever) : refused ? refusalText(refused) : "");
    // The countdown, and the banner's own delay.
    if (!open && state.me && ticking === null) {
      ticking = setTimeout(() => { ticking = null; store.change(() => {}); }, 500);
    }

    const spoken = open && ever ? "Connected" : lost ? "Connection lost. Reconnecting." : spokenState;
    if (spoken !== spokenState) {
      spokenState = spoken;
      setText(byId("said"), spoken);
    }
    title(state);
  };

  function title(state) {
    const room = state.rooms.get(state.active);
    const unread = [...state.rooms.values()].reduce((sum, { unread }) => sum + unread, 0);
    const elsewhere = unread - (room?.unread ?? 0);
    byId("elsewhere").hidden = elsewhere === 0;
    byId("open-rooms").setAttribute("aria-label", elsewhere ? `Rooms, ${elsewhere} unread` : "Rooms");
    document.title = `${unread ? `(${unread}) ` : ""}${room ? `${room.title} · ` : ""}Chinwag`;
  }
}

function lostText({ state, retryAt }, ever) {
  const what = ever ? "Connection lost." : "The server cannot be reached.";
  if (state !== "waiting") return `${what} Trying again…`;
  const seconds = Math.max(1, Math.ceil((retryAt - Date.now()) / 1000));
  return `${what} What you write is sent when it ${ever ? "is back" : "can"}. Trying again in ${seconds} s.`;
}

function refusalText({ reason, limit }) {
  switch (reason) {
    case "unauthorized": return "You may not enter this room.";
    case "invalid": case "unmatched topic": return "A room cannot have this name.";
    case "too_many_rooms": return "The server has no place for another room.";
    case "too many channels joined": return "You are in as many rooms as one can be. Leave another one first.";
    default: return `The server would not let you in: ${reason}${limit ? ` (${limit})` : ""}.`;
  }
}

/**
 * `{heard(room, message, active), forget(room, offset)}`: reads new messages out, and nothing else: the visible
 * conversation is no live region, so that neither opening a room nor loading older history makes a screen reader recite
 * it. A burst is summed up. What a message does not say any more is forgotten.
 */
export function announcer() {
  const log = byId("heard");
  let burst = [];
  return { heard, forget };

  function heard(room, message, active) {
    if (burst.length === 0) setTimeout(flush, 600);
    burst.push({ room, message, active });
  }

  /** Without an offset: all of the room. */
  function forget(room, offset) {
    const isIt = (name, of) => name === room.name && (offset === null || of === offset);
    burst = burst.filter(({ room: { name }, message }) => !isIt(name, message.offset));
    for (const entry of [...log.children]) if (isIt(entry.dataset.room, Number(entry.dataset.offset))) entry.remove();
  }

  function flush() {
    const here = burst.filter(({ active }) => active);
    const elsewhere = burst.filter(({ active }) => !active);
    burst = [];
    if (here.length > HEARD_BURST) say(counted(here.length, "new message", "new messages"));
    else for (const { room, message } of here) say(textOf(message), { "data-room": room.name, "data-offset": message.offset });
    for (const title of new Set(elsewhere.map(({ room }) => room.title))) say(`New in ${title}`);
  }

  function textOf({ name, user, body }) {
    const text = isUnseen(body) ? BLANK : body.slice(0, HEARD_TEXT_MAX);
    return `${legible(name, user)}: ${text}`;
  }

  function say(text, of = {}) {
    log.append(h("p", of, text));
    while (log.childElementCount > HEARD_KEPT) log.firstChild.remove();
  }
}
