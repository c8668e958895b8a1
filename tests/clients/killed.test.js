/**
 * Stock clients of all versions, with keys and cursors, at a server that is killed under them again and again.
 *
 * `KILL_ROUNDS` says how often; `tests/long/run` does it 200 times.
 */

import "./support/polling.js";

import assert from "node:assert/strict";
import { test } from "node:test";

import { VERSIONS, WebSocket, patiently } from "./support/client.js";
import { Reader } from "./support/reader.js";
import { started } from "./support/server.js";

const ROUNDS = Number(process.env.KILL_ROUNDS ?? 3);
const TOPICS = ["room:tea", "room:coffee"];

/** How many messages are accepted in each life of the server, before it is killed under the next ones. */
const ACCEPTED = 30;

/** All messages of a room, by pages. */
async function everything(reader) {
  const found = [];
  for (;;) {
    const { messages, more } = await new Promise((resolve, reject) => {
      const asked = reader.channel.push("history", { after: found.at(-1)?.offset ?? 0, limit: 100 });
      asked.receive("ok", resolve).receive("error", reject).receive("timeout", reject);
    });
    found.push(...messages);
    if (!more) return found;
  }
}

test(`what was accepted is there once and in order, and nobody is told less, over ${ROUNDS} kills`, async (t) => {
  const server = await started(t, {}, 2);
  const rooms = TOPICS.map((topic) => VERSIONS.flatMap((client, at) => [
    new Reader(t, server, topic, client, `ws-${at}`, { transport: WebSocket }),
    new Reader(t, server, topic, client, `poll-${at}`, { transport: client.LongPoll }),
  ]));
  for (const reader of rooms.flat()) await reader.joins.next();

  // Each says one message after the other, so that some are under way whenever the server is killed.
  const accepted = TOPICS.map(() => []);
  let isOver = false;
  let reached = () => {};
  const talk = async (reader, room, name) => {
    for (let n = 1; !isOver; n += 1) {
      const body = `${name}-${n}`;
      accepted[room].push([await reader.say(body), body]);
      reached();
    }
  };
  const talks = rooms.flatMap((readers, room) => readers.map((reader, at) => talk(reader, room, at)));
  const count = () => accepted.flat().length;
  for (let round = 1; round <= ROUNDS + 1; round += 1) {
    const wanted = count() + ACCEPTED;
    await patiently(`messages of life ${round}`, new Promise((resolve) => {
      reached = () => count() >= wanted && resolve();
    }));
    if (round > ROUNDS) break;
    await server.kill();
    await server.start();
  }
  isOver = true;
  await patiently("all to be accepted", Promise.all(talks));

  for (const [room, readers] of rooms.entries()) {
    const there = (await everything(readers[0])).map(({ offset, body }) => [offset, body]);
    assert.deepEqual(there.map(([offset]) => offset), there.map((_, at) => at + 1), "offsets have no gap");
    assert.equal(new Set(there.map(([, body]) => body)).size, there.length, "no message is there twice");
    for (const [offset, body] of accepted[room]) assert.equal(there[offset - 1]?.[1], body, `${body} at ${offset}`);
    // Whoever was not told that something is lost has all of it, each message in its place.
    for (const reader of readers) {
      await patiently("the last message", reader.sees(there.at(-1)[1]));
      const first = Math.min(...reader.seen.keys());
      assert.deepEqual([...reader.seen], there.slice(first - 1), `${reader.socket.endPoint}`);
    }
  }
  t.diagnostic(`${count()} accepted`);
});
