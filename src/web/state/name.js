/**
 * Names as they may be shown: of people, of rooms, and rooms' titles. The server takes almost any
 * letters; some of them would only serve to look like somebody else, or like nobody. Pure; what is
 * *sent* is always the name as it is, but for the names of rooms that are written here: `roomName`.
 */

import { wellFormed } from "../channel.js";

/** Embeddings, overrides and isolates: they turn the letters around, and those of the sentence in which the name stands. */
const TURNING = /[\u202a-\u202e\u2066-\u2069]/gu;
/** Besides spaces and what is ignored by default: the empty letter of Braille, the null notehead
 *  and the anchors of annotations, which are seen in no font either. */
const UNSEEN = /^[\p{DI}\p{White_Space}\p{Cc}\u2800\u{1d159}\ufff9-\ufffb]*$/u;

/** The name without what turns it around; `otherwise` where nothing of it could be seen. */
export function legible(name, otherwise = "(nameless)") {
  const straight = name.replace(TURNING, "");
  return isUnseen(straight) ? otherwise : straight;
}

/**
 * The name of a room as it is joined, made and looked for: in NFC. To the server é is one name as
 * one letter, and another as a letter with a mark; to a reader they are the same.
 */
export function roomName(text) {
  return wellFormed(text).normalize("NFC");
}

/** Whether nothing of a text can be seen. */
export function isUnseen(text) {
  return UNSEEN.test(text);
}
