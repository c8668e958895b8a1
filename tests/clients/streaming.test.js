/** Messages that grow: by every stock client, over each transport, in each log, over restarts. */

import "./support/polling.js";

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { MODERATES, V1, VERSIONS, inboxOf, join, leave, ok, refused, roomOfEachShard, tab } from "./support/client.js";
import { LOGS, started, startedWithEngine } from "./support/server.js";
import { look, page } from "./support/verbs.js";

const TOPIC = "room:tea";

for (const client of VERSIONS) {
  const transports = { websocket: {}, "version 1": V1, polling: { transport: client.LongPoll } };
  for (const [transport, options] of Object.entries(transports)) {
    test(`phoenix ${client.version} over ${transport}: says a message piece by piece`, async (t) => {
      const server = await started(t);
      const [bot, ann, zoe] = ["bot", "ann", "zoe"].map((user) => tab(t, server, user, { client, ...options }));
      for (const topic of await roomOfEachShard(server, 2)) {
        const { channel } = await look(bot, topic);
        const { view } = await look(ann, topic);
        const { offset } = await ok(channel.push("new_msg", { body: "The ", stream: true }));
        const pieces = ["quick ", "brown ", "f\u00f6x \u{1f98a} ", '"jumps"\n'];
        let bytes = 4;
        for (const text of pieces) {
          bytes += JSON.stringify(text).length - 2 + (Buffer.byteLength(text) - text.length);
          assert.deepEqual(await ok(channel.push("msg_append", { offset, text })), { bytes });
        }
        await ok(channel.push("msg_append", { offset, done: true }));
        let last;
        do last = await view.changes.next();
        while (last.stream !== null);
        const [message] = view.list;
        assert.deepEqual([message.body, message.stream], [`The ${pieces.join("")}`, undefined]);
        assert.deepEqual(await page(zoe, topic), view.list, "and a newcomer sees the same");
      }
    });
  }
}

for (const [name, settings] of Object.entries(LOGS)) {
  describe(name, () => {
    test("however often it grows, it is one change to whoever comes back", async (t) => {
      const server = await started(t, { ...settings, "chat.changes": 2 });
      const bot = tab(t, server, "bot");
      const { channel, view } = await look(bot, TOPIC);
      await ok(channel.push("new_msg", { stream: true }));
      const { epoch } = view.cursor;
      const words = Array.from({ length: 200 }, (_, n) => `w${n} `);
      await Promise.all(words.map((text) => ok(channel.push("msg_append", { offset: 1, text }))));
      let last;
      do last = await view.changes.next();
      while (!view.list[0].body.endsWith("w199 "));
      assert.equal(view.list[0].body, words.join(""), "in the order in which it was said");
      assert.ok(last.change < 100, `${last.change} changes`);
      const { response } = await look(tab(t, server, "ann"), TOPIC, { since: { epoch, offset: 1, change: 0 } });
      assert.equal(response.recovered, true);
      assert.deepEqual(response.changed, view.list);
    });

    test("it grows on after a restart, and is ended when its author is silent", async (t) => {
      const server = await started(t, { ...settings, "chat.stream_s": 2 });
      const { channel } = await join(tab(t, server, "bot"), TOPIC);
      await ok(channel.push("new_msg", { body: "a", stream: true }));
      await ok(channel.push("msg_append", { offset: 1, text: "b" }));
      if (settings["store.path"] !== "") {
        await server.stop();
        await server.start();
      }
      const { channel: again } = await join(tab(t, server, "bot"), TOPIC);
      const { view } = await look(tab(t, server, "ann"), TOPIC);
      const [message] = view.list;
      assert.deepEqual([message.body, message.stream], ["ab", true]);
      await ok(again.push("msg_append", { offset: 1, text: "c" }));
      let last;
      do last = await view.changes.next();
      while (last.stream !== null);
      assert.deepEqual([last.append, last.body], [undefined, undefined], "nothing but that it is over");
      assert.equal(view.list[0].body, "abc");
      assert.deepEqual(await refused(again.push("msg_append", { offset: 1, text: "d" })), { reason: "too_late" });
    });
  });
}

