/**
 * The conversation of a room as the screen shows it: a flat list of rows.
 *
 * Pure: a room in, plain data out. Knows nothing of elements.
 */
import { isFor, possible, textChangeOf } from "./changes.js";
import { REACT } from "./reactions.js";
import { isOut, powersOver } from "./rights.js";
import { endOf, isOpenToActs, isSameLine, rightsIn, storedAt, withActs } from "./room.js";
import { boundsOf, WHOLE } from "./stretch.js";

/** Messages of one sender that are closer than this stand under one name. */
const GROUP_MS = 5 * 60_000;

/** Whether a row waits, or looks otherwise, for an act. Reactions show beside it, as if done. */
const isShown = ({ event, error }) => event !== REACT || error !== null;

/**
 * The conversation as a flat list of rows, each with a `key` that stays and a `signature` that
 * changes with its looks, but for reactions: `start`, `more`, `gap`, `reset`, `day`, `new`,
 * `message`, `pending` and `out`. What was said today was said yesterday once `now` is past
 * midnight. Of a `stretch` of the conversation they look as they do in all of it.
 */
export function rows(room, isOwn, now, self, stretch = WHOLE) {
  const today = new Date(now).toDateString();
  const { from, to, count } = boundsOf(room, stretch);
  let begin = 0; // how many messages lie in the segments above
  const list = [];
  let previous = null; // the message above, if nothing stands between
  let day = null;

  const add = (kind, key, data = {}, looks = "") => {
    list.push({ kind, key, signature: `${kind} ${looks}`, ...data });
    previous = null;
  };
  const dayOf = (at) => {
    const date = new Date(at).toDateString();
    if (date !== day) add("day", `day ${date}`, { at }, today);
    day = date;
  };
  // Who has taken another name is named again.
  const leads = ({ user, name, at }) =>
    previous?.user !== user || previous.name !== name || at - previous.at > GROUP_MS;

  // What stands above the messages of a segment.
  const addHead = (segment, index) => {
    const key = `${segment.line} ${segment.from}`;
    const name = `${segment.line} ${index}`;
    if (segment.broke === "lost") add("lost", `lost ${name}`, { lost: segment.lost }, segment.lost);
    if (segment.broke === "reset") add("reset", `reset ${name}`, { above: from > 0 || list.length > 0 });
    if (segment.broke === "gap" && !segment.more) {
      const before = isSameLine(room, index) ? room.segments[index - 1] : null;
      const missing = before ? segment.from - endOf(before) - 1 : 0;
      add("gap", `gap ${name}`, { missing }, missing);
    }
    if (segment.more && segment.line === room.line) {
      const { fetching, broke } = segment;
      add("more", `more ${key}`, { segment, fetching, gap: broke === "gap" }, fetching);
    } else if (index === 0 && segment.from === 1 && segment.messages.length) {
      add("start", "start");
    }
  };

  room.segments.forEach((segment, index) => {
    const first = begin;
    begin += segment.messages.length;
    if (first >= from && (first < to || to === count)) addHead(segment, index);
    for (let i = Math.max(first, from - 1); i < Math.min(begin, to); i += 1) {
      const message = segment.messages[i - first];
      if (i < from) {
        // It is not of the stretch, but what stands below it looks as it does there.
        day = new Date(message.at).toDateString();
        previous = message;
        continue;
      }
      dayOf(message.at);
      if (message.offset === room.newFrom && segment.line === room.line) add("new", "new");
      const lead = leads(message) || message.reply_to !== undefined;
      list.push(messageRow(room, segment.line, message, lead, isOwn, self));
      previous = message;
    }
  });
  if (to < count) return list;
  room.outbox.forEach((item, index) => {
    const isBelowOwn = previous && isOwn(previous.user) && item.at - previous.at <= GROUP_MS;
    const lead = index === 0 && !isBelowOwn;
    // Why it is not sent yet is said once, below the last.
    const waits = room.status !== "joined" && index === room.outbox.length - 1;
    const isSlow = room.slowUntil !== null && index === room.outbox.length - 1;
    const quote = quoteOf(room, room.line, item);
    const looks = `${lead} ${item.error?.reason} ${waits} ${isSlow} ${looksOf(room, quote)}`;
    const row = { kind: "pending", key: `key ${item.key}`, signature: `pending ${looks}` };
    list.push({ ...row, item, lead, own: true, waits, isSlow, quote: quote?.shown ?? quote });
  });
  const { refusal } = room;
  if (isOut(room)) add("out", "out", { refusal }, JSON.stringify(refusal));
  return list;
}

/**
 * A row of `kind: "message"`: it as it is shown, what may be done to it (`may`), whether something
 * was asked and is not done (`waits`), what was refused.
 */
function messageRow(room, line, message, lead, isOwn, self) {
  const { offset } = message;
  const key = `${line}-${offset}`;
  const own = isOwn(message.user);
  const isNow = line === room.line && isOpenToActs(room);
  const { acts, shown } = withActs(room, line, message);
  const may = isNow ? possible(shown, rightsIn(room), self) : new Set();
  if (may.size > 0) for (const power of powersOver(room, message.user, isOwn)) may.add(power);
  const forMe = isFor(shown, isOwn);
  const quote = shown.deleted ? undefined : quoteOf(room, line, message);
  const looks = [lead, own, forMe, [...may], looksOf(room, { shown, acts }), looksOf(room, quote)];
  const waits = acts.filter(isShown).some(({ error, change }) => !error && change === null);
  const refused = acts.filter(({ error }) => error);
  const signature = `message ${looks.join(" ")}`;
  const row = { kind: "message", key, signature, message: shown, lead, own, forMe, may };
  return { ...row, quote: quote?.shown ?? quote, waits, refused };
}

/** What one answers, with acts; null if it is not here, undefined if it answers none. */
function quoteOf(room, line, { reply_to: answered }) {
  if (answered === undefined) return undefined;
  const message = storedAt(room, line, answered);
  return message ? withActs(room, line, message) : null;
}

/** What changes whenever a message, with acts, looks otherwise but for reactions; it may be none. */
function looksOf(room, message) {
  if (!message) return String(message);
  const { shown, acts } = message;
  const mark = ({ error, change }) => (error ? "!" : change === null ? "?" : "");
  const states = acts.filter(isShown).map((act) => `${act.id}${mark(act)}`);
  return [room.restarts, textChangeOf(shown), ...states].join("/");
}
