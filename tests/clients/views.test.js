/** Pages around a message, of a thread and of what is pinned: in memory, beyond it, and over restarts. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { MODERATES, join, leave, ok, refused, tab } from "./support/client.js";
import { started } from "./support/server.js";
import { look } from "./support/verbs.js";

const TOPIC = "room:tea";

const LOGS = {
  "in memory": { "store.path": "" },
  "in a store": {},
  "in a store, and few of it in memory": { "history.messages": 3 },
  "in a store, of which nothing is in memory": { "history.messages": 0 },
  "in a store that shows what it has kept": { "history.messages": 3, "store.deliver": "after_commit" },
};

const moderator = (t, server) => tab(t, server, "mod", { claims: MODERATES });

/** Messages 1 to 12: 5, 7 and 11 are in the thread of message 2; messages 3, 7 and 10 are pinned. */
async function filled(t, settings) {
  const server = await started(t, settings);
  const [ann, mod] = [tab(t, server, "ann"), moderator(t, server)];
  const { channel } = await look(ann, TOPIC);
  const { channel: pins, view } = await look(mod, TOPIC);
  const answered = { 5: 2, 7: 2, 11: 2 };
  for (let n = 1; n <= 12; n += 1) await ok(channel.push("new_msg", { body: `m${n}`, reply_to: answered[n] }));
  for (const offset of [10, 4, 3, 7]) await ok(pins.push("msg_pin", { offset }));
  await ok(pins.push("msg_pin", { offset: 4, on: false }));
  await ok(channel.push("msg_delete", { offset: 5 }));
  return { server, channel, pins, view };
}

const offsets = ({ messages }) => messages.map(({ offset }) => offset);

/** What pages say. */
async function pages(channel) {
  const asked = async (wanted) => {
    const page = await ok(channel.push("history", wanted));
    const { more, more_after: moreAfter } = page;
    return moreAfter === undefined ? [offsets(page), more] : [offsets(page), more, moreAfter];
  };
  return {
    around: await asked({ around: 6, limit: 4 }),
    first: await asked({ around: 1, limit: 4 }),
    last: await asked({ around: 12, limit: 4 }),
    thread: await asked({ thread: 2 }),
    newest: await asked({ thread: 2, limit: 2 }),
    older: await asked({ thread: 2, before: 7, limit: 1 }),
    newer: await asked({ thread: 2, after: 2, limit: 2 }),
    alone: await asked({ thread: 3 }),
    pinned: await asked({ pinned: true }),
    pinnedNewest: await asked({ pinned: true, limit: 1 }),
    pinnedOlder: await asked({ pinned: true, before: 10 }),
  };
}

const EXPECTED = {
  around: [[4, 5, 6, 7], true, true],
  first: [[1, 2], false, true],
  last: [[10, 11, 12], true, false],
  thread: [[2, 5, 7, 11], false],
  newest: [[7, 11], true],
  older: [[5], true],
  newer: [[5, 7], true],
  alone: [[3], false],
  pinned: [[3, 7, 10], false],
  pinnedNewest: [[10], true],
  pinnedOlder: [[3, 7], false],
};

for (const [name, settings] of Object.entries(LOGS)) {
  describe(name, () => {
    test("a page has what was asked for, also after a restart", async (t) => {
      const { server, channel, view } = await filled(t, settings);
      assert.deepEqual(await pages(channel), EXPECTED);
      const { messages } = await ok(channel.push("history", { around: 5, limit: 1 }));
      assert.deepEqual([messages[0].body, messages[0].deleted.by, messages[0].thread], ["", "ann", 2]);
      const pinned = await ok(channel.push("history", { pinned: true }));
      for (const { offset, pinned: act } of pinned.messages) {
        assert.deepEqual(view.messages.get(offset).pinned, act, "as it was told");
      }
      assert.deepEqual((await join(tab(t, server, "zoe"), TOPIC)).response.room.pins, [3, 7, 10]);
      if (settings["store.path"] === "") return;
      await server.stop();
      await server.start();
      const { channel: later, response } = await join(tab(t, server, "kim"), TOPIC);
      assert.deepEqual(response.room.pins, [3, 7, 10]);
      assert.deepEqual(await pages(later), EXPECTED);
    });

    test("an answer to an answer is in its thread, and what is pushed behind it comes behind it", async (t) => {
      const { server, channel } = await filled(t, settings);
      // Messages 7 and 5 are answers themselves, and 5 is deleted.
      const pushed = [7, 5, undefined, 3].map((replyTo) => ok(channel.push("new_msg", { body: "a", reply_to: replyTo })));
      const said = await Promise.all(pushed);
      assert.deepEqual(said.map(({ offset }) => offset), [13, 14, 15, 16]);
      assert.deepEqual(offsets(await ok(channel.push("history", { thread: 2 }))), [2, 5, 7, 11, 13, 14]);
      assert.deepEqual(offsets(await ok(channel.push("history", { thread: 3 }))), [3, 16]);
      if (settings["store.path"] === "") return;
      await server.stop();
      await server.start();
      const { channel: later } = await join(tab(t, server, "kim"), TOPIC);
      await ok(later.push("new_msg", { body: "b", reply_to: 13 }));
      assert.deepEqual(offsets(await ok(later.push("history", { thread: 2 }))), [2, 5, 7, 11, 13, 14, 17]);
    });

    test("no more is pinned than may be, whatever is in memory", async (t) => {
      const { server, channel: author, pins } = await filled(t, { ...settings, "limits.pins": 4 });
      const full = { limit: "limits.pins", max: 4, reason: "too_many" };
      const tries = async (channel, offset) => {
        assert.deepEqual(await refused(channel.push("msg_pin", { offset })), full);
        await ok(channel.push("msg_pin", { offset: 3 }));
      };
      await ok(pins.push("msg_pin", { offset: 6 }));
      await tries(pins, 1);
      await ok(pins.push("msg_pin", { offset: 6, on: false }));
      await ok(pins.push("msg_pin", { offset: 8 }));
      await tries(pins, 1);
      if (settings["store.path"] === "") return;
      // A view does not follow over a restart.
      await Promise.all([leave(author), leave(pins)]);
      await server.stop();
      await server.start();
      const { channel } = await join(moderator(t, server), TOPIC);
      await tries(channel, 1);
      await ok(channel.push("msg_delete", { offset: 8 }));
      await ok(channel.push("msg_pin", { offset: 1 }));
      await tries(channel, 2);
    });
  });
}

test("in memory, what is no longer kept is gone, is in no thread, and is pinned no more", async (t) => {
  const { channel, pins } = await filled(t, { "store.path": "", "history.messages": 10, "limits.pins": 4 });
  for (let n = 13; n <= 16; n += 1) await ok(channel.push("new_msg", { body: `m${n}` }));
  assert.deepEqual(await refused(channel.push("history", { around: 6 })), { reason: "gone" });
  assert.deepEqual(offsets(await ok(channel.push("history", { thread: 2 }))), [7, 11]);
  assert.deepEqual(offsets(await ok(channel.push("history", { pinned: true }))), [7, 10]);
  for (const offset of [12, 11]) await ok(pins.push("msg_pin", { offset }));
  assert.equal((await refused(pins.push("msg_pin", { offset: 8 }))).reason, "too_many");
});
