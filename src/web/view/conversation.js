/**
 * The conversation: rows to elements, and where it is scrolled to.
 *
 * The end of the conversation is followed as long as the user is there; whoever has scrolled up stays exactly where
 * they read, whatever arrives below or is loaded above. Elements stand for a stretch of it only, which goes along.
 */
import { isUnseen, legible } from "../state/name.js";
import { REACT } from "../state/reactions.js";
import { messageAt, nameOf, storedAt } from "../state/room.js";
import { rows } from "../state/rows.js";
import { downwards, fitted, upwards, WHOLE } from "../state/stretch.js";
import { copy, messageActions, toolbar } from "./actions.js";
import { byId, colour, counted, h, icon, keyedList, setText } from "./dom.js";
import { chipsView, placeForChips } from "./reactions.js";
import { atNames, BLANK, excerpt, isJumbo, isLong, parts } from "./text.js";
import { changeReason, reasonText, untilText } from "./words.js";

/** How near to the end counts as being there, and how near to an end of what is shown as asking for more. */
const NEAR_END_PX = 48;
const NEAR_TOP_PX = 600;
const FLASH_MS = 2_400;

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const DAY = { weekday: "long", day: "numeric", month: "long" };
const dayName = new Intl.DateTimeFormat(undefined, DAY);
const dayOfAnotherYear = new Intl.DateTimeFormat(undefined, { ...DAY, year: "numeric" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

/**
 * `confirmDelete(message)` asks, and resolves to whether it may be; `askPerson(room, person, verb)`
 * asks how to do something to who wrote a message, and does it; `askReport(room, message)` why it
 * is reported, and does that.
 */
export function conversationView(chat, { confirmDelete, askPerson, askReport }) {
  const scroller = byId("scroller");
  const jump = byId("jump");
  const list = keyedList(byId("log"), (row) => makers[row.kind](row));
  let shown = new Map(); // key of a message -> its row
  let stretch = WHOLE; // the messages that have elements
  const unfolded = new WeakMap(); // room -> keys of rows
  const known = new Map(); // user -> by what name, as far as looked up in this turn
  let room = null;
  let version = -1;
  let following = true;

  const makers = {
    start: () => h("li", { class: "beginning" }, h("span", {}, "This is where it began.")),
    day: ({ at }) => h("li", { class: "day" }, h("span", {}, dayOf(at))),
    new: () => h("li", { class: "fresh" }, h("span", {}, "New")),
    reset: ({ above }) => h("li", { class: "broke" }, h("span", {}, "The server began this room anew. What was said while you were away could not be recovered",
      above ? "; what stands above is kept on this page only." : ".")),
    lost: ({ lost }) => h("li", { class: "broke" }, h("span", {},
      `The server was interrupted: ${counted(lost, "message", "messages")} that stood here for a moment ${lost === 1 ? "is" : "are"} lost.`)),
    gap: ({ missing }) => h("li", { class: "broke" }, h("span", {},
      missing ? `${counted(missing, "message is", "messages are")} missing here: the server no longer keeps them.`
        : "Something is missing here.")),
    more: ({ segment, fetching, gap }) => h("li", { class: fetching === "failed" ? "more failed" : "more" }, h("button", {
      type: "button", disabled: fetching === "now", onclick: () => chat.older(room.name, segment),
    }, fetching === "now" ? "Fetching…" : gap ? "Show what you missed" : "Earlier messages")),
    message: (row) => h("li", { class: classes(row), "data-key": row.key, tabindex: -1 },
      ...said(row.key, row.message, row), row.message.deleted ? null : placeForChips(),
      ...row.refused.map(refusal), toolbar(row)),
    pending: (row) => h("li", { class: `${classes({ ...row, own: true })} ${row.item.error ? "failed" : "pending"}` },
      ...said(row.key, { ...row.item, user: chat.me.user, name: chat.me.name }, row), fate(row)),
    out: ({ refusal }) => h("li", { class: "out" }, h("p", { role: "alert" }, ...outText(refusal)),
      h("button", { type: "button", class: "primary", onclick: () => chat.comeBack(room.name) },
        refusal.reason === "kicked" ? "Come in again" : "Try again")),
  };
  const actions = messageActions({
    rowOf: (element) => shown.get(element.dataset.key), act,
    react: ({ message: { offset } }, emoji, on) => {
      react(offset, emoji, on);
      // The focus goes back to the message, which does not say so.
      setText(byId("said"), on ? `Reacted with ${emoji}` : `Took ${emoji} back`);
    },
  });
  const chips = chipsView({ nameFor, self: () => chat.self, react });

  scroller.addEventListener("scroll", () => {
    if (!room) return;
    following = atEnd();
    look();
  }, { passive: true });
  jump.addEventListener("click", () => toEnd());
  // The keyboard of a phone, a longer draft, a turned screen: the end stays in sight.
  new ResizeObserver(() => { if (following) stick(); }).observe(scroller);
  document.addEventListener("visibilitychange", attend);
  for (const event of ["focus", "blur"]) addEventListener(event, attend);

  return { view, toEnd, goToMessage, page: (direction) => scroller.scrollBy({ top: direction * scroller.clientHeight * 0.85 }) };

  function view(state) {
    const next = state.rooms.get(state.active) ?? null;
    const switched = next !== room;
    room = next;
    if (switched) {
      stretch = WHOLE;
      actions.close();
      list([]); // keys tell apart the rows of one room
    }
    if (!room) return;
    if (switched || version !== room.version) {
      version = room.version;
      const kept = switched || following ? null : anchor();
      draw(kept ? placeBelow(kept.element) : null);
      if (switched) settleIn();
      else if (following) stick();
      else restore(kept);
      byId("typing").replaceChildren(...typingText([...room.typing.values()]));
    }
    look();
  }

  /** Brings the elements in step with the room: around the message at `place`, where there are too many. */
  function draw(place) {
    stretch = fitted(room, stretch, place);
    const hadFocus = byId("log").contains(document.activeElement);
    const all = rows(room, chat.isOwn, Date.now(), chat.self, stretch);
    shown = new Map(all.filter(({ kind }) => kind === "message").map((row) => [row.key, row]));
    known.clear();
    const elements = list(all);
    for (const row of shown.values()) chips(elements.get(row.key), row, room.members);
    if (hadFocus && document.activeElement === document.body) scroller.focus({ preventScroll: true });
  }

  /** Shows another stretch, and what one reads where it was. */
  function goAlong(next) {
    const kept = anchor();
    stretch = next;
    draw(kept && placeBelow(kept.element));
    restore(kept);
  }

  /** What depends on where the conversation is scrolled to. */
  function look() {
    jump.hidden = following;
    setText(byId("jump-text"), room.unread ? counted(room.unread, "new message", "new messages") : "To the newest");
    attend();
    extendIfNear();
    loadIfNear();
  }

  function said(key, message, { lead, quote }) {
    const { user, name: given, at, body } = message;
    const name = legible(given, user);
    const looks = ["body", isJumbo(body) && !message.stream ? "jumbo" : "", message.stream ? "grows" : ""];
    const text = message.deleted ? tombstone(message)
      : h("div", { class: looks.filter(Boolean).join(" "), dir: "auto", "aria-busy": message.stream ? "true" : null });
    if (!message.deleted) {
      if (message.stream && body === "") text.append("");
      else if (isUnseen(body)) text.append(h("span", { class: "blank" }, BLANK));
      else for (const part of parts(body)) {
        text.append(...(part.href ? [link(part)] : named(part.text, message)));
      }
      if (message.edited) text.append(" ", h("span", { class: "edited", title: `Edited ${full.format(message.edited.at)}` }, "(edited)"));
    }
    const who = colour(h("span", { class: lead ? "who" : "who vh", dir: "auto", title: lead ? name : null }, name), user);
    const time = h("time", { datetime: new Date(at).toISOString(), title: full.format(at) }, clock.format(at));
    return [who, message.pinned ? pinMark(message.pinned) : null, quote === undefined ? null : quoted(quote), text, time,
      isLong(body) ? fold(key, text) : null];
  }

  /** The arrow keys lead to it from its message. */
  function link({ href, text }) {
    return h("a", { href, target: "_blank", rel: "noopener noreferrer", tabindex: -1 }, text);
  }

  /** A piece of text with the names of those in it whom the message mentions. */
  function named(text, { mentions = [] }) {
    if (mentions.length === 0) return [text];
    const names = new Map();
    for (const user of mentions) {
      const name = user === "@room" ? "room" : nameFor(user);
      if (name) names.set(name, names.get(name) || user === "@room" || chat.isOwn(user));
    }
    return atNames(text, [...names.keys()].sort((a, b) => b.length - a.length)).map((part) =>
      (typeof part === "string" ? part : h("span", { class: names.get(part.name) ? "mention to-me" : "mention" }, `@${part.name}`)));
  }

  /** By what name a user is known here: undefined, if by none. */
  function nameFor(user) {
    if (chat.isOwn(user)) return legible(chat.me.name, chat.me.user);
    if (!known.has(user)) known.set(user, nameOf(room, user));
    return known.get(user);
  }

  function tombstone({ user, deleted: { by } }) {
    const name = by !== undefined && by !== user ? nameFor(by) : undefined;
    const text = by === undefined ? ["Deleted"] : by === user ? ["Deleted by its author"] : ["Deleted by ", name ? h("bdi", {}, name) : "a moderator"];
    return h("div", { class: "body gone" }, icon("trash"), h("span", {}, ...text));
  }

  function pinMark({ by }) {
    const name = by === undefined ? undefined : nameFor(by);
    return h("p", { class: "above" }, icon("pin"), h("span", {}, "Pinned", ...(name ? [" by ", h("bdi", {}, name)] : [])));
  }

  /** What a message answers: a way to it, if it is here. */
  function quoted(message) {
    if (message === null) return h("p", { class: "answered" }, h("span", {}, "An earlier message"));
    const { user, name, body, deleted, offset } = message;
    const said = deleted ? "A deleted message" : excerpt(body);
    const text = h("span", { class: "clip", dir: "auto" }, said);
    return colour(h("button", { type: "button", class: chat.isOwn(user) ? "answered mine" : "answered", tabindex: -1, onclick: () => goToMessage(offset) },
      deleted ? null : h("b", { dir: "auto" }, legible(name, user)), text), user);
  }

  /** Why a change was not made. What was written for an edit is not lost. */
  function refusal(act) {
    const { id, event, offset, payload, error } = act;
    const button = (text, act) => h("button", { type: "button", onclick: act }, text);
    const dismiss = () => chat.dismiss(room.name, id);
    const isOver = error.reason === "gone" || error.reason === "too_late";
    const again = payload.body === undefined ? null
      : isOver ? button("Write it anew", () => { chat.writeAnew(room.name, act); byId("write").focus(); })
      : button("Edit", () => { dismiss(); chat.rewrite(room.name, offset, payload.body); });
    const isTakenBack = event === REACT && !payload.on;
    const what = isTakenBack ? "Reaction not taken back" : REFUSED[event] ?? "Not done";
    const why = changeReason(error, messageAt(room, offset));
    return h("p", { class: "state refused", role: "alert" }, `${what}: ${why} `, again, button("Dismiss", dismiss));
  }

  function act(name, { message }) {
    const { offset, body, pinned } = message;
    switch (name) {
      case "reply": return chat.answer(room.name, offset);
      case "edit": return chat.rewrite(room.name, offset);
      case "pin": return chat.pin(room.name, offset, !pinned);
      case "copy": return copy(body).then(() => setText(byId("said"), "Copied"));
      case "delete": return remove(room.name, message);
      case "report": return askReport(room.name, message);
      default: return askPerson(room, message, name);
    }
  }

  function react(offset, emoji, on) { chat.react(room.name, offset, emoji, on); }

  async function remove(name, message) {
    if (await confirmDelete(message)) chat.remove(name, message.offset);
  }

  /** Shows a message of the room, a third down from the top, and marks it for a moment. */
  function goToMessage(offset) {
    const key = `${room.line}-${offset}`;
    if (!shown.has(key) && storedAt(room, room.line, offset)) {
      stretch = WHOLE;
      draw({ line: room.line, offset });
    }
    const element = [...byId("log").querySelectorAll(".said[data-key]")].findLast(({ dataset }) => dataset.key === key);
    if (!element) return;
    const view = scroller.getBoundingClientRect();
    scroller.scrollTop += element.getBoundingClientRect().top - view.top - view.height * 0.3;
    following = atEnd();
    element.focus({ preventScroll: true });
    element.classList.add("flash");
    setTimeout(() => element.classList.remove("flash"), FLASH_MS);
    look();
  }

  /** A long message is shown in part until one asks for all of it: nobody pushes what the others said far out of sight. */
  function fold(key, text) {
    const keys = unfolded.get(room) ?? new Set();
    unfolded.set(room, keys);
    const button = h("button", { type: "button", class: "fold", tabindex: -1, onclick: () => {
      const top = button.getBoundingClientRect().top;
      if (!keys.delete(key)) keys.add(key);
      show();
      if (!keys.has(key)) scroller.scrollTop += button.getBoundingClientRect().top - top; // one is still at the same place
      following = atEnd();
      look();
    } });
    const show = () => {
      text.classList.toggle("folded", !keys.has(key));
      button.setAttribute("aria-expanded", String(keys.has(key)));
      setText(button, keys.has(key) ? "Show less" : "Show all");
    };
    show();
    return button;
  }

  /** What becomes of a message that is not acknowledged. */
  function fate({ item, waits, isSlow }) {
    const why = waits ? "Waiting for the connection" : isSlow ? "Slow mode: sent in a while" : null;
    if (!item.error) return why && h("p", { class: "state" }, why);
    const button = (text, act) => h("button", { type: "button", onclick: act }, text);
    return h("p", { class: "state", role: "alert" }, `Not sent: ${reasonText(item.error)} `,
      button("Try again", () => chat.retry(room.name, item.key)),
      button("Edit", () => { chat.reclaim(room.name, item.key); byId("write").focus(); }),
      button("Discard", () => chat.discard(room.name, item.key)));
  }

  function atEnd() {
    return stretch.last === null && scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END_PX;
  }

  function stick() { scroller.scrollTop = scroller.scrollHeight; }

  function toEnd() {
    if (!room) return;
    following = true;
    if (stretch.last !== null) {
      stretch = WHOLE;
      draw(null);
    }
    stick();
    look();
  }

  /** The first row in sight, and where: what must not move when rows come in above it. */
  function anchor() {
    const top = scroller.getBoundingClientRect().top;
    for (const element of byId("log").children) {
      const box = element.getBoundingClientRect();
      if (box.bottom > top && !element.classList.contains("more")) return { element, top: box.top };
    }
    return null;
  }

  function restore(kept) {
    if (kept?.element.isConnected) scroller.scrollTop += kept.element.getBoundingClientRect().top - kept.top;
  }

  /** The place of the message that an element is of, or of the next one below that is; null at the end. */
  function placeBelow(element) {
    for (let at = element; at; at = at.nextElementSibling) {
      if (at.dataset.key === undefined) continue;
      const [line, offset] = at.dataset.key.split("-").map(Number);
      return { line, offset };
    }
    return null;
  }

  /** A room that was just opened shows what is new in it, or its end. */
  function settleIn() {
    following = true;
    const fresh = byId("log").querySelector(".fresh");
    stick();
    if (!fresh) return;
    const above = scroller.getBoundingClientRect().top - fresh.getBoundingClientRect().top + scroller.clientHeight * 0.2;
    if (above > 0) {
      scroller.scrollTop -= above;
      following = atEnd();
    }
  }

  /** Goes on with what is here already, before one gets to an end of what is shown of it. */
  function extendIfNear() {
    const view = scroller.getBoundingClientRect();
    const log = byId("log").getBoundingClientRect();
    if (stretch.first !== null && log.top > view.top - NEAR_TOP_PX) goAlong(upwards(room, stretch));
    else if (stretch.last !== null && log.bottom < view.bottom + NEAR_TOP_PX) goAlong(downwards(room, stretch));
  }

  /** Asks for older messages before one gets there. What failed once is left to the user's own click. */
  function loadIfNear() {
    const view = scroller.getBoundingClientRect();
    for (const element of byId("log").querySelectorAll(".more:not(.failed)")) {
      const box = element.getBoundingClientRect();
      if (box.bottom > view.top - NEAR_TOP_PX && box.top < view.bottom) element.firstChild.click();
    }
  }

  /** Tells whether what arrives at the end of the conversation is seen. */
  function attend() {
    chat.watch(room !== null && following && document.visibilityState === "visible" && document.hasFocus());
  }
}

function classes({ lead, own, forMe, waits, refused, kind }) {
  const names = { lead, own, "for-me": forMe, pending: kind === "message" && waits, failed: refused?.length > 0 };
  return ["said", ...Object.keys(names).filter((name) => names[name])].join(" ");
}

function dayOf(at) {
  const midnight = (time) => new Date(time).setHours(0, 0, 0, 0);
  const days = Math.round((midnight(at) - midnight(Date.now())) / 86_400_000);
  if (days === 0 || days === -1) {
    const name = relative.format(days, "day");
    return name[0].toLocaleUpperCase() + name.slice(1);
  }
  const isThisYear = new Date(at).getFullYear() === new Date().getFullYear();
  return (isThisYear ? dayName : dayOfAnotherYear).format(at);
}

function typingText(people) {
  const [first, second] = people.slice(0, 2).map(({ name }) => h("bdi", {}, legible(name)));
  if (!first) return [];
  if (!second) return [first, " is typing"];
  if (people.length === 2) return [first, " and ", second, " are typing"];
  return [first, ", ", second, ` and ${counted(people.length - 2, "other", "others")} are typing`];
}

const REFUSED = {
  msg_edit: "Not changed", msg_delete: "Not deleted", msg_pin: "Not pinned", [REACT]: "Not reacted",
};

/** Why one is not in the room: by whom, until when, and with what words. */
function outText({ reason, until, by, text }) {
  const who = by ? [h("bdi", {}, by)] : [];
  const why = text ? [": “", h("bdi", {}, text), "”."] : ["."];
  const did = (active, passive) => (by ? [...who, ` has ${active} you`] : [`You ${passive}`]);
  switch (reason) {
    case "banned":
      return [...did("banned", "are banned"), ` from this room${untilText(until)}`, ...why];
    case "kicked": return [...did("removed", "were removed"), " from this room", ...why];
    case "members": return ["This room is for its members only now."];
    case "token": return ["Your access token lets you in here no longer."];
    default: return ["You are no longer in this room", ...why];
  }
}
