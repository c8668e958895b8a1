/** The examples in `docs/clients.md`, and where what they need is put: `target/clients`. */

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

import { blocks } from "../../pages/blocks.mjs";

export const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));

/** A virtual environment for Python, and what cargo builds. */
export const TARGET = path("../../../target/clients");

/** The code under a heading of `docs/clients.md`. */
export function example(heading) {
  const section = readFileSync(path("../../../docs/clients.md"), "utf8").split(`\n## ${heading}\n`)[1];
  assert.ok(section, `docs/clients.md has "${heading}"`);
  return blocks(section)[0].text;
}

/** The example in Rust is compiled before there is a server: it is told at its start where that is. */
export function rustExample() {
  const code = example("Rust: `phoenix_channels_client`");
  const url = '"ws://localhost:4000/socket/websocket"';
  assert.ok(code.includes(url), `the example connects to ${url}`);
  return code.replace(url, '&*std::env::var("URL").unwrap()');
}
