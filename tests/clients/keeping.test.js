/** For how long a room keeps messages, in memory and in a store: who says so, and what is left then. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { MODERATES, OWNS, PATIENCE_MS, inboxOf, join, ok, refused, searched, tab } from "./support/client.js";
import { started } from "./support/server.js";

const TOPIC = "room:tea";

const LOGS = {
  "in memory": { "store.path": "" },
  "in a store": {},
  "in a store, and few of it in memory": { "history.messages": 2 },
};

const owner = (t, server, topic = TOPIC) => join(tab(t, server, "ann", { claims: OWNS }), topic);

const offsets = ({ messages }) => messages.map(({ offset }) => offset);

/** All messages that there are: a page ends where memory begins. */
async function all(channel) {
  const found = [];
  for (;;) {
    const { messages, more } = await ok(channel.push("history", { after: found.at(-1)?.offset ?? 0 }));
    found.push(...messages);
    if (!more) return found;
  }
}

/** Resolves once all messages are such ones. */
async function until(channel, fits) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const messages = await all(channel);
    if (fits(messages)) return;
    assert.ok(Date.now() < end, `still there: ${offsets({ messages })}`);
  }
}

/** Resolves when the last message is more than a second old. */
const aged = (channel) => until(channel, (messages) => Date.now() > messages.at(-1).at + 1_000);

const emptied = (channel) => until(channel, (messages) => messages.length === 0);

/** What a search finds. */
const found = async (channel, query) => offsets(await searched(channel, { query }));

for (const [name, settings] of Object.entries(LOGS)) {
  const isKept = settings["store.path"] !== "";

  describe(name, () => {
    test("owners say for how long messages are kept, and nobody else", async (t) => {
      const server = await started(t, settings);
      const { channel: ann } = await owner(t, server);
      const { channel: mod } = await join(tab(t, server, "mod", { claims: MODERATES }), TOPIC);
      const news = inboxOf(mod, "room_changed");
      assert.equal((await ok(ann.push("room_set", { keep_s: 86_400 }))).keep_s, 86_400);
      assert.equal((await news.next())[1].keep_s, 86_400);
      for (const keep_s of [60, null]) {
        const { reason } = await refused(mod.push("room_set", { slow_s: 1, keep_s }));
        assert.equal(reason, "unauthorized");
      }
      assert.equal((await ok(mod.push("room_set", { slow_s: 1 }))).keep_s, 86_400);
      if (isKept) {
        await server.stop();
        await server.start();
      }
      const { channel, response } = await join(tab(t, server, "own", { claims: OWNS }), TOPIC);
      assert.equal(response.room.keep_s, 86_400);
      assert.ok(!("keep_s" in (await ok(channel.push("room_set", { keep_s: null })))));
      assert.ok(!("keep_s" in (await join(tab(t, server, "bob"), TOPIC)).response.room));
    });

    test("what is older than its room keeps is told nowhere any more, and offsets go on", async (t) => {
      const server = await started(t, settings);
      const { channel, response } = await owner(t, server);
      for (let n = 1; n <= 4; n += 1) {
        await ok(channel.push("new_msg", { body: `word ${n}`, reply_to: n === 3 ? 1 : undefined }));
      }
      await ok(channel.push("msg_pin", { offset: 2 }));
      const { epoch } = response;
      await aged(channel);
      const heard = inboxOf(channel, "new_msg", "msg_changed");
      await ok(channel.push("room_set", { keep_s: 1 }));
      await emptied(channel);
      await ok(channel.push("room_set", { keep_s: null }));

      for (const wanted of [{ before: 4 }, { after: 1 }, { thread: 1 }, { pinned: true }]) {
        const { messages, more } = await ok(channel.push("history", wanted));
        assert.deepEqual([messages, more], [[], false], JSON.stringify(wanted));
      }
      assert.equal((await refused(channel.push("history", { around: 3 }))).reason, "gone");
      assert.equal((await refused(channel.push("msg_edit", { offset: 3, body: "x" }))).reason, "gone");
      assert.deepEqual(await found(channel, "word"), []);
      assert.deepEqual(heard.items, [], "nobody is told");
      const rejoined = async (since) =>
        (await join(tab(t, server, "bob"), TOPIC, since && { since })).response;
      const fresh = await rejoined();
      assert.deepEqual([fresh.messages, fresh.offset, fresh.room.pins], [[], 4, undefined]);
      for (const [cursor, recovered] of [
        [{ offset: 4, change: 1 }, true],
        [{ offset: 3, change: 1 }, false],
        [{ offset: 4, change: 0 }, false],
      ]) {
        const told = await rejoined({ epoch, ...cursor });
        assert.deepEqual([told.recovered, told.messages], [recovered, []], JSON.stringify(cursor));
      }
      assert.equal((await ok(channel.push("new_msg", { body: "word 5" }))).offset, 5);
      const { messages, recovered } = await rejoined({ epoch, offset: 4, change: 1 });
      assert.deepEqual([offsets({ messages }), recovered], [[5], true]);
      if (!isKept) return;
      await server.stop();
      await server.start();
      const { channel: later } = await join(tab(t, server, "cat"), TOPIC);
      assert.deepEqual(offsets({ messages: await all(later) }), [5]);
    });

    test("a room's own time goes before that of the server, also where it is longer", async (t) => {
      const server = await started(t, { ...settings, "history.keep_s": 1 });
      const topics = ["room:short", "room:long", "room:other"];
      const channels = [];
      for (const topic of topics) channels.push((await owner(t, server, topic)).channel);
      const [, long] = channels;
      await ok(long.push("room_set", { keep_s: 1_000 }));
      for (const channel of channels) {
        for (let n = 1; n <= 3; n += 1) await ok(channel.push("new_msg", { body: `m${n}` }));
      }
      await aged(long);
      if (isKept) {
        // It goes through the rooms at once when it starts, and once a minute.
        await server.stop();
        await server.start();
      }
      const again = [];
      for (const topic of topics) again.push((await join(tab(t, server, "bob"), topic)).channel);
      const [short, still, other] = again;
      await emptied(short);
      await emptied(other);
      assert.deepEqual(offsets({ messages: await all(still) }), [1, 2, 3]);
    });
  });
}
