/**
 * Which messages of a room the screen has elements for: so many around the one that is read. With all of them each
 * older page would take longer to come in than the one before, and the beginning of a large room would be out of reach.
 *
 * A stretch is `{first, last}`: places of messages, `{line, offset}`, or null where it goes as far as there are any here.
 * A place whose message is not here any more counts as null.
 *
 * Pure: knows nothing of elements.
 */
import { endOf, MESSAGES_KEPT_MAX } from "./room.js";

/** More than are kept of a room in which nobody scrolls back: there all have elements. */
export const SHOWN_MAX = 1.5 * MESSAGES_KEPT_MAX;
/** How many come in at an end of it. */
const STEP = SHOWN_MAX / 4;

export const WHOLE = { first: null, last: null };

const countOf = (room) => room.segments.reduce((sum, { messages }) => sum + messages.length, 0);

/** The messages of a stretch, counted over all that are here: from `from` on, and before `to`. */
export function boundsOf(room, { first, last }) {
  const count = countOf(room);
  return { from: positionOf(room, first) ?? 0, to: (positionOf(room, last) ?? count - 1) + 1, count };
}

/** The stretch, or where it has become too long a part of it: around the message at `place`, at its end if that is null. */
export function fitted(room, stretch, place) {
  const { from, to } = boundsOf(room, stretch);
  if (to - from <= SHOWN_MAX) return stretch;
  const at = positionOf(room, place) ?? to;
  return between(room, Math.max(from, at - SHOWN_MAX / 2), Math.min(to, at + SHOWN_MAX / 2));
}

/** With more messages above, or with more below. */
export function upwards(room, stretch) {
  const { from, to } = boundsOf(room, stretch);
  return between(room, Math.max(0, from - STEP), to);
}

export function downwards(room, stretch) {
  const { from, to, count } = boundsOf(room, stretch);
  return between(room, from, Math.min(count, to + STEP));
}

function between(room, from, to) {
  return { first: from > 0 ? placeAt(room, from) : null, last: to < countOf(room) ? placeAt(room, to - 1) : null };
}

function placeAt(room, position) {
  let begin = 0;
  for (const { line, from, messages } of room.segments) {
    if (position < begin + messages.length) return { line, offset: from + position - begin };
    begin += messages.length;
  }
  return null;
}

function positionOf(room, place) {
  let begin = 0;
  for (const segment of room.segments) {
    const { line, from, messages } = segment;
    if (line === place?.line && from <= place.offset && place.offset <= endOf(segment)) return begin + place.offset - from;
    begin += messages.length;
  }
  return undefined;
}
