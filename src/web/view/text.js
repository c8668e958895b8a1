/**
 * What a message's body says besides its letters: which parts are links, and whether it is only emoji.
 * Pure: strings in, plain data out.
 */

const URL_LIKE = /\bhttps?:\/\/[^\s<>"`]+/giu;
const CLOSING = { ")": "(", "]": "[", "}": "{" };
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

export function isJumbo(body) {
  return body.length <= 40 && JUMBO.test(body);
}

/** Punctuation after an address belongs to the sentence, and so does a bracket that the address did not open. */
function withoutTail(url) {
  for (;;) {
    const last = url.at(-1);
    const unopened = CLOSING[last] && url.split(last).length > url.split(CLOSING[last]).length;
    if (!unopened && !/[.,;:!?'"*_~…»”’]/u.test(last)) return url;
    url = url.slice(0, -1);
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
