/**
 * Clients in other languages: the examples in `docs/clients.md`, as they stand there, in a room with a stock client.
 *
 * What they need is put into `target/clients`: a virtual environment for Python, and what cargo builds.
 */

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { after, before, describe, test } from "node:test";

import { VERSIONS, connect, inboxOf, join, ok, patiently } from "../support/client.js";
import { Server } from "../support/server.js";

const path = (relative) => fileURLToPath(new URL(relative, import.meta.url));
const TARGET = path("../../../target/clients");
const run = (command, ...args) => execFileSync(command, args, { stdio: ["ignore", "ignore", "inherit"] });

/** The code under a heading of `docs/clients.md`, pointed at another server. */
function example(heading, server) {
  const section = readFileSync(path("../../../docs/clients.md"), "utf8").split(`\n## ${heading}\n`)[1];
  assert.ok(section, `docs/clients.md has "${heading}"`);
  return /```\w+\n(.*?)```/s.exec(section)[1].replaceAll("localhost:4000", `127.0.0.1:${server.port}`);
}

/** Plays an example. `start` gets the code and says what to run. */
async function play(t, heading, start, { listens = false } = {}) {
  const server = await Server.start({ shards: 2 });
  t.after(() => server.stop());
  const { channel } = await join(connect(t, VERSIONS.at(-1), server, "ann"), "room:tea");
  const news = inboxOf(channel, "new_msg", "presence_diff");
  const [command, ...args] = start(example(heading, server));
  const env = { ...process.env, TOKEN: server.token("guest") };
  const child = spawn(command, args, { env, cwd: path(".."), stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill());
  let said = "";
  const shown = new Promise((resolve, reject) => {
    child.stdout.on("data", (text) => (said += text).includes("you too") && resolve());
    child.once("exit", (code) => reject(new Error(`it ended with ${code}, having said ${said}`)));
  });
  if (listens) await news.until(([event, { joins }]) => event === "presence_diff" && "guest" in joins);
  else await news.until(([event, { user, body }]) => event === "new_msg" && user === "guest" && body === "hello");
  // One that only listens may still be about to: it is told again until it has heard.
  const again = setInterval(() => channel.push("new_msg", { body: "you too" }), 200);
  t.after(() => clearInterval(again));
  await patiently("what the others say", shown);
  assert.deepEqual(await ok(channel.push("echo", {})), {});
}

mkdirSync(TARGET, { recursive: true });

describe("JavaScript", () => {
  after(() => {
    for (const folder of ["..", "."]) rmSync(path(`${folder}/example.mjs`), { force: true });
  });

  /** An example must stand in the folder that has its packages. */
  const node = (folder, code) => {
    const file = path(`${folder}/example.mjs`);
    writeFileSync(file, code);
    return [process.execPath, file];
  };

  test("phoenix", (t) =>
    play(t, "JavaScript: `phoenix`", (code) => {
      // What a page has, and Node.js 20 has not; and the package goes by another name where there are several versions.
      const page = 'import WebSocket from "ws";\nglobalThis.WebSocket = WebSocket;\nconst { TOKEN } = process.env;\n';
      return node("..", page + code.replace('"phoenix"', '"phoenix18"'));
    }));

  test("phoenix-channels", (t) => {
    run("npm", "--prefix", path("."), "ci", "--ignore-scripts", "--silent", "--no-audit", "--no-fund");
    return play(t, "Node.js without a browser: `phoenix-channels`", (code) => node(".", code));
  });
});

describe("Python", () => {
  before(() => {
    run("python3", "-m", "venv", `${TARGET}/python`);
    run(`${TARGET}/python/bin/pip`, "install", "--quiet", "--disable-pip-version-check", "-r", path("requirements.txt"));
  });
  const python = (code) => [`${TARGET}/python/bin/python`, "-c", code];

  test("phxsocket", (t) => play(t, "Python: `phxsocket`", python));
  test("phoenix-channels-python-client", (t) =>
    play(t, "Python, listening: `phoenix-channels-python-client`", python, { listens: true }));
});

describe("Rust", () => {
  test("phoenix_channels_client", (t) =>
    play(t, "Rust: `phoenix_channels_client`", (code) => {
      writeFileSync(`${TARGET}/example.rs`, code);
      run("cargo", "build", "--quiet", "--locked", "--manifest-path", path("rust/Cargo.toml"), "--target-dir", TARGET);
      return [`${TARGET}/debug/example`];
    }));
});
