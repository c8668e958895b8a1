/**
 * One room as this page knows it: plain data, and the functions that fold what the server says into it.
 *
 * Messages lie in *segments*: runs of contiguous offsets of one *line*, oldest first. A room goes on in its line when
 * its epoch turns and everything was recovered; where the server began it anew, a line begins too. There is one segment
 * unless something could not be recovered, and then the break between two of them is what the page must be honest
 * about.
 *
 * Invariants:
 * 1. within a segment offsets are contiguous, so nothing is shown twice and nothing is silently missing;
 * 2. the last segment ends at the cursor `{epoch, offset, change}`, which is what a rejoin sends as `since`;
 * 3. a message of ours is either in a segment or in the outbox, never in both: its `key` tells;
 * 4. one that was heard and not answered yet may be lost with the server: it is in `unconfirmed` until it is answered
 *    or recovered;
 * 5. every message of the line is as it was after `change` changes, or later;
 * 6. `mine` of a message is of the user that the server knows one by here, `user`;
 * 7. what the user has written for an edit that cannot be made any more is a draft.
 *
 * Knows nothing of sockets and of the screen. Deliberately absent: clocks, except as arguments.
 */

import { wellFormed } from "../channel.js";
import { asked, fits, patched, possible, replaced } from "./changes.js";
import { isUnseen, legible } from "./name.js";
import { REACT, reacted, untold, withMine, withoutMine } from "./reactions.js";
import { mayReact, moderates } from "./rights.js";

/** What a page that stays open for days keeps of a room; older messages can be had from the server again. */
export const MESSAGES_KEPT_MAX = 1_000;

const collator = new Intl.Collator(undefined, { numeric: true });

export function createRoom(name) {
  return {
    name,
    title: legible(name),
    /** "joining" | "joined" | "away" | "refused" */
    status: "joining",
    /** The server's error, when refused; or what was told when one was put out. */
    refusal: null,
    /** The room object: `{title, topic?, join?, speak?, react?, slow_s?, keep_s?, links?, ...}`, whole */
    info: {},
    /**
     * What the user is here: `{level, unmuted, role, mutedUntil, reads}`; `unmuted`: the level
     * without a mute; `mutedUntil` in Unix ms, 0 for ever, null if not muted; `reads`: the server
     * lets them read alone, whatever the room says
     */
    you: { level: "speak", unmuted: "speak", role: null, mutedUntil: null, reads: false },
    /** The invite that the user brings with each join, for it may not be kept that it has; or null. */
    invite: null,
    /** By what id the server knows the user here; null before the first join. */
    user: null,
    /** Why the user may not speak: null, or `{reason, until}`; "muted" and whom the room lets. */
    silence: null,
    /** When the user may speak again in slow mode, or null. */
    slowUntil: null,
    /** user -> role, as far as known: asked for by those who look after the room */
    roles: new Map(),
    epoch: null,
    offset: 0,
    /** How many changes of messages are known; null where no message changes. */
    change: null,
    /** Counts how often the server began the room anew. */
    line: 0,
    /**
     * `[{line, from, messages, more, broke, lost, fetching}]`; `from`: the first offset; `broke`: null, "reset", "gap"
     * or "lost"; `lost`: how many messages of others stood above it that the server has not kept; `fetching`: null,
     * "now" or "failed"
     */
    segments: [],
    /** The offsets of all that is pinned, whether it is here or not. */
    pins: new Set(),
    /** offset -> message: what is pinned and was fetched, and is in no segment */
    aside: new Map(),
    /** How many older messages were fetched since the end was last in view: they are being read, and stay. */
    fetched: 0,
    /** Not acknowledged yet: `[{key, body, reply_to?, mentions?, at, error: null | {reason, ...}}]` */
    outbox: [],
    /** Counts how often all that was shown was let go of, for the server told it anew. */
    restarts: 0,
    /** What the user asked to become of messages, and the server has not told yet: see `changes.js`. */
    acts: [],
    /** What the message field is for, besides new messages: null, or `{kind: "answer" | "edit", offset, text}`; `text` of an edit */
    writing: null,
    /** Items that were in the outbox and are in a segment, and that the server has not answered. */
    unconfirmed: [],
    /** How far the user has read: `{epoch, offset}`, or null in a room that is new to them. */
    read: null,
    unread: 0,
    /** The offset above which the "new" line stands. */
    newFrom: null,
    /** user -> {name, until} */
    typing: new Map(),
    /** `[{user, name, connections}]`, sorted */
    members: [],
    /** How many there are in truth, where the list is only a choice. */
    count: null,
    draft: "",
    /** Grows with every change that the conversation shows. */
    version: 0,
  };
}

