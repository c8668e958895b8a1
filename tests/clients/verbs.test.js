/** What becomes of messages, where rooms are kept and where not: beyond memory, over restarts, and by whom it is searched. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { inboxOf, leave, ok, refused, searched, tab } from "./support/client.js";
import { LOGS, started } from "./support/server.js";
import { look, page } from "./support/verbs.js";

const TOPIC = "room:tea";

/** Says so many messages. */
async function fill(channel, count) {
  for (let n = 1; n <= count; n += 1) await ok(channel.push("new_msg", { body: `m${n}`, key: `k${n}` }));
}

for (const [name, settings] of Object.entries(LOGS)) {
  describe(name, () => {
    test("all verbs, a recovery, and what is there after a restart", async (t) => {
      const server = await started(t, settings);
      const keeps = settings["store.path"] !== "";
      const [ann, bob] = [tab(t, server, "ann"), tab(t, server, "bob")];
      const { channel, view } = await look(ann, TOPIC);
      await fill(channel, 3);
      await ok(channel.push("msg_edit", { offset: 1, body: "uno", data: { a: [1.50] } }));
      await ok(channel.push("msg_delete", { offset: 2 }));
      await ok(channel.push("new_msg", { body: "answer", reply_to: 1, mentions: ["bob"] }));
      const again = await ok(channel.push("new_msg", { body: "m2", key: "k2" }));
      assert.equal(again.offset, 2, "a key brings no deleted message back");
      const before = view.list;
      assert.deepEqual(await page(bob, TOPIC), before);
      if (!keeps) return;
      const { cursor } = view;
      await server.stop();
      await server.start();
      const zoe = tab(t, server, "zoe");
      assert.deepEqual(await page(zoe, TOPIC), before, "as it was");
      const { response } = await look(tab(t, server, "kim"), TOPIC, { since: cursor });
      assert.deepEqual([response.recovered, response.messages, response.changed], [true, [], undefined]);
    });
  });
}

describe("messages that are no longer in memory", () => {
  const few = { "history.messages": 2 };

  test("are gone, where nothing else keeps them", async (t) => {
    const server = await started(t, { ...few, "store.path": "" }, 1);
    const { channel } = await look(tab(t, server, "ann"), TOPIC);
    await fill(channel, 5);
    assert.deepEqual(await refused(channel.push("msg_edit", { offset: 1, body: "x" })), { reason: "gone" });
    assert.deepEqual(await refused(channel.push("msg_delete", { offset: 3 })), { reason: "gone" });
    await ok(channel.push("msg_delete", { offset: 4 }));
    // Its client is told of the deletion, though the message itself has gone meanwhile.
    const { epoch } = (await look(tab(t, server, "bob"), TOPIC)).view.cursor;
    await ok(channel.push("new_msg", { body: "6" }));
    await ok(channel.push("new_msg", { body: "7" }));
    const since = { epoch, offset: 5, change: 0 };
    const { response } = await look(tab(t, server, "bob"), TOPIC, { since });
    assert.equal(response.recovered, true);
    assert.deepEqual(response.changed, [{ body: "", change: 1, deleted: {}, offset: 4 }]);
  });

  for (const deliver of ["at_once", "after_commit"]) {
    test(`are changed like any other in a store that delivers ${deliver}`, async (t) => {
      const server = await started(t, { ...few, "store.deliver": deliver }, 1);
      const [ann, bob] = [tab(t, server, "ann"), tab(t, server, "bob")];
      const { channel } = await look(ann, TOPIC);
      await fill(channel, 5);
      const { channel: other, view } = await look(bob, TOPIC);
      assert.deepEqual(await ok(channel.push("msg_edit", { offset: 1, body: "uno" })), { change: 1 });
      // Of one message they come in the order in which they were asked for.
      const [edit, repeat] = await Promise.all([
        ok(channel.push("msg_edit", { offset: 2, body: "dos" })),
        ok(channel.push("msg_edit", { offset: 2, body: "zwei" })),
      ]);
      const [gone, answer] = await Promise.all([
        ok(channel.push("msg_delete", { offset: 3 })),
        ok(channel.push("new_msg", { body: "six", reply_to: 1 })),
      ]);
      assert.deepEqual([edit, repeat, gone], [{ change: 2 }, { change: 3 }, { change: 4 }]);
      assert.equal(answer.offset, 6);
      for (let count = 0; count < 4; count += 1) await view.changes.next();
      const [older, newer] = [{ before: 5 }, { after: 4 }].map((wanted) => ok(other.push("history", wanted)));
      const messages = [...(await older).messages, ...(await newer).messages];
      const seen = messages.map(({ body, change, thread }) => [body, change, thread]);
      const none = undefined;
      assert.deepEqual(seen, [
        ["uno", 1, none],
        ["zwei", 3, none],
        ["", 4, none],
        ["m4", none, none],
        ["m5", none, none],
        ["six", none, 1],
      ]);
      // Whoever has all messages and no change is told the changes: from the store, too.
      const { epoch } = view.cursor;
      await leave(other);
      for (const restarts of [false, true]) {
        if (restarts) {
          await server.stop();
          await server.start();
        }
        const zoe = tab(t, server, "zoe");
        const back = async (cursor) => (await look(zoe, TOPIC, { since: { epoch, ...cursor } })).response;
        const first = await back({ offset: 3, change: 1 });
        assert.equal(first.recovered, true);
        assert.deepEqual(first.changed.map(({ offset, body, change }) => [offset, body, change]), [
          [2, "zwei", 3],
          [3, "", 4],
        ]);
        assert.deepEqual(first.messages.map(({ offset }) => offset), [4, 5, 6]);
        // All that is kept of a deleted message is told, as in a page.
        assert.deepEqual(first.changed, messages.slice(1, 3));
        zoe.disconnect();
      }
    });
  }
});

test("what was deleted or edited is not found any more", async (t) => {
  const server = await started(t, { "limits.search_per_s": 0 }, 1);
  const { channel } = await look(tab(t, server, "ann"), TOPIC);
  const changes = inboxOf(channel, "msg_changed");
  await ok(channel.push("new_msg", { body: "secret plan" }));
  await ok(channel.push("new_msg", { body: "harmless plan" }));
  const found = async (query) => (await searched(channel, { query })).messages.map(({ offset }) => offset);
  while ((await found("plan")).length < 2);
  await ok(channel.push("msg_delete", { offset: 1 }));
  await ok(channel.push("msg_edit", { offset: 2, body: "nothing at all" }));
  await changes.next();
  assert.deepEqual(await found("secret"), []);
  // What an edited message says now, once the index has caught up.
  while ((await found("plan")).length > 0);
  while ((await found("nothing")).length < 1);
});
