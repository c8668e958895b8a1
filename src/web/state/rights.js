/**
 * What one may do in a room, and to whom.
 *
 * Two things that the server tells make up a room's rights: the *room object* (`room.info`: what
 * the room lets whom do) and *you* (`room.you`: what one is in it). Each comes whole whenever it
 * changes. What follows from both and from the time is `room.silence`, and `judge` finds it. So a
 * view looks at no clock, and a mute that is over needs no word of the server.
 *
 * Knows nothing of sockets and of the screen. Deliberately absent: clocks, except as arguments.
 */
import { legible } from "./name.js";

const MODERATING = new Set(["moderate", "own"]);
const BY_ROLE = { owner: "own", moderator: "moderate" };
const MODERATORS = new Set(["moderator", "owner"]);

/** Whether the user looks after the room. */
export const moderates = ({ you }) => MODERATING.has(you.level);

/** Whether the room is the user's own. */
export const owns = ({ you }) => you.level === "own";

/**
 * Whether one may react to messages: as who speaks, or where the room lets all react who read. A
 * muted user may not.
 */
export function mayReact({ info, silence }) {
  return silence === null || (info.react === "all" && silence.reason !== "muted");
}

/** Whether the user may invite others. */
export function mayInvite(room) {
  const { info, you, silence } = room;
  const isMember = info.invite === "members" && you.role !== null;
  return moderates(room) || (isMember && silence?.reason !== "muted");
}

/** Whether the user was put out, or is kept out, and stays so until they ask to come in. */
export const isOut = ({ refusal }) => Boolean(refusal?.isRemoval) || refusal?.reason === "banned";

/** Folds the room object. A wait ends with the slow mode that it is for. */
export function described(room, info, now) {
  room.info = info;
  room.title = legible(info.title, legible(room.name));
  if (room.slowUntil !== null) room.slowUntil = Math.min(room.slowUntil, now + slowMs(room));
}

/** Folds what one is. `tokenLevel` is for servers that tell no level: it is what the token says. */
export function told(room, you, tokenLevel = null) {
  const { speak, role = null, muted_until: mutedUntil = null } = you;
  const isMuted = mutedUntil !== null;
  const byToken = MODERATING.has(tokenLevel) ? tokenLevel : speak || isMuted ? "speak" : "join";
  // A mute hides the level: what it will be afterwards follows from the role.
  const unmuted = you.level ?? (isMuted ? BY_ROLE[role] : undefined) ?? byToken;
  room.you = { level: unmuted, unmuted, role, mutedUntil, reads: false };
  // Silent, and neither by a mute nor by the room: then for as long as the server says so.
  room.you.reads = !speak && !isMuted && barrier(room) === null;
}

/** Finds out whether one may speak now. */
export function judge(room, now) {
  const { mutedUntil, reads } = room.you;
  const isMuted = mutedUntil === 0 || mutedUntil > now;
  room.you.level = isMuted ? "join" : room.you.unmuted;
  const reason = isMuted ? "muted" : barrier(room) ?? (reads ? "reads" : null);
  room.silence = reason && { reason, until: isMuted ? mutedUntil : null };
  if (room.slowUntil <= now) room.slowUntil = null;
}

/** When `judge` will find something else although nothing is told; null if never. */
export function nextTurn({ you, slowUntil }, now) {
  const turns = [you.mutedUntil, slowUntil].filter((at) => at > now);
  return turns.length ? Math.min(...turns) : null;
}

/** The user has said something: in slow mode the next has to wait. */
export function spoke(room, now) {
  if (slowMs(room) > 0 && !moderates(room)) room.slowUntil = now + slowMs(room);
}

/** Folds `room_removed`. Who is there is not told any more. */
export function removed(room, { reason, until, text }, by = null) {
  room.status = "refused";
  room.refusal = { isRemoval: true, reason, until, text, by };
  Object.assign(room, { members: [], count: null, typing: new Map() });
}

/** What may be done to a person: of `promote`, `demote`, `mute`, `kick` and `ban`. */
export function powersOver(room, user, isOwn) {
  const theirs = room.roles.get(user);
  const isOwner = owns(room);
  const isAbove = isOwner ? theirs !== "owner" : moderates(room) && !MODERATORS.has(theirs);
  if (!isAbove || isOwn(user)) return [];
  const step = isOwner ? [theirs === "moderator" ? "demote" : "promote"] : [];
  return [...step, "mute", "kick", "ban"];
}

const slowMs = ({ info }) => (info.slow_s ?? 0) * 1000;

/** Whom the room lets speak, where one is none of them; else null. */
function barrier(room) {
  const { speak = "all" } = room.info;
  if (speak === "all" || moderates(room)) return null;
  return speak === "members" && room.you.role ? null : speak;
}