/** What a join brings: where we stand, which is nowhere before the first one, and an invite. */
export function joinParams({ epoch, offset, change, invite }) {
  const brought = invite === null ? {} : { invite };
  if (epoch === null) return brought;
  const since = change === null ? { epoch, offset } : { epoch, offset, change };
  return { since, ...brought };
}

/** The last offset of a segment. */
export const endOf = (segment) => segment.from + segment.messages.length - 1;

/**
 * What is said of what was written: without blank lines before and after, but with the indentation
 * of the first line, as it is part of pasted code. Nothing, where nothing of it could be seen.
 */
export function bodyOf(written) {
  const body = wellFormed(written).trimEnd().replace(/^(?:[^\S\n]*\n)+/, "");
  return isUnseen(body) ? "" : body;
}

/** Folds the answer of a join or rejoin. `watched`: the user sees it arrive. */
export function joined(room, told, isOwn, watched = false) {
  const answer = withMine(told);
  const { epoch, offset, recovered, messages, more, change = null, changed: whole } = answer;
  recognise(room, answer.you.user);
  const last = room.segments.at(-1);
  const isTurned = last !== undefined && epoch !== room.epoch;
  const goesOn = isTurned && (recovered || takeBack(room, messages, isOwn));
  const reset = isTurned && !goesOn;
  const isStale = last !== undefined && !reset && !isKnownBy(room, answer, isTurned);
  if (goesOn) turned(room, { epoch });
  sendAgain(room, messages, goesOn && !recovered);
  if (isStale) startOver(room, answer);
  if (last && !reset) for (const message of [...whole, ...messages]) mend(room, message.offset, (mine) => replaced(mine, message));
  if (last) letGo(room, reset);
  room.change = change;
  room.pins = new Set(answer.room.pins);
  room.aside.clear();
  room.status = "joined";
  room.refusal = null;

  for (const segment of room.segments) segment.fetching = null;
  if (reset) Object.assign(room, { line: room.line + 1, unread: 0, newFrom: null });

  const fresh = reset || !last ? messages : messages.filter((message) => message.offset > room.offset);
  const from = fresh[0]?.offset ?? offset + 1;
  if (!last) addSegment(room, from, fresh, more, null);
  else if (reset) addSegment(room, from, fresh, more, "reset");
  else if (recovered || isStale || from === room.offset + 1) room.segments.at(-1).messages.push(...fresh);
  else addSegment(room, from, fresh, more, "gap");

  room.epoch = epoch;
  room.offset = offset;
  if (!last && isKnown(room.read, messages)) room.read = { ...room.read, epoch };
  if (room.read === null || (room.read.epoch !== epoch && !last)) room.read = { epoch, offset };
  settle(room, fresh, isOwn, watched);
}

/** Who comes back as somebody else, a guest with a new token, has reacted to nothing. */
function recognise(room, user) {
  if (room.user !== null && room.user !== user) {
    for (const segment of room.segments) segment.messages = segment.messages.map(withoutMine);
  }
  room.user = user;
}

/**
 * Whether the answer tells all that became of the messages that are shown. A cursor without a change, or one that
 * cannot be recovered from, is answered without what changed before: then nothing may have. Numbers of changes that
 * were lost are given again.
 */
function isKnownBy(room, { recovered, change }, isTurned) {
  if (change === undefined || (recovered && room.change !== null)) return true;
  return change === (room.change ?? 0) && (change === 0 || !isTurned);
}

/** Nobody knows what became of the messages that are shown: only those of the answer are. The older ones can be had again. */
function startOver(room, { recovered, messages, offset, more }) {
  const lost = room.segments.at(-1).broke === "lost" ? room.segments.at(-1) : null;
  const from = messages[0]?.offset ?? offset + 1;
  const known = messages.filter((message) => message.offset <= room.offset);
  room.segments = room.segments.filter(({ line }) => line !== room.line);
  room.restarts += 1;
  addSegment(room, from, known, recovered ? from > 1 : more, room.segments.length ? "reset" : null);
  if (lost && known.length && lost.from === room.offset + 1) room.segments.push(lost);
}

