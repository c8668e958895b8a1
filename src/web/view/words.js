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
const WEEK_MS = 7 * 86_400_000;

/** " until 11:40", " until Sunday, 10:45", " for ever" (0); nothing where no time is known. */
export function untilText(at, now = Date.now()) {
  if (typeof at !== "number") return "";
  if (at === 0) return " for ever";
  const isToday = new Date(at).toDateString() === new Date(now).toDateString();
  const format = isToday ? clock : Math.abs(at - now) < WEEK_MS ? weekday : date;
  return ` until ${format.format(at)}`;
}

/** "12 s", "4 min", "2 h": what is left, rounded up. */
export function spanText(ms) {
  const seconds = Math.max(1, Math.ceil(ms / 1000));
  if (seconds <= 90) return `${seconds} s`;
  return seconds <= 5_400 ? `${Math.ceil(seconds / 60)} min` : `${Math.ceil(seconds / 3_600)} h`;
}

/** "Ann", "Ann and bob", "Ann, bob and 10 more": `names` are the first of `count`. */
export function whoText(names, count) {
  const others = count - names.length;
  if (names.length === 0) return counted(count, "person", "people");
  if (others > 0) return `${names.join(", ")} and ${others.toLocaleString()} more`;
  if (names.length === 1) return names[0];
  return `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
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
