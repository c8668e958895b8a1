/** What docs/protocol.md lists, so that tests can have all of it. */

import { readdirSync, readFileSync } from "node:fs";

const placeOf = (path) => new URL(`../../../${path}`, import.meta.url);

/** The text of a file of this repository. */
export const textOf = (path) => readFileSync(placeOf(path), "utf8");

const IS_OF_TESTS = /(^|[/_])(tests?|contract|machines)[/_.]/;

/** All that a pattern finds in the program's sources, but for those of tests: its first groups, each once. */
function found(folders, pattern) {
  const isIn = (path) => folders.some((folder) => path.startsWith(folder));
  const isMeant = (path) => path.endsWith(".rs") && !IS_OF_TESTS.test(path) && isIn(path);
  const files = readdirSync(placeOf("src"), { recursive: true }).filter(isMeant);
  const texts = files.map((path) => textOf(`src/${path}`).split("#[cfg(test)]\nmod tests {")[0]);
  return [...new Set(texts.flatMap((text) => [...text.matchAll(pattern)].map(([, name]) => name)))];
}

/** Where what clients push is judged. */
const JUDGES = ["member/", "room/", "rooms/"];

/** The fields that a push may be refused for: as `invalid`, and as `too_large`. */
export const fieldsRefused = () => ({
  invalid: found(JUDGES, /(?:\binvalid\(|\bInvalid \{ field: |\(|_within\([^;"]*\()"([a-z_]+)", ?(?:"|message)/g),
  tooLarge: found(JUDGES, /(?:TooLarge \{ field: |text_within\(\w+, )"([a-z_]+)"/g),
});

/** What may be refused by a limit's name. */
export const limits = () => found(["link/refusal"], /_LIMIT: &str = "([a-z_.]+)"/g);

/** What keeps rooms in a server, by the names of the types; those of tests are none. */
export function logs() {
  return found([""], /^impl Log for (\w+)/gm);
}

/** What is in backticks in the first cells of the table with this head. */
function firstCells(head) {
  const rows = textOf("docs/protocol.md").split(`${head}\n`)[1].split("\n\n")[0].split("\n");
  return rows.flatMap((row) => [...row.split("|")[1].matchAll(/`([^`]+)`/g)].map(([, name]) => name));
}

/** What may be pushed in a room. */
export const pushes = () => firstCells("| event | payload | answer | to the room |");

/** Why something may be refused. */
export const reasons = () => firstCells("| reason | when | more in `response` |");
