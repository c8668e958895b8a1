/** Another meta of one's presence, as stock clients' `Presence` sees it: what `Presence.update` of Phoenix is. */

import "./support/polling.js";

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  Inbox, READS, V1, VERSIONS, connect, inboxOf, join, ok, refused, roomOfEachShard, tab,
} from "./support/client.js";
import { started } from "./support/server.js";

/** What a stock client knows of who is there, and each time that it learns more. */
function watch(client, channel) {
  const presence = new client.Presence(channel);
  const synced = new Inbox("presence");
  const [joins, leaves] = [[], []];
  presence.onJoin((user, current, fresh) => joins.push([user, fresh.metas.length, current?.metas.length ?? 0]));
  presence.onLeave((user, current) => leaves.push([user, current.metas.length]));
  presence.onSync(() => synced.put(presence.list((user, { metas }) => [user, metas])));
  const until = (fits) => synced.until((list) => fits(Object.fromEntries(list)));
  return { until, joins, leaves };
}

/** Joins, with such a watch. */
async function look(client, socket, topic, params) {
  const channel = socket.channel(topic, params);
  const seen = watch(client, channel);
  await ok(channel.join());
  return { channel, seen };
}

const TRANSPORTS = { "WebSocket V2": {}, "WebSocket V1": V1, "long polling": { transport: "LongPoll" } };

for (const client of VERSIONS) {
  for (const [name, options] of Object.entries(TRANSPORTS)) {
    test(`another meta replaces the one before, by phoenix ${client.version} over ${name}`, async (t) => {
      const server = await started(t);
      const transport = options.transport ? { transport: client.LongPoll } : options;
      for (const topic of await roomOfEachShard(server, 2)) {
        const socket = (user) => connect(t, client, server, user, transport);
        const { channel } = await look(client, socket("ann"), topic, { meta: { status: "here" } });
        const { channel: other } = await look(client, socket("ann"), topic);
        const { seen } = await look(client, socket("bob"), topic);
        const statuses = (list) => (list.ann ?? []).map(({ meta }) => meta?.status ?? null).sort();
        const is = (...expected) => (list) => JSON.stringify(statuses(list)) === JSON.stringify(expected);
        await seen.until(is("here", null));
        assert.deepEqual(await ok(channel.push("room_meta", { meta: { status: "away" } })), {});
        const list = Object.fromEntries(await seen.until(is("away", null)));
        const [changed] = list.ann.filter(({ meta }) => meta);
        assert.equal(changed.phx_ref_prev.length, changed.phx_ref.length);
        assert.notEqual(changed.phx_ref_prev, changed.phx_ref);
        await ok(other.push("room_meta", { meta: { status: "busy" } }));
        await seen.until(is("away", "busy"));
        await ok(channel.push("room_meta", { meta: null }));
        await seen.until(is("busy", null));
        // Nobody has left for a moment.
        assert.deepEqual(seen.leaves.filter(([user, left]) => user === "ann" && left === 0), []);
        // Who comes now is told what is.
        const { seen: late } = await look(client, socket("cat"), topic);
        await late.until(is("busy", null));
        await ok(other.leave());
        await late.until(is(null));
        await seen.until(is(null));
      }
    });
  }
}

test("a diff has the leave and the join, and the ref that is replaced", async (t) => {
  const server = await started(t);
  const channel = tab(t, server, "ann").channel("room:tea");
  const diffs = inboxOf(channel, "presence_diff");
  await ok(channel.join());
  const [, { joins: { ann: { metas: [first] } } }] = await diffs.next();
  await ok(channel.push("room_meta", { meta: { n: 1 } }));
  const [, { joins, leaves }] = await diffs.next();
  assert.deepEqual(leaves, { ann: { metas: [first] } });
  const [{ phx_ref, ...rest }] = joins.ann.metas;
  assert.deepEqual(rest, { meta: { n: 1 }, name: first.name, online_at: first.online_at, phx_ref_prev: first.phx_ref });
  assert.notEqual(phx_ref, first.phx_ref);
  // What is so already is no news, and what is not seen is nobody's.
  await ok(channel.push("room_meta", { meta: { n: 1 } }));
  const { channel: hidden } = await join(tab(t, server, "bob"), "room:tea", { presence: false });
  assert.deepEqual(await ok(hidden.push("room_meta", { meta: { n: 2 } })), {});
  await ok(channel.push("room_meta", { meta: { n: 3 } }));
  const [, { joins: then }] = await diffs.next();
  assert.deepEqual([Object.keys(then), then.ann.metas[0].meta], [["ann"], { n: 3 }]);
});

test("whoever only reads has a meta too, and it costs a push", async (t) => {
  const server = await started(t, { "limits.publish_per_s": 1, "limits.publish_burst": 2 });
  const { channel } = await join(tab(t, server, "ann", { claims: READS }), "room:tea");
  for (let n = 1; n <= 2; n += 1) await ok(channel.push("room_meta", { meta: { n } }));
  const { reason, limit } = await refused(channel.push("room_meta", { meta: { n: 3 } }));
  assert.deepEqual([reason, limit], ["rate_limited", "limits.publish_per_s"]);
});