/** What was asked of messages that are gone, or has been told by now, is asked no more. */
function letGo(room, reset) {
  const isThere = ({ offset }) => !reset && offset <= room.offset;
  for (const { offset, change, payload } of room.acts) {
    if (!isThere({ offset }) && change === null && payload.body !== undefined) drafted(room, payload.body);
  }
  room.acts = room.acts.filter((act) => isThere(act) && act.change === null);
  if (room.writing && !isThere(room.writing)) endWriting(room);
  for (const item of room.outbox) if (item.reply_to > room.offset || reset) delete item.reply_to;
}

/**
 * Folds a `msg_changed`. False if changes before it were missed: only a rejoin can tell what they
 * were.
 */
export function changed(room, patch, isOwn) {
  if (room.change === null || patch.change <= room.change) return true;
  if (patch.change > room.change + 1) return false;
  const message = storedAt(room, room.line, patch.offset);
  if (message && !fits(message, patch)) return false;
  room.change = patch.change;
  room.acts = untold(room.acts, patch, room.user)
    .filter(({ change }) => change === null || change > room.change);
  if (patch.pinned) room.pins.add(patch.offset);
  else if (patch.pinned === null || patch.deleted) room.pins.delete(patch.offset);
  mend(room, patch.offset, (message) => patched(message, patch, room.user));
  if (room.unread > 0) room.unread = countUnread(room, isOwn).count;
  return true;
}

/**
 * The server has done what was asked, with this change. What is shown of it stays until the change
 * was told. To a reaction it answers no change, for it tells many in one, but how many there are.
 */
export function done(room, act, { change, count }) {
  const isReaction = act.event === REACT;
  if (isReaction) {
    mend(room, act.offset, (message) => reacted(message, act.payload, room.user, count));
  } else {
    act.change = change;
  }
  if (isReaction || change <= room.change) room.acts = room.acts.filter((other) => other !== act);
}

/** Puts another message in the place of one of this line, if that is here. */
function mend(room, offset, become) {
  const segment = segmentOf(room, room.line, offset);
  const mine = segment ? segment.messages[offset - segment.from] : room.aside.get(offset);
  if (mine === undefined) return;
  const next = become(mine);
  if (next === mine) return;
  if (segment) segment.messages[offset - segment.from] = next;
  else if (next.pinned) room.aside.set(offset, next);
  else room.aside.delete(offset);
  room.version += 1;
  if (next.deleted && room.writing?.kind === "edit" && room.writing.offset === offset) endWriting(room, mine.body);
}

/** What is being written has nothing any more that it is for. `body`: what an edit began with. */
function endWriting(room, body) {
  const { kind, text } = room.writing;
  room.writing = null;
  if (kind === "edit" && text !== body) drafted(room, text);
}

/** What was written for something else is a draft, behind what is being written. */
export function drafted(room, text) {
  if (text) room.draft = room.draft ? `${room.draft}\n${text}` : text;
}

function segmentOf(room, line, offset) {
  return room.segments.find((segment) => segment.line === line && segment.from <= offset && offset <= endOf(segment));
}

/** A message as the server told it; undefined if it is not here. */
export function storedAt(room, line, offset) {
  const segment = segmentOf(room, line, offset);
  return segment?.messages[offset - segment.from];
}

/** The message of the present line with this offset, as it is shown; undefined if it is not here. */
export function messageAt(room, offset, line = room.line) {
  const message = storedAt(room, line, offset);
  return message && withActs(room, line, message).shown;
}

/** A message as it is shown, and what the user has asked to become of it: of this line alone. */
export function withActs(room, line, message) {
  if (line !== room.line || room.change === null) return { shown: message, acts: [] };
  const acts = room.acts.filter(({ offset }) => offset === message.offset);
  return { shown: asked(message, acts), acts };
}

/** What is pinned: what is `here`, what was fetched `aside`, each the latest first, and how many others there are. */
export function pinned(room) {
  const latestFirst = (messages) => messages.filter(({ pinned }) => pinned).sort((a, b) => b.pinned.at - a.pinned.at);
  const present = room.segments.filter(({ line }) => line === room.line)
    .flatMap(({ messages }) => messages.map((message) => withActs(room, room.line, message).shown));
  const isElsewhere = (offset) => segmentOf(room, room.line, offset) === undefined;
  const elsewhere = [...room.pins].filter(isElsewhere);
  const aside = latestFirst(elsewhere.flatMap((offset) => room.aside.get(offset) ?? []));
  return { here: latestFirst(present), aside, others: elsewhere.length - aside.length };
}

