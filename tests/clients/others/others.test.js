/**
 * Clients in other languages: the examples in `docs/clients.md`, as they stand there, in a room with a stock client.
 *
 * `npm run setup:others` fetches and builds what they need, and has to be run before, and again when the example in Rust has changed.
 */

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { existsSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { after, describe, test } from "node:test";

import { VERSIONS, connect, inboxOf, join, ok, patiently } from "../support/client.js";
import { Server } from "../support/server.js";
import { TARGET, example, path, rustExample } from "./examples.js";

/** Plays an example. `start` gets the code, pointed at this test's server, and says what to run. */
async function play(t, heading, start, { listens = false } = {}) {
  const server = await Server.start({ shards: 2 });
  t.after(() => server.stop());
  const { channel } = await join(connect(t, VERSIONS.at(-1), server, "ann"), "room:tea");
  const news = inboxOf(channel, "new_msg", "presence_diff");
  const [command, ...args] = start(example(heading).replaceAll("localhost:4000", `127.0.0.1:${server.port}`));
  const env = { ...process.env, TOKEN: server.token("guest"), URL: `${server.socket}/websocket` };
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

  test("phoenix-channels", (t) =>
    play(t, "Node.js without a browser: `phoenix-channels`", (code) => node(".", code)));
});

describe("Python", () => {
  const python = (code) => [`${TARGET}/python/bin/python`, "-c", code];

  test("phxsocket", (t) => play(t, "Python: `phxsocket`", python));
  test("phoenix-channels-python-client", (t) =>
    play(t, "Python, listening: `phoenix-channels-python-client`", python, { listens: true }));
});

describe("Rust", () => {
  test("phoenix_channels_client", (t) => {
    const source = `${TARGET}/example.rs`;
    const isBuilt = existsSync(source) && readFileSync(source, "utf8") === rustExample();
    assert.ok(isBuilt, "the example has been built as it stands: npm run setup:others");
    return play(t, "Rust: `phoenix_channels_client`", () => [`${TARGET}/debug/example`]);
  });
});
