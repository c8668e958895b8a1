/**
 * Stock clients at three servers that are one chat, set up as `docs/deploy/cluster/` says, while that comes to harm.
 */

import "./support/polling.js";

import assert from "node:assert/strict";
import { test } from "node:test";

import { VERSIONS, WebSocket, patiently } from "./support/client.js";
import { Cluster } from "./support/cluster.js";
import { Reader } from "./support/reader.js";

const TOPIC = "room:tea";

/** Two readers of each version, one of whom polls. */
function readers(t, cluster) {
  return VERSIONS.flatMap((client, at) => [
    new Reader(t, cluster, TOPIC, client, `ws-${at}`, { transport: WebSocket }),
    new Reader(t, cluster, TOPIC, client, `poll-${at}`, { transport: client.LongPoll }),
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
