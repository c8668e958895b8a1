/**
 * Stock clients at three servers that are one chat, set up as `docs/deploy/cluster/` says, while that comes to harm.
 */

import "./support/polling.js";

import assert from "node:assert/strict";
import { test } from "node:test";

import { Inbox, VERSIONS, WebSocket, patiently } from "./support/client.js";
import { Cluster } from "./support/cluster.js";

const TOPIC = "room:tea";

/** Somebody who reads all of a room, whatever happens, as an application would. */
class Reader {
  /** What is in the room, by offset. */
  seen = new Map();
  joins = new Inbox("joins");
  #cursor;

  constructor(t, cluster, client, user, options) {
    this.socket = new client.Socket(cluster.socket, {
      params: { token: cluster.token(user) },
      reconnectAfterMs: () => 50,
      rejoinAfterMs: () => 50,
      ...options,
    });
    t.after(() => this.socket.disconnect());
    this.socket.connect();
    this.channel = this.socket.channel(TOPIC, () => (this.#cursor ? { since: this.#cursor } : {}));
    this.channel.on("new_msg", (message) => this.#see(message));
    this.channel.on("room_epoch", ({ epoch }) => (this.#cursor.epoch = epoch));
    this.channel.join().receive("ok", (response) => this.#joined(response));
  }

  #joined({ epoch, recovered, messages, offset }) {
    // Something that it has seen may be lost: it is told, and begins anew.
    if (!recovered) this.seen.clear();
    this.#cursor = { epoch, offset: recovered ? this.#cursor.offset : (messages[0]?.offset ?? offset + 1) - 1 };
    messages.forEach((message) => this.#see(message));
    this.joins.put(recovered);
  }

  #see({ offset, body }) {
    assert.equal(offset, this.#cursor.offset + 1, `${this.channel.topic}: no hole, and nothing twice`);
    this.#cursor.offset = offset;
    this.seen.set(offset, body);
  }

  /** Says something until that is accepted. */
  async say(body) {
    const key = `key-${body}`;
    for (;;) {
      const answer = await new Promise((resolve) => {
        const push = this.channel.push("new_msg", { body, key }, 1_000);
        for (const status of ["ok", "error", "timeout"]) push.receive(status, (response) => resolve([status, response]));
      });
      if (answer[0] === "ok") return answer[1].offset;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Resolves when it has seen this. */
  async sees(body) {
    for (;;) {
      if ([...this.seen.values()].includes(body)) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

/** Two readers of each version, one of whom polls. */
function readers(t, cluster) {
  return VERSIONS.flatMap((client, at) => [
    new Reader(t, cluster, client, `ws-${at}`, { transport: WebSocket }),
    new Reader(t, cluster, client, `poll-${at}`, { transport: client.LongPoll }),
  ]);
}

/** Says `count` messages as fast as they are accepted, and does something to the cluster meanwhile. */
async function under(fault, all, name, count) {
  const accepted = [];
  for (let n = 1; n <= count; n += 1) {
    if (n === Math.ceil(count / 3)) await fault();
    const body = `${name}-${n}`;
    await patiently(`${body} to be accepted`, all[n % all.length].say(body));
    accepted.push(body);
  }
  return accepted;
}

for (const sticky of [true, false]) {
  const polls = sticky ? "polls go to one server" : "each poll goes to the next server";
  test(`nothing that was accepted is lost, whatever of it dies, where ${polls}`, (t) => harm(t, sticky));
}

async function harm(t, sticky) {
  const cluster = await Cluster.start(t, { sticky });
  const all = readers(t, cluster);
  for (const reader of all) assert.equal(await reader.joins.next(), false);
  const accepted = [];
  for (const [name, fault] of [
    ["quiet", () => {}],
    ["killed", () => cluster.nodes[0].kill()],
    ["drained", async () => assert.equal(await cluster.nodes[1].stop(), 0)],
    ["back", () => cluster.nodes[0].start()],
    ["failover", () => cluster.killPrimary()],
  ]) {
    accepted.push(...(await under(fault, all, name, 30)));
    t.diagnostic(`${name}: ${accepted.length} accepted`);
  }
  for (const reader of all) await patiently("the last message", reader.sees(accepted.at(-1)));
  const [first, ...others] = all.map(({ seen }) => [...seen]);
  for (const other of others) assert.deepEqual(other, first, "all have seen the same, in one order");
  const bodies = first.map(([, body]) => body);
  for (const body of accepted) {
    assert.equal(bodies.filter((other) => other === body).length, 1, `${body} is there, once`);
  }
}
