/** Blocks of code in a page, for the tests that parse or run them. */

/**
 * All of them: `{ language, text, line }`. The text is without the indent of a list, and `line` is the number of its
 * first line.
 */
export function blocks(page) {
  const found = page.matchAll(/^( *)```(.*)\n([\s\S]*?)^ *```$/gm);
  return [...found].map(({ 1: indent, 2: language, 3: text, index }) => ({
    language,
    text: text.replaceAll(new RegExp(`^${indent}`, "gm"), ""),
    line: page.slice(0, index).split("\n").length + 1,
  }));
}
