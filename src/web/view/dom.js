/**
 * The little that the views need of a framework: making elements and keeping a list in step with rows.
 *
 * Text reaches the page through `textContent` and text nodes alone. That, and not escaping, is why a name or a message
 * can never become markup: nothing in this page parses HTML.
 */

const SVG = "http://www.w3.org/2000/svg";

export const byId = (id) => document.getElementById(id);

/** An element; `on...` properties are listeners, `aria-...`, `data-...` and the like attributes; null leaves one out. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const use = document.createElementNS(SVG, "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

/**
 * Whether a key belongs to an input method, where Enter chooses a character and Escape gives it up.
 * Safari sends the key that ends a composition after the composition, with the code 229 alone to
 * tell (UI Events, legacy key attributes).
 */
export function isComposing({ isComposing, keyCode }) {
  return isComposing || keyCode === 229;
}

/** Does not touch what is right already: a screen reader would hear it again. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * A list that follows rows of `{key, signature}`, and returns the elements by key. An element lives
 * as long as its key; when the signature changes, `update(element, row)` is called, or without one
 * the element is made anew. The focus stays where it was.
 */
export function keyedList(parent, make, update) {
  let shown = new Map();
  return (rows) => {
    const focused = parent.contains(document.activeElement) ? document.activeElement : null;
    const next = new Map();
    for (const row of rows) {
      const entry = shown.get(row.key);
      if (!entry) {
        next.set(row.key, { signature: row.signature, element: make(row) });
      } else {
        if (entry.signature !== row.signature) {
          if (update) update(entry.element, row);
          else replace(entry, make(row));
          entry.signature = row.signature;
        }
        next.set(row.key, entry);
      }
    }
    for (const [key, { element }] of shown) if (!next.has(key)) element.remove();
    let at = parent.firstChild;
    for (const { element } of next.values()) {
      if (element === at) at = at.nextSibling;
      else parent.insertBefore(element, at);
    }
    shown = next;
    if (focused?.isConnected && focused !== document.activeElement) focused.focus({ preventScroll: true });
    return new Map([...next].map(([key, { element }]) => [key, element]));
  };
}

function replace(entry, element) {
  const hadFocus = entry.element.contains(document.activeElement);
  entry.element.replaceWith(element);
  entry.element = element;
  if (hadFocus) element.focus({ preventScroll: true });
}

/** A colour of one's own for each user: a hue in degrees, spread by a hash (FNV-1a) of the id. */
export function hueOf(user) {
  let hash = 0x811c9dc5;
  for (let i = 0; i < user.length; i += 1) hash = Math.imul(hash ^ user.charCodeAt(i), 0x01000193);
  // The last letters reach only the low bits; this brings them up, so that g_1 and g_2 differ.
  return Math.floor(((Math.imul(hash, 0x9e3779b1) >>> 0) / 2 ** 32) * 360);
}

/** Colours through the CSSOM, which a strict Content-Security-Policy allows; a `style` attribute it would not. */
export function colour(element, user) {
  element.style.setProperty("--hue", hueOf(user));
  return element;
}

/** "1 person", "2 people" */
export function counted(number, one, many) {
  return `${number.toLocaleString()} ${number === 1 ? one : many}`;
}
