/** What somebody has said of late is deleted, in memory or not. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { MODERATES, inboxOf, join, ok, tab } from "./support/client.js";
import { LOGS, started, startedWithEngine } from "./support/server.js";

const TOPIC = "room:tea";

/** All messages that a room has, a page at a time. */
async function all(channel) {
  const found = [];
  for (;;) {
    const { messages, more } = await ok(channel.push("history", { after: found.at(-1)?.offset ?? 0, limit: 100 }));
    found.push(...messages);
    if (!more) return found;
  }
}

const deleted = (messages) => messages.filter((message) => message.deleted).map(({ offset }) => offset);

/** Says so many messages at once, and waits for their answers. */
const says = (channel, count) =>
  Promise.all(Array.from({ length: count }, (_, n) => ok(channel.push("new_msg", { body: `m${n}` }))));

const KEEPING = Object.entries(LOGS).filter(([, kept]) => kept["store.path"] !== "");
const STARTS = KEEPING.map(([log, kept]) => [log, (t, settings) => started(t, { ...kept, ...settings })]);

for (const [log, starts] of [...STARTS, ["with an engine", startedWithEngine]]) {
  test(`a purge reaches what is no longer in memory, ${log}`, async (t) => {
    const server = await starts(t, { "history.messages": 10 });
    const { channel: mod } = await join(tab(t, server, "mod", { claims: MODERATES }), TOPIC);
    const { channel: bob } = await join(tab(t, server, "bob"), TOPIC);
    const { channel: zoe } = await join(tab(t, server, "zoe"), TOPIC);
    await says(bob, 90);
    await says(zoe, 20);
    await says(bob, 40);
    const heard = inboxOf(zoe, "msg_changed");
    const purge = async (more) => ok(mod.push("room_member", { user: "bob", purge_s: 3_600, ...more }));
    const { before, ...first } = await purge();
    assert.deepEqual(first, { user: "bob", purged: 100, more: true });
    // The newest of them, and each is told.
    const newest = (count) => [...Array(150).keys()].map((n) => n + 1).filter((n) => n <= 90 || n > 110).slice(-count);
    for (let count = 0; count < 100; count += 1) await heard.next();
    assert.deepEqual(deleted(await all(zoe)), newest(100));
    assert.deepEqual(await purge({ purge_before: before }), { user: "bob", purged: 30 });
    assert.deepEqual(deleted(await all(zoe)), newest(130));
    assert.deepEqual(await purge(), { user: "bob", purged: 0 });
    await server.stop();
    await server.start();
    assert.deepEqual(deleted(await all((await join(tab(t, server, "kim"), TOPIC)).channel)), newest(130));
  });
}

test("a purge with a ban holds at once, and ends where its time ends", async (t) => {
  const server = await started(t, { "history.messages": 2 });
  const { channel: mod } = await join(tab(t, server, "mod", { claims: MODERATES }), TOPIC);
  const { channel: bob } = await join(tab(t, server, "bob"), TOPIC);
  await says(bob, 5);
  const [{ at }] = await all(mod);
  while (Date.now() < at + 4_000) await ok(mod.push("echo", {}));
  await says(bob, 5);
  const out = inboxOf(bob, "room_removed");
  const answer = await ok(mod.push("room_member", { user: "bob", banned_s: -1, purge_s: 3 }));
  assert.equal((await out.next())[1].reason, "banned");
  const gone = deleted(await all(mod));
  assert.deepEqual(answer, { user: "bob", banned_until: 0, purged: gone.length });
  assert.ok(gone.every((offset) => offset > 5), `${gone}`);
});

test("a purge in memory, too, goes on where it has ended", async (t) => {
  const server = await started(t, { "store.path": "", "history.messages": 10_000 });
  const { channel: mod } = await join(tab(t, server, "mod", { claims: MODERATES }), TOPIC);
  const { channel: bob } = await join(tab(t, server, "bob"), TOPIC);
  await says(bob, 5);
  await says(mod, 2_100);
  await says(bob, 120);
  const purge = async (more) => ok(mod.push("room_member", { user: "bob", purge_s: 3_600, ...more }));
  const answers = [await purge()];
  while (answers.at(-1).more) answers.push(await purge({ purge_before: answers.at(-1).before }));
  assert.deepEqual(answers, [
    { user: "bob", purged: 100, more: true, before: 2_126 },
    { user: "bob", purged: 20, more: true, before: 126 },
    { user: "bob", purged: 5 },
  ]);
});
