/**
 * Several servers that are one chat, as `docs/deploy/cluster/` sets them up: an engine with replicas and sentinels, and
 * HAProxy in front of them. Only addresses are others, for all of it runs on this machine.
 *
 *     const cluster = await Cluster.start(t);   // ends with its test; { sticky: false }: polls go to any server
 *     cluster.socket, cluster.token("ann")      // what `new Socket(...)` is given
 *     cluster.nodes[0].kill()                   // a server; see `Server`
 *     cluster.killPrimary()                     // the engine's primary
 */

import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

import { PATIENCE_MS } from "./client.js";
import { newFolder } from "./folder.js";
import { Server } from "./server.js";

const DEPLOY = fileURLToPath(new URL("../../../docs/deploy/cluster/", import.meta.url));
const COUNT = 3;
/** Not in everybody's path. */
const HAPROXY = existsSync("/usr/sbin/haproxy") ? "/usr/sbin/haproxy" : "haproxy";

/** A port that nobody has just now. */
async function freePort() {
  const server = createServer();
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Resolves with what `isSo` does, as soon as that is something true. */
async function until(what, isSo) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = await isSo();
    if (found) return found;
    if (Date.now() > end) throw new Error(`still waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** What a server of the engine answers to a command without arguments of any length. */
function call(port, command) {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => socket.write(`${command}\r\n`));
    socket.once("data", (data) => (resolve(data.toString()), socket.destroy()));
    socket.once("error", () => resolve(""));
    socket.once("close", () => resolve(""));
  });
}

export class Cluster {
  nodes = [];
  #t;
  #engines = [];
  #sentinels = [];
  #folder = newFolder();
  #proxy;

  static async start(t, { sticky = true } = {}) {
    const cluster = new Cluster();
    cluster.#t = t;
    await cluster.#start(sticky);
    return cluster;
  }

  async #start(sticky) {
    const ports = [];
    for (let at = 0; at < COUNT; at += 1) ports.push(await freePort());
    for (const [at, port] of ports.entries()) await this.#engine(port, at > 0 && ports[0]);
    await until("two replicas", async () => /connected_slaves:2/.test(await call(ports[0], "INFO replication")));
    for (let at = 0; at < COUNT; at += 1) this.#sentinels.push(await this.#sentinel(ports[0]));
    const [sentinel] = this.#sentinels;
    const known = async (name, count) => (await call(sentinel, "INFO sentinel")).includes(`${name}=${count}`);
    await until("all sentinels know each other", () => known("sentinels", COUNT));
    await until("and the replicas", () => known("slaves", COUNT - 1));
    const addresses = this.#sentinels.map((port) => `127.0.0.1:${port}`);
    const settings = {
      "engine.url": `redis+sentinel://${addresses}/chat`,
      "limits.publish_per_s": 0,
      // A server that stops lets go of its people at once.
      drain_s: 1,
    };
    const config = join(DEPLOY, "chinwag.toml");
    for (let at = 0; at < COUNT; at += 1) {
      const node = await Server.start({ config, settings });
      this.#t.after(() => node.stop());
      this.nodes.push(node);
    }
    await this.#haproxy(sticky);
  }

  /** Runs a program that ends with the test. */
  #run(program, args) {
    const child = spawn(program, args, { stdio: "ignore" });
    this.#t.after(() => child.kill("SIGKILL"));
    return child;
  }

  async #engine(port, primary) {
    const folder = newFolder();
    const file = join(folder, "redis.conf");
    const text = readFileSync(join(DEPLOY, "redis.conf"), "utf8")
      .replace("bind 10.0.0.1", "bind 127.0.0.1")
      .replace("port 6379", `port ${port}`);
    writeFileSync(file, `${text}\ndir ${folder}\n${primary ? `replicaof 127.0.0.1 ${primary}\n` : ""}`);
    this.#engines.push({ port, child: this.#run("redis-server", [file]) });
    await until("the engine", async () => (await call(port, "PING")).startsWith("+PONG"));
  }

  async #sentinel(primary) {
    const folder = newFolder();
    const file = join(folder, "sentinel.conf");
    const port = await freePort();
    const text = readFileSync(join(DEPLOY, "sentinel.conf"), "utf8")
      .replace("port 26379", `port ${port}`)
      .replace("10.0.0.1 6379", `127.0.0.1 ${primary}`);
    writeFileSync(file, `${text}\ndir ${folder}\nbind 127.0.0.1\n`);
    this.#run("redis-server", [file, "--sentinel"]);
    await until("a sentinel", async () => (await call(port, "PING")).startsWith("+PONG"));
    return port;
  }

  async #haproxy(sticky) {
    const file = join(this.#folder, "haproxy.cfg");
    const port = await freePort();
    let text = readFileSync(join(DEPLOY, "haproxy.cfg"), "utf8").replace("bind :80", `bind 127.0.0.1:${port}`);
    for (const [at, node] of this.nodes.entries()) {
      text = text.replaceAll(`10.0.0.${at + 1}:4000`, `127.0.0.1:${node.port}`);
    }
    if (!sticky) {
      const { length } = text;
      text = text.replace(/balance source\n *hash-type consistent/, "balance roundrobin");
      if (text.length === length) throw new Error("haproxy.cfg: polls are spread in another way");
    }
    writeFileSync(file, text);
    const { status, stdout, stderr } = spawnSync(HAPROXY, ["-c", "-f", file], { encoding: "utf8" });
    if (status !== 0) throw new Error(`haproxy.cfg: ${stdout}${stderr}`);
    this.#run(HAPROXY, ["-db", "-f", file]);
    this.#proxy = port;
    await until("the proxy", async () => (await fetch(`http://127.0.0.1:${port}/readyz`).catch(() => ({}))).ok);
  }

  /** Where clients connect. */
  get socket() {
    return `ws://127.0.0.1:${this.#proxy}/socket`;
  }

  get http() {
    return `http://127.0.0.1:${this.#proxy}`;
  }

  /** A token for a user. */
  token(user, claims) {
    return this.nodes[0].token(user, claims);
  }

  /** Kills the primary of the engine. */
  async killPrimary() {
    const roles = await Promise.all(this.#engines.map(({ port }) => call(port, "ROLE")));
    const primary = this.#engines[roles.findIndex((role) => role.includes("master"))];
    primary.child.kill("SIGKILL");
  }
}
