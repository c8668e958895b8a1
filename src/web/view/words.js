/**
 * What the server says in reasons, times and numbers, in words of this page. Pure: plain data in,
 * text out.
 */
import { counted } from "./dom.js";

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const weekday = new Intl.DateTimeFormat(undefined, {
  weekday: "long", hour: "numeric", minute: "2-digit",
});
const date = new Intl.DateTimeFormat(undefined, { dateStyle: "long", timeStyle: "short" });
/** When something was, with its day: "Nov 29, 2026, 18:35". */
export const moment = new Intl.DateTimeFormat(undefined, {
  dateStyle: "medium", timeStyle: "short",
});
const WEEK_MS = 7 * 86_400_000;

/** " until 11:40", " until Sunday, 10:45", " for ever" (0); nothing where no time is known. */
export function untilText(at, now = Date.now()) {
  if (typeof at !== "number") return "";
  if (at === 0) return " for ever";
  const isToday = new Date(at).toDateString() === new Date(now).toDateString();
  const format = isToday ? clock : Math.abs(at - now) < WEEK_MS ? weekday : date;
  return ` until ${format.format(at)}`;
}

/** "12 s", "4 min", "2 h", "7 days": what is left, rounded up. */
export function spanText(ms) {
  const seconds = Math.max(1, Math.ceil(ms / 1000));
  if (seconds <= 90) return `${seconds} s`;
  if (seconds <= 5_400) return `${Math.ceil(seconds / 60)} min`;
  return seconds <= 172_800 ? `${Math.ceil(seconds / 3_600)} h` : `${Math.ceil(seconds / 86_400)} days`;
}

/** "Ann", "Ann and bob", "Ann, bob and 10 more": `names` are the first of `count`. */
export function whoText(names, count) {
  const others = count - names.length;
  if (names.length === 0) return counted(count, "person", "people");
  if (others > 0) return `${names.join(", ")} and ${others.toLocaleString()} more`;
  return listText(names);
}

/** "a", "a and b", "a, b and c" */
function listText(items) {
  if (items.length <= 1) return items.join();
  return `${items.slice(0, -1).join(", ")} and ${items.at(-1)}`;
}

/** What slow mode is, where one need not wait just now. */
export const slowText = ({ slow_s: slowS }) =>
  `Slow mode: a message every ${spanText(slowS * 1000)}.`;

/** Why one may not speak: `room.silence` in words. */
export function silenceText({ reason, until }, canReact = false) {
  const can = canReact ? "You can read and react." : "You can read.";
  switch (reason) {
    case "muted": return `You are muted${until === 0 ? " in this room" : untilText(until)}.`;
    case "moderators": return `Only moderators speak here. ${can}`;
    case "members": return `Only members speak here. ${can}`;
    default: return `You can read${canReact ? " and react" : ""} here, but not write.`;
  }
}

/** The server's reasons (`docs/protocol.md`, 3.6). */
export function reasonText({ reason, max_bytes: maxBytes, until, text }) {
  switch (reason) {
    case "rate_limited": return "that was too much at once.";
    case "slow_mode": return "slow mode is on.";
    case "muted": return `you are muted${until === 0 ? " here" : untilText(until)}.`;
    case "rejected": return text ? `${text}.` : "this room does not take it.";
    case "too_large": return `it is longer than the ${maxBytes?.toLocaleString()} bytes that fit.`;
    case "unauthorized": return "you may not write here.";
    case "busy": return "the server is too busy.";
    case "invalid": return "the server did not understand it.";
    case "fatal": return "the server ended the connection each time it was sent.";
    case "storage": return "the server cannot store it right now.";
    case "closed": case "unmatched topic": return "you are not in this room.";
    default: return `${reason}.`;
  }
}

/** Why the server did not do to a message what was asked. */
export function changeReason(error, message) {
  switch (error.reason) {
    case "gone":
      return message?.deleted ? "this message was deleted." : "that message is no longer kept.";
    case "not_yours": return "it is not yours.";
    case "too_late": return "it is too late to change this message.";
    case "too_many": return tooManyText(error);
    case "unauthorized": return "you may not do that here.";
    default: return reasonText(error);
  }
}

function tooManyText({ limit, max }) {
  const most = max?.toLocaleString();
  switch (limit) {
    case "limits.emoji_per_message": return `there can be ${most} different emoji at most.`;
    case "limits.reactions_per_message": return "it has as many reactions as a message can have.";
    case "limits.reactions_per_user": return `each can react with ${most} emoji at most.`;
    default: return max === 0 ? "nothing can be changed here."
      : `there can be ${max} at most (${limit}).`;
  }
}

/** Why the server did not change a room, or what somebody is in it: a sentence. */
export function rulingReason({ reason, response = {} }) {
  switch (reason) {
    case "unauthorized": return "You may not do that here, or not to them.";
    case "last_owner": return "That is the only owner. Make somebody else an owner first.";
    case "invalid": return `That does not fit: ${response.message ?? response.field ?? "it"}.`;
    case "away": return "You are not connected. Try again when you are.";
    case "disconnected": case "timeout":
      return "The connection broke: it may have been done, or not.";
    default: {
      const text = changeReason({ ...response, reason });
      return text[0].toLocaleUpperCase() + text.slice(1);
    }
  }
}

/** What a line of a room's audit trail says: texts, and `{user}` where a name stands. */
export function actParts({ by, act, user, set = {} }) {
  const whom = [{ user: by }, " "];
  switch (act) {
    case "room_set": return [...whom, `changed the room: ${settingsText(set)}`];
    case "room_member": return [...whom, ...memberParts(user, set)];
    case "msg_delete": return [...whom, "deleted a message of ", { user }];
    case "msg_pin": return [...whom, `${set.on ? "pinned" : "unpinned"} a message of `, { user }];
    case "msg_report": return [...whom, "reported a message of ", { user }];
    default: return [...whom, act];
  }
}

const SETTINGS = {
  title: "its title", topic: "its topic", join: "who may join", speak: "who may speak",
  react: "who may react", slow_s: "slow mode", edit_s: "how long one may edit",
  receipts: "whether it is told who has read what", links: "links",
  invite: "who may invite", revoke_invites: "that no invite is good any more",
  keep_s: "how long messages are kept", keep_messages: "how many messages are kept",
  keep_bytes: "how much of its messages is kept", data: "its data",
};

const settingsText = (set) => listText(Object.keys(set).map((name) => SETTINGS[name] ?? name));

/** What was done to somebody, one thing behind the other. */
function memberParts(user, { role, muted_s: mutedS, banned_s: bannedS, kick, purge_s: purgeS }) {
  const forTime = (seconds) => (seconds < 0 ? "for ever" : `for ${spanText(seconds * 1000)}`);
  const done = [];
  if (role !== undefined) done.push(roleParts(user, role));
  if (mutedS === 0) done.push(["let ", { user }, " speak again"]);
  else if (mutedS !== undefined) done.push(["muted ", { user }, ` ${forTime(mutedS)}`]);
  if (bannedS === 0) done.push(["lifted the ban of ", { user }]);
  else if (bannedS !== undefined) done.push(["banned ", { user }, ` ${forTime(bannedS)}`]);
  if (kick) done.push(["removed ", { user }]);
  if (purgeS !== undefined) done.push(["deleted what ", { user }, " said of late"]);
  return done.flatMap((parts, index) => (index === 0 ? parts : [" and ", ...parts]));
}

const roleParts = (user, role) => (role === null
  ? ["took ", { user }, " out of the members"]
  : ["made ", { user }, ` ${role === "owner" ? "an" : "a"} ${role}`]);
