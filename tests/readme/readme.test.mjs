/**
 * README, followed word by word by somebody with a clone: each block of code is run, in its order, in an empty folder,
 * and does what the page says. A block that nobody here knows is a mistake.
 *
 * What is not as it stands there: the server keeps its rooms in a folder of the test; `cargo install` installs there;
 * and where port 4000 is taken, another one is used. `tests/run` is not run, for it runs this.
 */
import assert from "node:assert/strict";
import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

import { blocks } from "../pages/blocks.mjs";

const CLONE = fileURLToPath(new URL("../../", import.meta.url));
const BUILT_WITHIN_MS = 1_200_000;
const DONE_WITHIN_MS = 120_000;

/** Whether nobody listens there. */
async function isFree(port) {
  const server = createServer().listen(port, "127.0.0.1");
  const outcome = await Promise.race([once(server, "listening").then(() => true), once(server, "error").then(() => false)]);
  if (outcome) await once(server.close(), "close");
  return outcome;
}

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  await once(server.close(), "close");
  return port;
}

const folder = mkdtempSync(join(tmpdir(), "chinwag-readme-"));
const port = (await isFree(4000)) ? 4000 : await freePort();
const here = (text) => text.replaceAll(":4000", `:${port}`);
const foreign = ([name]) => !name.startsWith("CHINWAG_");
const env = {
  ...Object.fromEntries(Object.entries(process.env).filter(foreign)),
  CHINWAG_STORE__PATH: join(folder, "kept"),
  CARGO_INSTALL_ROOT: folder,
  PATH: `${join(folder, "bin")}:${process.env.PATH}`,
};
if (port !== 4000) env.CHINWAG_LISTEN = `127.0.0.1:${port}`;

const running = new Set();
after(async () => {
  await Promise.all([...running].map(stop));
  rmSync(folder, { recursive: true, force: true });
});

/** Runs a block of the shell until it is done. Returns what it printed. */
async function run(text, { cwd = folder, within = DONE_WITHIN_MS } = {}) {
  const options = { cwd, env, timeout: within, maxBuffer: 16 << 20 };
  return (await promisify(execFile)("bash", ["-euo", "pipefail", "-c", here(text)], options)).stdout;
}

/** Begins a block that does not end by itself, in a group of processes of its own; some tools talk to people only. */
function begin(text, { cwd = folder, atTerminal = false } = {}) {
  const options = { cwd, env, stdio: ["pipe", "pipe", "pipe"], detached: true };
  const command = atTerminal ? ["script", "-qefc", here(text), "/dev/null"] : ["bash", "-euo", "pipefail", "-c", here(text)];
  const [program, ...rest] = command;
  const child = spawn(program, rest, options);
  const begun = { child, printed: "" };
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (data) => (begun.printed += data));
  running.add(begun);
  return begun;
}

/** Ctrl-C. */
async function stop(begun) {
  running.delete(begun);
  if (begun.child.exitCode !== null || begun.child.signalCode !== null) return;
  const ended = once(begun.child, "close");
  process.kill(-begun.child.pid, "SIGINT");
  await ended;
}

/** Waits until something that goes on is so. */
async function until(begun, what, isSo, within = DONE_WITHIN_MS) {
  const deadline = Date.now() + within;
  while (!(await isSo())) {
    assert.equal(begun.child.exitCode, null, `it ended before ${what}:\n${begun.printed}`);
    assert.ok(Date.now() < deadline, `not ${what}:\n${begun.printed}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const isReady = () => fetch(`http://localhost:${port}/readyz`).then(({ ok }) => ok, () => false);
const prints = (begun, text, within) => until(begun, `printed: ${text}`, () => begun.printed.includes(text), within);

/** What a block leaves for those behind it. */
const state = {};

/** Each kind of block: how it is known, and what follows from it. */
const STEPS = [
  {
    is: ({ text }) => text === "cargo run --release\n",
    async follow({ text }) {
      state.server = begin(text, { cwd: CLONE });
      await prints(state.server, `on http://localhost:${port} `, BUILT_WITHIN_MS);
      const page = await fetch(`http://localhost:${port}/`);
      assert.match(await page.text(), /<title>[^<]*Chinwag/);
    },
  },
  { is: ({ text }) => text === "tests/run\n", follow() {} },
  {
    is: ({ text }) => text.startsWith("curl "),
    async follow({ text }) {
      const { name, token, user, expires_at } = JSON.parse(await run(text));
      assert.equal(name, "Ann");
      assert.match(token, /^eyJ/);
      assert.match(user, /^g_/);
      assert.ok(expires_at > Date.now() / 1000);
    },
  },
  { is: ({ text }) => text.startsWith("npm install "), follow: ({ text }) => run(text) },
  { is: ({ language }) => language === "js", follow({ text }) { writeFileSync(join(folder, "chat.mjs"), here(text)); } },
  {
    is: ({ text }) => text === "node chat.mjs\n",
    async follow({ text }) {
      const chat = begin(text);
      for (const line of ["Ann: hello\n", "stored as 1\n", "somebody came or left\n"]) await prints(chat, line);
      await stop(chat);
    },
  },
  { is: ({ text }) => text.includes("wscat"), follow({ text }) { state.byHand = text; } },
  {
    is: ({ language, text }) => language === "text" && text.startsWith("> "),
    async follow({ text }) {
      const hand = begin(state.byHand, { atTerminal: true });
      await prints(hand, "Connected");
      const said = () => hand.printed.split("\n").filter((line) => !line.includes("presence"));
      for (const line of text.trimEnd().split("\n")) {
        if (line.startsWith("> ")) hand.child.stdin.write(`${line.slice(2)}\n`);
        else {
          const escaped = line.slice(2).replace(/[.*+?^${}()|[\]\\]/g, "\\$&").replaceAll("…", ".*");
          await until(hand, `heard: ${line}`, () => said().some((heard) => new RegExp(escaped).test(heard)));
        }
      }
      await stop(hand);
      await stop(state.server);
      assert.equal(state.server.child.exitCode, 0, state.server.printed);
    },
  },
  { is: ({ text }) => text.startsWith("cargo install "), follow: ({ text }) => run(text, { cwd: CLONE, within: BUILT_WITHIN_MS }) },
  {
    is: ({ text }) => text.includes(" chinwag.toml <<"),
    follow: ({ text }) => run(text),
  },
  {
    is: ({ text }) => text.startsWith("chinwag check "),
    async follow({ text }) {
      delete env.CHINWAG_STORE__PATH;
      delete env.CHINWAG_LISTEN;
      state.server = begin(text);
      await until(state.server, "ready", isReady);
    },
  },
  {
    is: ({ text }) => text.startsWith("chinwag token "),
    async follow({ text }) {
      const token = (await run(text)).trim();
      const answer = await fetch(`http://localhost:${port}/api/rooms`, { headers: { authorization: `Bearer ${token}` } });
      assert.equal(answer.status, 200);
      await stop(state.server);
      assert.equal(state.server.child.exitCode, 0, state.server.printed);
    },
  },
];

for (const block of blocks(readFileSync(join(CLONE, "README.md"), "utf8"))) {
  const steps = STEPS.filter(({ is }) => is(block));
  test(`line ${block.line}: ${block.text.split("\n")[0]}`, { timeout: BUILT_WITHIN_MS }, async () => {
    assert.equal(steps.length, 1, `so many steps know it: ${steps.length}`);
    await steps[0].follow(block);
  });
}
