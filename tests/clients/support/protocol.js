/** What docs/protocol.md lists, so that tests can have all of it. */

import { readdirSync, readFileSync } from "node:fs";

const placeOf = (path) => new URL(`../../../${path}`, import.meta.url);

/** The text of a file of this repository. */
export const textOf = (path) => readFileSync(placeOf(path), "utf8");

/** What keeps rooms in a server, by the names of the types; those of tests are none. */
export function logs() {
  const files = readdirSync(placeOf("src"), { recursive: true }).filter((path) => path.endsWith(".rs"));
  const tests = /(^|[/_])(tests?|contract)[/_.]/;
  const texts = files.filter((path) => !tests.test(path)).map((path) => textOf(`src/${path}`));
  return texts.flatMap((text) => [...text.matchAll(/^impl Log for (\w+)/gm)].map(([, name]) => name));
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
