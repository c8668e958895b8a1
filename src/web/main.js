/** Puts the parts together: session, socket, store, views, and what belongs to the window (address, keys, drawers, theme). */
import { Socket } from "./channel.js";
import { Session } from "./session.js";
import { Chat, initialState } from "./state/chat.js";
import { legible } from "./state/name.js";
import { createStore } from "./state/store.js";
import { auditView, reportDialog } from "./view/audit.js";
import { composerView } from "./view/composer.js";
import { conversationView } from "./view/conversation.js";
import { askName, deleteDialog, startRoomDialog } from "./view/dialogs.js";
import { byId, setText } from "./view/dom.js";
import { inviteView } from "./view/invite.js";
import { membersView } from "./view/members.js";
import { personDialog } from "./view/people.js";
import { pinsView } from "./view/pins.js";
import { hrefOf, inviteIn, roomIn, roomsView } from "./view/rooms.js";
import { settingsView } from "./view/settings.js";
import { announcer, statusView } from "./view/status.js";
import { drawers, keys, theme, welcomeView } from "./view/window.js";

/** What is on the screen follows the paint; a hidden tab has none, and its title must still count. */
function schedule(render) {
  let done = false;
  const once = () => {
    if (!done) render();
    done = true;
  };
  requestAnimationFrame(once);
  setTimeout(once, 250);
}

/** A browser that is told to keep nothing, or whose store is full, refuses by throwing: then what would be kept lasts as long as the page. */
function storage(name) {
  const items = new Map();
  const attempt = (use, otherwise) => {
    try {
      return use(globalThis[name]);
    } catch {
      return otherwise;
    }
  };
  return {
    getItem: (key) => items.get(key) ?? attempt((store) => store.getItem(key), null),
    setItem: (key, value) => {
      if (attempt((store) => { store.setItem(key, value); return true; }, false)) items.delete(key);
      else items.set(key, value);
    },
  };
}

function everyInWorker(ms, fn) {
  const worker = new Worker(new URL("tick.js", import.meta.url));
  worker.onmessage = fn;
  worker.postMessage(ms);
  return () => worker.terminate();
}

const socketUrl = new URL("socket/websocket", location.href.split("#")[0]);
socketUrl.protocol = socketUrl.protocol.replace("http", "ws");

const local = storage("localStorage");
const store = createStore(initialState(), schedule);
let tokenUsed = null; // that of the connection; null while one is looked for
const session = new Session({
  storage: local, fetch: (...request) => fetch(...request), onChange: sessionChanged,
});
const socket = new Socket(socketUrl.href, { token: (refusals) => tokenFor(refusals), every: everyInWorker });
const { heard, forget } = announcer();
const chat = new Chat({
  socket, session, store, local, tab: storage("sessionStorage"),
  onMessage: (room, message) => heard(room, message, room.name === store.state.active),
  onGone: forget,
});

/** A guest gets a new token unasked; somebody whose token came from elsewhere has to bring another. */
async function tokenFor(refusals) {
  tokenUsed = null;
  try {
    await session.token(refusals);
  } catch (error) {
    if (error.reason !== "unauthorized" && error.reason !== "guests_disabled") throw error;
    await askName(session, { problem: error.message, forToken: error.reason === "guests_disabled" });
  }
  tokenUsed = session.current.token;
  return tokenUsed;
}

/** Whoever has become somebody else, in this tab or in another, goes on as that on a new connection. */
function sessionChanged(current) {
  chat.sessionChanged(current);
  if (tokenUsed !== null && tokenUsed !== current.token) chat.reconnect();
}

function goTo(name) {
  if (roomIn(location.hash) === name) follow();
  else location.hash = hrefOf(name).slice(1);
}

function follow() {
  const invite = inviteIn(location.hash);
  const name = roomIn(location.hash);
  // Whoever is shown the page, or its address, need not be invited by it.
  if (invite) history.replaceState(null, "", hrefOf(name));
  chat.open(name, invite);
  drawer.close();
}

const drawer = drawers();
const askPerson = personDialog(chat);
const conversation = conversationView(chat, {
  confirmDelete: deleteDialog(), askPerson, askReport: reportDialog(chat),
});
const startRoom = startRoomDialog(chat, goTo);
theme(local);
keys({ chat, store, conversation, drawer, goTo });
byId("new-room").addEventListener("click", () => startRoom(store.state.filter.trim()));
byId("leave").addEventListener("click", () => {
  const { active, rooms } = store.state;
  const names = [...rooms.keys()];
  const next = names[names.indexOf(active) + 1] ?? names[names.indexOf(active) - 1];
  chat.leave(active);
  location.hash = next ? hrefOf(next).slice(1) : "";
});
byId("me").addEventListener("click", () => askName(session, { canCancel: true }));
addEventListener("hashchange", follow);
addEventListener("storage", (event) => {
  session.refresh();
  chat.storageChanged(event);
});
addEventListener("online", () => chat.retryNow());
addEventListener("pagehide", () => chat.remember());
document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "visible") chat.retryNow();
  else chat.remember();
});

if (!session.current) {
  await askName(session, { room: roomIn(location.hash), takesGuests: session.takesGuests() });
}
chat.start();
for (const view of [
  welcomeView(startRoom), roomsView(chat, { store, goTo }), membersView(chat, { askPerson }), settingsView(chat),
  composerView(chat, { afterSend: () => conversation.toEnd() }), conversation.view,
  statusView(chat, store), pinsView(chat, { goToMessage: conversation.goToMessage }),
  inviteView(chat), auditView(chat, { goToMessage: conversation.goToMessage }),
  (state) => setText(byId("me"), state.me ? legible(state.me.name, state.me.user) : ""),
]) store.show(view);
follow();
