/** Reactions: by every stock client, over each transport, in each log, over restarts, and a crowd of them at once. */

import "./support/polling.js";

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import {
  MODERATES,
  READS,
  V1,
  VERSIONS,
  inboxOf,
  join,
  leave,
  ok,
  refused,
  roomOfEachShard,
  tab,
} from "./support/client.js";
import { LOGS, started } from "./support/server.js";
import { look } from "./support/verbs.js";

const TOPIC = "room:tea";
const [UP, TADA] = ["\u{1f44d}", "\u{1f389}"];

/** Reacts to a message, or does no longer. */
function react(channel, offset, emoji, on = true) {
  return ok(channel.push("msg_react", { offset, emoji, on }));
}

for (const client of VERSIONS) {
  const transports = { websocket: {}, "version 1": V1, polling: { transport: client.LongPoll } };
  for (const [transport, options] of Object.entries(transports)) {
    test(`phoenix ${client.version} over ${transport}: reacts, and all are told who and how many`, async (t) => {
      const server = await started(t);
      const [ann, bob] = ["ann", "bob"].map((user) => tab(t, server, user, { client, ...options }));
      for (const topic of await roomOfEachShard(server, 2)) {
        const { channel } = await look(ann, topic);
        const { channel: other, view } = await look(bob, topic);
        await ok(channel.push("new_msg", { body: "hi" }));
        assert.deepEqual(await react(channel, 1, UP), { count: 1 });
        assert.deepEqual(await react(other, 1, UP), { count: 2 });
        assert.deepEqual(await react(other, 1, UP), { count: 2 }, "twice is once");
        assert.deepEqual(await react(channel, 1, UP, false), { count: 1 });
        assert.deepEqual(await react(other, 1, UP, false), { count: 0 });
        assert.deepEqual(await react(other, 1, TADA, false), { count: 0 }, "it was not there");
        const told = [];
        for (let change = 1; change <= 4; change += 1) {
          const { reactions, by } = await view.changes.next();
          told.push([reactions && reactions[UP], by]);
        }
        assert.deepEqual(told, [
          [{ count: 1, users: ["ann"] }, [["ann", UP, true]]],
          [{ count: 2, users: ["ann", "bob"] }, [["bob", UP, true]]],
          [{ count: 1, users: ["bob"] }, [["ann", UP, false]]],
          [null, [["bob", UP, false]]],
        ]);
      }
    });
  }
}

for (const [name, settings] of Object.entries(LOGS)) {
  describe(name, () => {
    test("whose they are is told to each, in pages and to who comes back, also after a restart", async (t) => {
      const server = await started(t, { ...settings, "history.messages": settings["store.path"] === "" ? 9 : 2 });
      const sockets = ["ann", "bob"].map((user) => tab(t, server, user));
      const [{ channel: ann }, { channel: bob, view }] = await Promise.all(sockets.map((socket) => look(socket, TOPIC)));
      for (const body of ["one", "two", "three", "four"]) await ok(ann.push("new_msg", { body }));
      for (const [channel, offset, emoji] of [[ann, 1, UP], [bob, 1, UP], [bob, 1, "ok"], [bob, 4, TADA], [ann, 3, UP]]) {
        await react(channel, offset, emoji);
      }
      const { epoch } = view.cursor;
      const check = async (who, mine) => {
        const [{ response }, page] = [await join(who, TOPIC), { before: 9 }];
        const { channel } = await join(who, TOPIC);
        const pages = [{ before: 4 }, { after: 0 }, { around: 2 }, { limit: 50, ...page }];
        for (const wanted of pages) {
          const { messages, mine: told = {} } = await ok(channel.push("history", wanted));
          const listed = messages.map(({ offset }) => offset);
          const expected = Object.entries(mine).filter(([offset]) => listed.includes(Number(offset)));
          assert.deepEqual(told, Object.fromEntries(expected), JSON.stringify(wanted));
        }
        const listed = response.messages.map(({ offset }) => `${offset}`);
        const expected = Object.entries(mine).filter(([offset]) => listed.includes(offset));
        assert.deepEqual(response.mine ?? {}, Object.fromEntries(expected));
        await leave(channel);
        const { response: back } = await join(who, TOPIC, { since: { epoch, offset: 2, change: 0 } });
        assert.equal(back.recovered, true);
        assert.deepEqual(back.changed.map(({ offset, reactions }) => [offset, reactions]), [
          [1, { [UP]: { count: 2, users: ["ann", "bob"] }, ok: { count: 1, users: ["bob"] } }],
        ]);
        assert.deepEqual(back.mine ?? {}, mine);
      };
      const all = async (t) => {
        await check(tab(t, server, "ann"), { 1: [UP], 3: [UP] });
        await check(tab(t, server, "bob"), { 1: [UP, "ok"], 4: [TADA] });
        await check(tab(t, server, "zoe"), {});
      };
      await all(t);
      if (settings["store.path"] === "") return;
      await server.stop();
      await server.start();
      await all(t);
      const { channel } = await join(tab(t, server, "cat"), TOPIC);
      assert.deepEqual(await react(channel, 1, UP), { count: 3 }, "beside those of before");
    });

    test("a crowd reacts at once: a few changes, and nobody is left out", async (t) => {
      const server = await started(t, { ...settings, "limits.join_per_s": 0 });
      const { channel: ann, view } = await look(tab(t, server, "ann"), TOPIC);
      await ok(ann.push("new_msg", { body: "hi" }));
      const crowd = await Promise.all(
        Array.from({ length: 100 }, async (_, n) => (await join(tab(t, server, `u${n}`), TOPIC)).channel),
      );
      const answers = await Promise.all(crowd.map((channel) => react(channel, 1, UP)));
      assert.equal(Math.max(...answers.map(({ count }) => count)), 100);
      const seen = new Set();
      let changes = 0;
      let last;
      while (seen.size < 100) {
        last = await view.changes.next();
        changes += 1;
        for (const [user, emoji, on] of last.by) {
          assert.ok(emoji === UP && on && !seen.has(user), user);
          seen.add(user);
        }
      }
      assert.deepEqual([last.reactions[UP].count, last.reactions[UP].users.length], [100, 10]);
      assert.ok(changes < 50, `${changes} changes`);
    });

    test("a message that is deleted has none, and takes none", async (t) => {
      const server = await started(t, settings);
      const { channel, view } = await look(tab(t, server, "ann"), TOPIC);
      await ok(channel.push("new_msg", { body: "hi" }));
      await react(channel, 1, UP);
      // One that is collected meanwhile comes too late, or before.
      const late = new Promise((resolve) => {
        channel.push("msg_react", { offset: 1, emoji: TADA }).receive("ok", resolve).receive("error", resolve);
      });
      await ok(channel.push("msg_delete", { offset: 1 }));
      const told = await late;
      assert.ok(told.count === 1 || told.reason === "gone", JSON.stringify(told));
      assert.deepEqual(await refused(channel.push("msg_react", { offset: 1, emoji: UP })), { reason: "gone" });
      let last;
      do last = await view.changes.next();
      while (!last.deleted);
      assert.deepEqual([last.reactions, last.by], [null, undefined]);
      const { response } = await join(tab(t, server, "bob"), TOPIC);
      assert.deepEqual([response.messages[0].reactions, response.mine], [undefined, undefined]);
    });
  });
}

