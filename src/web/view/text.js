/**
 * What a message's body says besides its letters: which parts are links, and whether it is only emoji, or long.
 * Pure: strings in, plain data out.
 */

const URL_LIKE = /\bhttps?:\/\/[^\s<>"`]+/giu;
const TAIL = /[.,;:!?'"*_~…»”’]/u;
const OPENING = { "(": ")", "[": "]", "{": "}" };
const CLOSING = { ")": "(", "]": "[", "}": "{" };
const LONG_LETTERS = 2_000;
const LONG_LINES = 20;
const JUMBO = /^(?:\p{Extended_Pictographic}(?:\ufe0f|\p{Emoji_Modifier}|\u200d\p{Extended_Pictographic})*\s*){1,3}$/u;

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

/** Whether a body would fill the screen. */
export function isLong(body) {
  return body.length > LONG_LETTERS || body.split("\n", LONG_LINES + 1).length > LONG_LINES;
}

export function isJumbo(body) {
  return body.length <= 40 && JUMBO.test(body);
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
    else if (!TAIL.test(last)) return url.slice(0, end);
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
