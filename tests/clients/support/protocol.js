/** What docs/protocol.md lists, so that tests can have all of it. */

import { readFileSync } from "node:fs";

/** The text of a file of this repository. */
export const textOf = (path) => readFileSync(new URL(`../../../${path}`, import.meta.url), "utf8");

/** What is in backticks in the first cells of the table with this head. */
function firstCells(head) {
  const rows = textOf("docs/protocol.md").split(`${head}\n`)[1].split("\n\n")[0].split("\n");
  return rows.flatMap((row) => [...row.split("|")[1].matchAll(/`([^`]+)`/g)].map(([, name]) => name));
}

/** What may be pushed in a room. */
export const pushes = () => firstCells("| event | payload | answer | to the room |");

/** Why something may be refused. */
export const reasons = () => firstCells("| reason | when | more in `response` |");
