/**
 * Names as they may be shown: of people, of rooms, and rooms' titles. The server takes almost any letters; some of them would only serve to
 * look like somebody else, or like nobody. Pure; what is *sent* is always the name as it is.
 */

/** Embeddings, overrides and isolates: they turn the letters around, and those of the sentence in which the name stands. */
const TURNING = /[\u202a-\u202e\u2066-\u2069]/gu;
/** The one letter that is meant to be seen as a blank is no white space to Unicode: that of Braille. */
const UNSEEN = /^[\p{Default_Ignorable_Code_Point}\p{White_Space}\p{Cc}\u2800]*$/u;

/** The name without what turns it around; `otherwise` where nothing of it could be seen. */
export function legible(name, otherwise = "(nameless)") {
  const straight = name.replace(TURNING, "");
  return UNSEEN.test(straight) ? otherwise : straight;
}
