/**
 * What a message's body says besides its letters: which parts are links, and whether it is only emoji, or long.
 * Pure: strings in, plain data out.
 */

import { isUnseen, legible } from "../state/name.js";

/**
 * What ends an address although nothing separates it from the sentence, for there are scripts that
 * write no blanks: the punctuation of East Asia with its wide and vertical forms, and quotation
 * marks, dashes and dots that a browser would have escaped. The middle dot of Katakana is part of
 * names, and no end; neither are the apostrophe and the short dash of European names.
 */
const ENDING = "\\u3001-\\u3003\\u3008-\\u3011\\u3014-\\u301f\\u3030\\u303d"
  + "\\ufe10-\\ufe19\\ufe30-\\ufe6b\\uff01-\\uff0f\\uff1a-\\uff20\\uff3b-\\uff40\\uff5b-\\uff64"
  + "\\u2014\\u2018\\u201a-\\u201f\\u2026\\u2039\\u203a«»";
const URL_LIKE = new RegExp(`\\bhttps?:\\/\\/[^\\s<>"\`${ENDING}]+`, "giu");
/** Marks that end no address but those which a URL ends in for good reason. */
const TAIL = /[\p{P}~]/u;
const NO_TAIL = new Set("/-#%&@)]}");
const OPENING = { "(": ")", "[": "]", "{": "}" };
const CLOSING = { ")": "(", "]": "[", "}": "{" };
const LONG_LETTERS = 2_000;
const LONG_LINES = 20;
const JUMBO_LENGTH_MAX = 64; // more than three of the longest
/** Code points: a family of four of different colours of skin has 11 (UTS 51). */
const EMOJI_LETTERS_MAX = 16;
/**
 * An emoji (UTS 51, 1.4): a flag, a keycap, or pictures joined by U+200D, perhaps with tags (flags
 * of England and the like). The first picture must be one by default, or be made one by U+FE0F: ©,
 * ™ and digits are text. What is joined to it need not: older keyboards leave U+FE0F out there.
 */
const EMOJI = (() => {
  const first = "(?:\\p{Emoji_Modifier_Base}\\p{Emoji_Modifier}"
    + "|(?!\\p{RI})\\p{Emoji_Presentation}\\ufe0f?|(?![0-9#*])\\p{Emoji}\\ufe0f)";
  const joined = "\\u200d(?![0-9#*])\\p{Emoji}(?:\\p{Emoji_Modifier}|\\ufe0f)?";
  const tags = "(?:[\\u{e0020}-\\u{e007e}]+\\u{e007f})?";
  return `(?:\\p{RI}{2}|[0-9#*]\\ufe0f?\\u20e3|${first}${tags}(?:${joined})*)`;
})();
const JUMBO = new RegExp(`^\\s*(?:${EMOJI}\\s*){1,3}$`, "u");

/** Splits into `{text}` and `{text, href}`. Only http and https become links; whatever else looks like one stays text. */
export function parts(body) {
  const found = [];
  let done = 0;
  for (const { 0: match, index } of body.matchAll(URL_LIKE)) {
    const text = withoutTail(match);
    const href = safeHref(text);
    if (!href) continue;
    if (index > done) found.push({ text: body.slice(done, index) });
    found.push({ text, href });
    done = index + text.length;
  }
  if (done < body.length) found.push({ text: body.slice(done) });
  return found;
}

/** Splits a text at the names that it mentions, which are longest first: into strings and `{name}`. */
export function atNames(text, names) {
  if (names.length === 0) return [text];
  const found = [];
  let done = 0;
  for (let at = text.indexOf("@"); at >= 0; at = text.indexOf("@", at + 1)) {
    const name = names.find((name) => text.startsWith(name, at + 1));
    if (name === undefined || at < done) continue;
    if (at > done) found.push(text.slice(done, at));
    found.push({ name });
    done = at + 1 + name.length;
  }
  if (done < text.length) found.push(text.slice(done));
  return found;
}

/** The first of what a body says, in one line; `BLANK`, if nothing of it could be seen. */
export function excerpt(body, letters = 200) {
  if (isUnseen(body)) return BLANK;
  const line = body.replace(/\s+/gu, " ").trim();
  return line.length > letters ? `${line.slice(0, letters).toWellFormed?.() ?? line.slice(0, letters)}…` : line;
}

/** An emoji of a reaction, which may be any text: as much of it as the longest emoji has. */
export function emojiText(emoji) {
  const letters = [...legible(emoji, BLANK).replace(/\s+/gu, " ")];
  const isCut = letters.length > EMOJI_LETTERS_MAX;
  return isCut ? `${letters.slice(0, EMOJI_LETTERS_MAX).join("")}…` : letters.join("");
}

/** What stands for a body of which nothing can be seen. */
export const BLANK = "(blank)";

/** Whether a body would fill the screen. */
export function isLong(body) {
  return body.length > LONG_LETTERS || body.split("\n", LONG_LINES + 1).length > LONG_LINES;
}

export function isJumbo(body) {
  return body.length <= JUMBO_LENGTH_MAX && JUMBO.test(body);
}

/** Punctuation after an address belongs to the sentence, and so does a bracket that the address did not open. Linear: the peer chose it. */
function withoutTail(url) {
  const surplus = {}; // closing bracket -> how many more of them than of their opening ones
  for (const letter of url) {
    if (CLOSING[letter]) surplus[letter] = (surplus[letter] ?? 0) + 1;
    else if (OPENING[letter]) surplus[OPENING[letter]] = (surplus[OPENING[letter]] ?? 0) - 1;
  }
  let end = url.length;
  for (; ; end -= 1) {
    const last = url[end - 1];
    if (surplus[last] > 0) surplus[last] -= 1;
    else if (NO_TAIL.has(last) || !TAIL.test(last)) return url.slice(0, end);
  }
}

function safeHref(text) {
  try {
    const { protocol, href } = new URL(text);
    return protocol === "https:" || protocol === "http:" ? href : null;
  } catch {
    return null;
  }
}