/** Folds the answer to `history` with what is pinned: what is in no segment is kept aside. */
export function pinsFound(room, answer) {
  for (const message of withMine(answer).messages) {
    const { offset } = message;
    if (room.pins.has(offset) && segmentOf(room, room.line, offset) === undefined && !room.aside.has(offset)) {
      room.aside.set(offset, message);
    } else mend(room, offset, (mine) => replaced(mine, message));
  }
}

/** By what name a user is known here: undefined, if by none. */
export function nameOf(room, user) {
  const member = room.members.find((member) => member.user === user);
  if (member) return member.name;
  for (const { messages } of room.segments.toReversed()) {
    const message = messages.findLast((message) => message.user === user);
    if (message) return legible(message.name, user);
  }
  return undefined;
}

/** The user's own last message that may be edited. */
export function lastEditable(room, self) {
  const messages = room.segments.at(-1)?.messages ?? [];
  const last = isOpenToActs(room) ? messages.findLast(({ user, deleted }) => user === self && !deleted) : undefined;
  const message = last && messageAt(room, last.offset);
  return message && possible(message, rightsIn(room), self).has("edit") ? message : undefined;
}

/** Whether anything can be done to messages: one is not kept out of the room. */
export const isOpenToActs = ({ status }) => status !== "refused";

/** What `possible` asks of a room. */
export const rightsIn = (room) => ({
  changes: room.change !== null,
  // For how long one may edit is for the server to judge: by its clock, and where the room does not say.
  edits: room.info.edit_s !== 0,
  speak: room.silence === null, react: mayReact(room), moderates: moderates(room),
  // Who looks after the room needs to tell nobody.
  report: !moderates(room),
});

/** The room goes on in another epoch, with all that is shown of it. */
export function turned(room, { epoch }) {
  if (room.read?.epoch === room.epoch) room.read = { ...room.read, epoch };
  room.epoch = epoch;
}

/** The server has answered a message of ours: it is kept. */
export function confirmed(room, key) {
  room.unconfirmed = room.unconfirmed.filter((item) => item.key !== key);
}

/** An item of the outbox is not to be sent any more. */
export function discarded(room, key) {
  room.outbox = room.outbox.filter((item) => item.key !== key);
}

/** An item of the outbox is a draft again, behind what is being written. */
export function reclaimed(room, { key, body, reply_to: answered }) {
  discarded(room, key);
  drafted(room, body);
  if (answered !== undefined) room.writing ??= { kind: "answer", offset: answered };
}

/**
 * Takes out again what is shown and was not kept, where the room goes on behind what was: what others said is counted.
 * False where nothing that is shown is among the messages, so that nobody can tell whether it does.
 */
function takeBack(room, messages, isOwn) {
  const last = room.segments.at(-1);
  const ids = new Set(messages.map(({ id }) => id));
  const kept = last.messages.findLastIndex(({ id }) => ids.has(id)) + 1;
  if (kept === 0) return false;
  const lost = last.messages.splice(kept).filter(({ user }) => !isOwn(user)).length;
  room.offset = endOf(last);
  if (lost) addSegment(room, room.offset + 1, [], false, "lost", lost);
  return true;
}

/** What was heard and not answered goes back into the outbox, if it may be `lost` and is not among the messages. */
function sendAgain(room, messages, lost) {
  const keys = new Set(messages.map(({ key }) => key));
  if (lost) room.outbox.unshift(...room.unconfirmed.filter(({ key }) => !keys.has(key)));
  room.unconfirmed = [];
}

/** Whether what was read is in the past of a room with these messages, by the epoch that an `id` names. */
function isKnown(read, messages) {
  return read !== null && messages.some(({ id, offset }) => offset >= read.offset && id?.startsWith(`${read.epoch}-`));
}

/** Folds a live message; false if it was known. */
export function received(room, message, isOwn, watched = false) {
  if (message.offset <= room.offset) return false;
  if (message.offset === room.offset + 1) room.segments.at(-1).messages.push(message);
  else addSegment(room, message.offset, [message], true, "gap");
  room.offset = message.offset;
  room.typing.delete(message.user);
  settle(room, [message], isOwn, watched);
  return true;
}

