/** How often a message was answered: in pages, joins and recoveries, in memory or not, and as clients count by themselves. */

import "./support/polling.js";

import assert from "node:assert/strict";
import { test } from "node:test";

import { MODERATES, V1, VERSIONS, inboxOf, join, leave, ok, roomOfEachShard, searched, tab } from "./support/client.js";
import { LOGS, started } from "./support/server.js";
import { look } from "./support/verbs.js";

/** How often each message was answered that a list has. */
const counts = (messages) =>
  Object.fromEntries(messages.flatMap(({ offset, replies }) => (replies ? [[offset, [replies.count, replies.last]]] : [])));

/** Messages 1 to 9: 4, 5 and 8 are in the thread of message 2, and 9 is in that of message 6. */
const THREADS = { 4: 2, 5: 4, 8: 2, 9: 6 };
const COUNTS = { 2: [3, 8], 6: [1, 9] };

async function fill(channel) {
  for (let offset = 1; offset <= 9; offset += 1) {
    await ok(channel.push("new_msg", { body: `word ${offset}`, reply_to: THREADS[offset] }));
  }
}

const FEW = { "and few of it in memory": { "history.messages": 2 }, "": {} };
const TRANSPORTS = { "WebSocket V2": {}, "WebSocket V1": V1, "long polling": { transport: VERSIONS.at(-1).LongPoll } };

for (const [log, kept] of Object.entries(LOGS)) {
  for (const [few, history] of Object.entries(FEW)) {
    const isKept = kept["store.path"] !== "";
    if (!isKept && few) continue;
    test(`whoever reads is told how often a message was answered, ${log} ${few}`, async (t) => {
      const server = await started(t, { ...kept, ...history, "limits.search_per_s": 0 });
      const [topic] = await roomOfEachShard(server, 2);
      const ann = tab(t, server, "ann", { claims: MODERATES });
      const { channel, view, response } = await look(ann, topic);
      const heard = inboxOf(channel, "new_msg");
      await fill(channel);
      for (let offset = 1; offset <= 9; offset += 1) await heard.next();
      assert.deepEqual(counts(view.list), COUNTS, "a client counts what it hears");

      // What has changed is answered as often, and what is deleted has answered.
      await ok(channel.push("msg_edit", { offset: 2, body: "word two" }));
      await ok(channel.push("msg_pin", { offset: 6 }));
      await ok(channel.push("msg_delete", { offset: 4 }));
      const { epoch } = response;
      const read = async (channel) => {
        const page = async (wanted) => counts((await ok(channel.push("history", wanted))).messages);
        assert.deepEqual(await page({ before: 10 }), isKept && few ? {} : COUNTS);
        assert.deepEqual(await page({ before: 8 }), COUNTS);
        assert.deepEqual(await page({ after: 0, limit: 2 }), { 2: [3, 8] });
        assert.deepEqual(await page({ around: 6, limit: 1 }), { 6: [1, 9] });
        assert.deepEqual(await page({ thread: 2 }), { 2: [3, 8] });
        assert.deepEqual(await page({ pinned: true }), { 6: [1, 9] });
      };
      for (const restarts of isKept ? [false, true] : [false]) {
        if (restarts) {
          await server.stop();
          await server.start();
        }
        for (const [name, options] of Object.entries(TRANSPORTS)) {
          const socket = tab(t, server, "bob", options);
          const { channel: bob, response: fresh } = await join(socket, topic);
          assert.deepEqual(counts(fresh.messages), few ? {} : COUNTS, name);
          await read(bob);
          await leave(bob);
          const since = async (cursor) => (await join(socket, topic, { since: { epoch, ...cursor } })).response;
          const back = await since({ offset: 7, change: 0 });
          assert.equal(back.recovered, true);
          assert.deepEqual([counts(back.messages), counts(back.changed)], [{}, COUNTS], name);
          socket.disconnect();
        }
      }
      const { channel: zoe } = await join(tab(t, server, "zoe"), topic);
      let found = [];
      while (found.length === 0) found = (await searched(zoe, { query: "two" })).messages;
      assert.deepEqual(counts(found), { 2: [3, 8] });
    });
  }
}

test("whoever comes back counts what it has missed, once", async (t) => {
  const server = await started(t, { "history.messages": 3 }, 1);
  const { channel } = await join(tab(t, server, "ann"), "room:tea");
  const bob = tab(t, server, "bob");
  const { channel: before, view, response } = await look(bob, "room:tea");
  const heard = inboxOf(before, "new_msg");
  for (const reply_to of [undefined, 1]) await ok(channel.push("new_msg", { body: "a", reply_to }));
  for (let count = 0; count < 2; count += 1) await heard.next();
  await leave(before);
  for (const reply_to of [1, undefined, 2, 1]) await ok(channel.push("new_msg", { body: "a", reply_to }));
  const since = { epoch: response.epoch, offset: 2, change: 0 };
  const { response: back } = await join(bob, "room:tea", { since });
  assert.equal(back.recovered, true);
  view.joined(back);
  assert.deepEqual(counts(view.list), { 1: [4, 6] });
});