test("is for whom it is, by token, setting and mute", async (t) => {
  const server = await started(t);
  const { channel: mod } = await join(tab(t, server, "mod", { claims: MODERATES }), TOPIC);
  await ok(mod.push("new_msg", { body: "hi" }));
  const { channel: reader } = await join(tab(t, server, "ann", { claims: READS }), TOPIC);
  const { channel: speaker } = await join(tab(t, server, "bob"), TOPIC);
  const reason = async (channel) => (await refused(channel.push("msg_react", { offset: 1, emoji: UP }))).reason;
  assert.equal(await reason(reader), "unauthorized");
  await react(speaker, 1, UP);
  const news = inboxOf(reader, "room_changed");
  assert.equal((await ok(mod.push("room_set", { react: "all" }))).react, "all");
  assert.equal((await news.next())[1].react, "all");
  await react(reader, 1, UP);
  await ok(mod.push("room_member", { user: "bob", muted_s: 600 }));
  assert.equal(await reason(speaker), "muted");
  await ok(mod.push("room_member", { user: "bob", muted_s: 0 }));
  await ok(mod.push("room_set", { react: "speakers" }));
  assert.equal(await reason(reader), "unauthorized");
  await react(speaker, 1, TADA);
});

test("no message has more reactions than it may, and nobody more of them", async (t) => {
  const server = await started(t, {
    "limits.emoji_per_message": 2,
    "limits.reactions_per_message": 3,
    "limits.reactions_per_user": 2,
  });
  const { channel: ann } = await join(tab(t, server, "ann"), TOPIC);
  const { channel: bob } = await join(tab(t, server, "bob"), TOPIC);
  const { channel: cat } = await join(tab(t, server, "cat"), TOPIC);
  await ok(ann.push("new_msg", { body: "hi" }));
  const full = async (channel, emoji) => {
    const { reason, limit, max } = await refused(channel.push("msg_react", { offset: 1, emoji }));
    assert.equal(reason, "too_many");
    return [limit, max];
  };
  await react(ann, 1, "a");
  await react(ann, 1, "b");
  assert.deepEqual(await full(ann, "c"), ["limits.reactions_per_user", 2]);
  assert.deepEqual(await full(bob, "c"), ["limits.emoji_per_message", 2]);
  await react(bob, 1, "a");
  assert.deepEqual(await full(cat, "a"), ["limits.reactions_per_message", 3]);
  await react(bob, 1, "a", false);
  await react(cat, 1, "a");
  const none = await started(t, { "chat.changes": 0 }, 1);
  const { channel, response } = await join(tab(t, none, "ann"), TOPIC);
  assert.ok(!("change" in response), "it is not said that messages change");
  await ok(channel.push("new_msg", { body: "hi" }));
  const told = await refused(channel.push("msg_react", { offset: 1, emoji: UP }));
  assert.deepEqual(told, { reason: "too_many", limit: "chat.changes", max: 0 });
});