/** Folds the answer to `history` before the first message of `segment`. */
export function older(room, segment, answer) {
  const { messages, more } = withMine(answer);
  segment.fetching = null;
  const index = room.segments.indexOf(segment);
  if (index < 0) return;
  for (const message of messages) mend(room, message.offset, (mine) => replaced(mine, message));
  const before = isSameLine(room, index) ? room.segments[index - 1] : null;
  const fresh = messages.filter(({ offset }) => offset < segment.from && offset > (before ? endOf(before) : 0));
  const fits = fresh.length > 0 && fresh.at(-1).offset === segment.from - 1;
  segment.more = more && fits; // an answer that leads nowhere must not be asked for again
  if (fits) {
    segment.messages.unshift(...fresh);
    segment.from = fresh[0].offset;
    room.fetched += fresh.length;
  }
  if (before && endOf(before) === segment.from - 1) {
    before.messages.push(...segment.messages);
    room.segments.splice(index, 1);
  }
  room.version += 1;
}

/** Lets go of the oldest messages once there are far too many, but of none that one has scrolled back to. */
export function trim(room, keep = MESSAGES_KEPT_MAX + room.fetched) {
  let excess = room.segments.reduce((sum, segment) => sum + segment.messages.length, 0) - keep;
  if (excess < keep / 4) return;
  while (excess > 0) {
    const [first] = room.segments;
    const dropped = first.messages.splice(0, excess).length;
    excess -= dropped;
    first.from += dropped;
    first.more = first.line === room.line;
    if (first.messages.length === 0 && room.segments.length > 1) room.segments.shift();
  }
  room.segments[0].broke = null;
  room.version += 1;
}

/** Everything up to the cursor has been seen. */
export function markRead(room) {
  room.read = { epoch: room.epoch, offset: room.offset };
  if (room.unread > 0) room.version += 1;
  room.unread = 0;
}

/** Whether `read` lies beyond `other`; of two epochs nobody can tell. */
export function isFurther(read, other) {
  return read?.epoch === other?.epoch && read?.offset > other?.offset;
}

/** The user has read that far in another tab. */
export function readElsewhere(room, { epoch, offset }, isOwn) {
  room.read = { epoch, offset };
  if (room.epoch !== epoch) return; // not joined yet: the join's answer will be counted from there
  room.unread = countUnread(room, isOwn).count;
  room.version += 1;
}

/** The "new" line has done its service. */
export function clearNewLine(room) {
  if (room.newFrom !== null) room.version += 1;
  room.newFrom = null;
}

/** What the server's list of members means for the screen: one entry a person, whatever number of connections they have. */
export function membersOf(presence, isOwn) {
  return [...presence]
    .map(([user, metas]) => ({ user, name: legible(metas.at(-1).name ?? "", user), connections: metas.length, own: isOwn(user) }))
    .sort((a, b) => b.own - a.own || collator.compare(a.name, b.name) || (a.user < b.user ? -1 : 1));
}

/** The number of people in the room. */
export const headCount = (room) => Math.max(room.count ?? 0, room.members.length);

/** Whether a segment goes on in the line of the one before it. */
export function isSameLine(room, index) {
  return index > 0 && room.segments[index - 1].line === room.segments[index].line;
}

function addSegment(room, from, messages, more, broke, lost = 0) {
  room.segments.push({ line: room.line, from, messages: [...messages], more, broke, lost, fetching: null });
}

/** What follows from new messages: ours leave the outbox, the others' count as unread if nobody watched them arrive. */
function settle(room, messages, isOwn, watched) {
  const keys = new Set(messages.filter(({ key, user }) => key && isOwn(user)).map(({ key }) => key));
  if (keys.size) {
    room.unconfirmed.push(...room.outbox.filter(({ key }) => keys.has(key)));
    room.outbox = room.outbox.filter(({ key }) => !keys.has(key));
  }
  room.version += 1;
  if (watched) return markRead(room);

  const before = room.unread;
  const { count, first } = countUnread(room, isOwn);
  room.unread = count;
  if (before === 0 && count > 0) room.newFrom = first;
}

/** How many messages of others lie beyond what was read, and the offset of the first one here. */
function countUnread(room, isOwn) {
  const isSameEpoch = room.read.epoch === room.epoch;
  const since = isSameEpoch ? room.read.offset : 0;
  const segment = room.segments.at(-1);
  const unseen = segment.messages.filter(({ offset, user, deleted }) => offset > since && !deleted && !isOwn(user));
  const missing = isSameEpoch ? Math.max(0, segment.from - 1 - since) : 0;
  return { count: unseen.length + missing, first: unseen[0]?.offset ?? null };
}
