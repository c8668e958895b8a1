/**
 * The real server, as a process of its own for each test that wants one.
 *
 *     const server = await Server.start({ shards: 2, settings: { "limits.idle_ms": 1000 } });
 *     server.token("ann");          // a token for the user `ann`
 *     await server.stop();          // SIGTERM, and its exit code
 *     await server.start();         // again, on the same port, with the same secret and store
 *
 *     started(t, settings, shards)  // one that ends with its test
 *
 * The binary is `CHINWAG_BIN`, or the one that `cargo build` makes.
 */

import { spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { engine } from "./engine.js";
import { newFolder } from "./folder.js";

const SECRET = "aEQYTpD+4wEPCQEcH206uMvn2CwlK1Y9EWjSjA7hz6AdyfTIG1cl/SN1bYkQPh7L";

function binary() {
  const built = (profile) => fileURLToPath(new URL(`../../../target/${profile}/chinwag`, import.meta.url));
  const found = process.env.CHINWAG_BIN ?? ["debug", "release"].map(built).find((path) => existsSync(path));
  if (!found) throw new Error("no server to test: run `cargo build`, or set CHINWAG_BIN");
  return found;
}

/** What is still running when a test file ends in the middle. */
const running = new Set();
// Before their folders go.
process.prependListener("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

export class Server {
  #child = null;
  #shards;
  #settings;
  #config;
  port = 0;

  constructor({ shards, settings, config }) {
    this.#shards = shards;
    this.#config = config ? ["--config", config] : [];
    // All tests of a file are the same few users, one after the other.
    const bursts = { "limits.publish_burst": 10_000, "limits.join_burst": 10_000 };
    const store = config ? {} : { "store.path": newFolder() };
    this.#settings = { drain_s: 0, "auth.secret": SECRET, ...store, ...bursts, ...settings };
  }

  /** A `config` is a file, to which `settings` are added. */
  static async start({ shards = 1, settings = {}, config } = {}) {
    const server = new Server({ shards, settings, config });
    await server.start();
    return server;
  }

  /** Starts it, for the first time on a free port and from then on always on that one. */
  async start() {
    const settings = Object.entries(this.#settings).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
    const args = [...this.#config, "--listen", `127.0.0.1:${this.port}`, "--shards", `${this.#shards}`, ...settings];
    const child = spawn(binary(), args, { env: {}, stdio: ["ignore", "pipe", "pipe"] });
    running.add(child);
    child.once("exit", () => running.delete(child));
    this.#child = child;
    let said = "";
    child.stderr.on("data", (text) => (said += text));
    this.port = await new Promise((resolve, reject) => {
      let line = "";
      child.stdout.on("data", (text) => {
        line += text;
        const port = /on http:\/\/localhost:(\d+) /.exec(line)?.[1];
        if (port) resolve(Number(port));
      });
      child.once("exit", (code) => reject(new Error(`the server ended with ${code}: ${said}`)));
    });
    const ready = await fetch(`${this.http}/readyz`);
    if (ready.status !== 200) throw new Error(`not ready: ${ready.status}`);
  }

  /** Asks it to stop, and says with which code it ended. */
  async stop() {
    const child = this.#child;
    if (!child || child.exitCode !== null || child.signalCode !== null) return null;
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    const [code] = await ended;
    return code;
  }

  /** Kills it, and resolves when it is gone. */
  async kill() {
    const ended = once(this.#child, "exit");
    this.#child.kill("SIGKILL");
    await ended;
  }

  get http() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** What `new Socket(...)` is given. */
  get socket() {
    return `ws://127.0.0.1:${this.port}/socket`;
  }

  /** A token for a user. `claims` come on top. */
  token(user, claims = {}) {
    const part = (value) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const exp = Math.floor(Date.now() / 1000) + 3600;
    const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, exp, ...claims })}`;
    return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
  }
}

/** What keeps rooms: the settings. */
export const LOGS = {
  "in memory": { "store.path": "" },
  "in a store": {},
  "in a store that shows what it has kept": { "store.deliver": "after_commit" },
  "in a store that answers before that": { "store.ack": "accept_may_lose_1s" },
};

/** A server that ends with the test, and lets its users say as much as they like. */
export async function started(t, settings = {}, shards = 2) {
  const server = await Server.start({ shards, settings: { "limits.publish_per_s": 0, ...settings } });
  t.after(() => server.stop());
  return server;
}

/** The same, with an engine that ends behind it. */
export async function startedWithEngine(t, settings = {}) {
  const { url, stop } = await engine();
  t.after(stop);
  return started(t, { "store.path": "", "engine.url": url, ...settings });
}