for (const [name, settings] of Object.entries({ ...LOGS, "with an engine": null })) {
  test(`an edit comes behind what was appended before it, ${name}`, async (t) => {
    const slow = { "chat.react_tick_ms": 500 };
    const server = await (settings ? started(t, { ...settings, ...slow }) : startedWithEngine(t, slow));
    const { channel, view } = await look(tab(t, server, "bot"), TOPIC);
    await ok(channel.push("new_msg", { body: "", stream: true }));
    const append = (text) => ok(channel.push("msg_append", { offset: 1, text }));
    const [first, second, third] = ["Helo ", "wor", "ld"].map(append);
    const edited = ok(channel.push("msg_edit", { offset: 1, body: "Hello, wor" }));
    const last = ok(channel.push("msg_append", { offset: 1, text: "ld!", done: true }));
    assert.deepEqual(await Promise.all([first, second, third]), [5, 8, 10].map((bytes) => ({ bytes })));
    await edited;
    assert.deepEqual(await last, { bytes: 13 });
    let change;
    do change = await view.changes.next();
    while (change.stream !== null);
    assert.equal(view.list[0].body, "Hello, world!");
  });
}

test("is its author's, and no larger or freer than what is said at once", async (t) => {
  const server = await started(t, { "limits.body_bytes": 8 });
  const { channel: mod } = await join(tab(t, server, "mod", { claims: MODERATES }), TOPIC);
  await ok(mod.push("room_set", { links: false }));
  const { channel: bot, view } = await look(tab(t, server, "bot"), TOPIC);
  const { channel: ann } = await join(tab(t, server, "ann"), TOPIC);
  const append = (channel, offset, more) => channel.push("msg_append", { offset, ...more });
  const { offset } = await ok(bot.push("new_msg", { body: "http:", stream: true }));
  assert.deepEqual(await refused(append(ann, offset, { text: "x" })), { reason: "not_yours" });
  assert.deepEqual(await refused(append(mod, offset, { text: "x" })), { reason: "not_yours" });
  assert.equal((await refused(append(bot, offset, { text: "//x" }))).reason, "rejected");
  const large = { reason: "too_large", field: "text", max_bytes: 8 };
  assert.deepEqual(await refused(append(bot, offset, { text: "1234" })), large);
  assert.deepEqual(await ok(append(bot, offset, { text: "123" })), { bytes: 8 });
  assert.deepEqual(await ok(append(bot, offset, { done: true })), { bytes: 8 });
  assert.deepEqual(await refused(append(bot, offset, { text: "1" })), { reason: "too_late" });
  const plain = await ok(bot.push("new_msg", { body: "whole" }));
  assert.deepEqual(await refused(append(bot, plain.offset, { text: "1" })), { reason: "too_late" });
  const third = await ok(bot.push("new_msg", { body: "a", stream: true }));
  await ok(mod.push("room_member", { user: "bot", muted_s: 60 }));
  assert.equal((await refused(append(bot, third.offset, { text: "b" }))).reason, "muted");
  await ok(mod.push("room_member", { user: "bot", muted_s: 0 }));
  await ok(bot.push("msg_edit", { offset: third.offset, body: "A" }));
  assert.deepEqual(await ok(append(bot, third.offset, { text: "b" })), { bytes: 2 }, "what it says by now");
  await ok(mod.push("msg_delete", { offset: third.offset }));
  assert.deepEqual(await refused(append(bot, third.offset, { text: "c" })), { reason: "gone" });
  let last;
  do last = await view.changes.next();
  while (!last.deleted);
  const { body, stream } = view.messages.get(third.offset);
  assert.deepEqual([body, stream], ["", undefined]);
  const none = await started(t, { "chat.changes": 0 }, 1);
  const { channel } = await join(tab(t, none, "bot"), TOPIC);
  const told = await refused(channel.push("new_msg", { body: "a", stream: true }));
  assert.deepEqual(told, { reason: "too_many", limit: "chat.changes", max: 0 });
});

test("who knows only new_msg sees how it began, and all of it in a page", async (t) => {
  const server = await started(t);
  const { channel: bot } = await join(tab(t, server, "bot"), TOPIC);
  const old = tab(t, server, "ann", { client: VERSIONS[0] });
  const { channel } = await join(old, TOPIC);
  const heard = inboxOf(channel, "new_msg");
  await ok(bot.push("new_msg", { body: "a", stream: true }));
  await ok(bot.push("msg_append", { offset: 1, text: "b", done: true }));
  await ok(bot.push("new_msg", { body: "next" }));
  assert.deepEqual([(await heard.next())[1].body, (await heard.next())[1].body], ["a", "next"]);
  await leave(channel);
  assert.deepEqual((await page(old, TOPIC)).map(({ body }) => body), ["ab", "next"]);
});
