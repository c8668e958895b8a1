/** Settings, and who may do what: by every stock client, over each transport, in memory and in a store, over a restart. */

import "./support/polling.js";

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import {
  MODERATES,
  OWNS,
  V1,
  VERSIONS,
  breakConnection,
  inboxOf,
  join,
  leave,
  ok,
  patiently,
  refused,
  roomOfEachShard,
  tab,
} from "./support/client.js";
import { LOGS, started } from "./support/server.js";

const TOPIC = "room:tea";

/** Resolves when a channel is out, with what it was told before. */
async function out(channel) {
  const news = inboxOf(channel, "room_removed", "phx_close");
  const [event, why] = await news.next();
  assert.equal(event, "room_removed");
  assert.equal((await news.next())[0], "phx_close");
  assert.equal(channel.state, "closed");
  return why;
}

for (const [name, settings] of Object.entries(LOGS)) {
  describe(name, () => {
    test("a room that is made is its maker's, who decides, and it is so after a restart", async (t) => {
      const server = await started(t, settings);
      const post = (user, body) =>
        fetch(`${server.http}/api/rooms`, {
          method: "POST",
          headers: { authorization: `Bearer ${server.token(user)}`, "content-type": "application/json" },
          body: JSON.stringify(body),
        });
      assert.equal((await post("ann", { room: "tea", title: "Tea time" })).status, 201);
      const { channel, response } = await join(tab(t, server, "ann"), TOPIC);
      assert.deepEqual(response.you, { name: "ann", speak: true, user: "ann", level: "own", role: "owner" });
      const { channel: bob } = await join(tab(t, server, "bob"), TOPIC);
      const news = inboxOf(bob, "room_changed", "room_you");
      const wish = { topic: "Green \u{1f375}", speak: "members", slow_s: 5, receipts: true, links: false, data: { a: [1.5] } };
      const room = { members: 2, room: "tea", title: "Tea time", ...wish };
      assert.deepEqual(await ok(channel.push("room_set", wish)), room);
      assert.deepEqual(await news.next(), ["room_changed", room]);
      assert.equal((await refused(bob.push("new_msg", { body: "x" }))).reason, "unauthorized");
      await ok(channel.push("room_member", { user: "bob", role: "member" }));
      assert.deepEqual(await news.next(), ["room_you", { speak: true, role: "member", by: "ann" }]);
      await ok(bob.push("new_msg", { body: "one" }));
      const slow = await refused(bob.push("new_msg", { body: "two" }));
      assert.ok(slow.reason === "slow_mode" && slow.retry_ms > 0 && slow.retry_ms <= 5_000, JSON.stringify(slow));
      assert.equal((await refused(bob.push("msg_edit", { offset: 1, body: "http://x" }))).reason, "rejected");
      await ok(channel.push("room_member", { user: "cat", banned_s: -1 }));
      await ok(channel.push("room_set", { join: "members" }));
      const headers = { authorization: `Bearer ${server.token("ann")}` };
      const list = async () => (await (await fetch(`${server.http}/api/rooms`, { headers })).json()).rooms;
      for (let tries = 0; (await list()).length > 0; tries += 1) assert.ok(tries < 1_000, "it is in no list");
      if (settings["store.path"] === "") return;
      await server.stop();
      await server.start();
      const dan = tab(t, server, "dan").channel(TOPIC, {});
      assert.equal((await refused(dan.join())).reason, "unauthorized");
      assert.equal((await post("dan", { room: "tea" })).status, 403);
      assert.deepEqual(await list(), []);
      // Whoever could not come in anyway is told nothing by its ban.
      const stranger = tab(t, server, "cat").channel(TOPIC, {});
      assert.deepEqual(await refused(stranger.join()), { reason: "unauthorized" });
      const cat = tab(t, server, "cat", { claims: MODERATES }).channel(TOPIC, {});
      assert.deepEqual(await refused(cat.join()), { reason: "banned", until: 0 });
      const again = (await join(tab(t, server, "ann"), TOPIC)).response;
      const { members } = again.room;
      assert.deepEqual(again.room, { ...room, members, join: "members" });
      assert.equal(again.you.role, "owner");
    });

    test("a ban reaches all devices, and none of them is heard or comes back", async (t) => {
      const server = await started(t, settings);
      const { channel: mod } = await join(tab(t, server, "mod", { claims: MODERATES }), TOPIC);
      const tabs = Array.from({ length: 40 }, () => tab(t, server, "bob"));
      const channels = await Promise.all(tabs.map(async (socket) => (await join(socket, TOPIC)).channel));
      const ends = channels.map(out);
      const heard = inboxOf(mod, "new_msg");
      const until = Date.now() + 3_600_000;
      const answer = await ok(mod.push("room_member", { user: "bob", banned_s: 3_600, reason: "spam" }));
      // What is on its way when the moderator is answered is not taken.
      for (const channel of channels) channel.push("new_msg", { body: "late" });
      assert.ok(answer.banned_until >= until && answer.banned_until < until + 60_000);
      for (const why of await Promise.all(ends)) {
        assert.deepEqual(why, { reason: "banned", until: answer.banned_until, by: "mod", text: "spam" });
      }
      await ok(mod.push("new_msg", { body: "mine" }));
      assert.equal((await heard.next())[1].body, "mine", "and nothing of theirs before");
      // A stock client that lost its channel so does not ask for it again, also not on a new socket.
      for (const socket of tabs) breakConnection(socket);
      const { reason } = await refused(tab(t, server, "bob").channel(TOPIC, {}).join());
      assert.equal(reason, "banned");
      assert.deepEqual(channels.map(({ state }) => state).filter((state) => state !== "closed"), []);
      const list = await ok(mod.push("room_members", { state: "banned" }));
      assert.deepEqual(list, { members: [{ user: "bob", banned_until: answer.banned_until }], more: false });
      await ok(mod.push("room_member", { user: "bob", banned_s: 0 }));
      await join(tab(t, server, "bob"), TOPIC);
    });
  });
}

for (const client of VERSIONS) {
  const transports = { websocket: {}, "version 1": V1, polling: { transport: client.LongPoll } };
  for (const [transport, options] of Object.entries(transports)) {
    test(`phoenix ${client.version} over ${transport}: muted, kicked, and back`, async (t) => {
      const server = await started(t, {});
      const { channel: mod } = await join(tab(t, server, "mod", { claims: MODERATES, client, ...options }), TOPIC);
      const socket = tab(t, server, "bob", { client, ...options });
      const { channel: bob } = await join(socket, TOPIC);
      const news = inboxOf(bob, "room_you");
      const { muted_until: until } = await ok(mod.push("room_member", { user: "bob", muted_s: 600 }));
      assert.deepEqual((await news.next())[1], { speak: false, muted_until: until, by: "mod" });
      assert.deepEqual(await refused(bob.push("new_msg", { body: "x" })), { reason: "muted", until });
      await ok(bob.push("history", {}));
      await ok(mod.push("room_member", { user: "bob", muted_s: 0 }));
      assert.deepEqual((await news.next())[1], { speak: true, by: "mod" });
      await ok(bob.push("new_msg", { body: "x" }));
      const [why] = await Promise.all([out(bob), ok(mod.push("room_member", { user: "bob", kick: true }))]);
      assert.deepEqual(why, { reason: "kicked", by: "mod" });
      const { response } = await join(socket, TOPIC);
      assert.equal(response.you.speak, true);
    });
  }
}

test("a new token is told to each room, also behind one that it ends", async (t) => {
  for (const shards of [1, 2]) {
    const server = await started(t, {}, shards);
    const staff = tab(t, server, "staff", { claims: OWNS });
    const rooms = ["room:a", "room:b", "room:c", "room:d"];
    const channels = [];
    for (const topic of rooms) channels.push((await join(staff, topic)).channel);
    const [first, , third, last] = channels;
    for (const channel of [first, third]) await ok(channel.push("room_set", { join: "members" }));
    const ends = [out(first), out(third)];
    await ok(last.push("access_token", { token: server.token("staff") }));
    for (const why of await Promise.all(ends)) assert.deepEqual(why, { reason: "members" });
    for (const channel of [channels[1], last]) {
      assert.equal((await refused(channel.push("room_set", { slow_s: 1 }))).reason, "unauthorized", channel.topic);
    }
  }
});

test("who waits for the disk while it is banned, or its room becomes private, does not get in", async (t) => {
  const server = await started(t, { "history.messages": 16, "limits.join_per_s": 0 });
  const owner = tab(t, server, "ann", { claims: OWNS });
  for (let tries = 0; tries < 20; tries += 1) {
    const topic = `room:tea-${tries}`;
    const { channel, response } = await join(owner, topic);
    for (let n = 1; n < 200; n += 1) channel.push("new_msg", { body: `m${n}` });
    await ok(channel.push("new_msg", { body: "last" }));
    const socket = tab(t, server, "bob");
    await join(socket, "room:elsewhere");
    const since = { epoch: response.epoch, offset: 5, change: 0 };
    const bob = socket.channel(topic, { since });
    const end = new Promise((resolve) => {
      bob.on("room_removed", () => resolve("out"));
      bob.join().receive("error", ({ reason }) => resolve(reason));
    });
    const isBan = tries % 2 === 0;
    const wish = isBan ? ["room_member", { user: "bob", banned_s: -1 }] : ["room_set", { join: "members" }];
    await ok(channel.push(...wish));
    const how = await patiently("the end of a join", end);
    assert.ok(["out", "banned", "unauthorized"].includes(how), how);
    socket.disconnect();
    await leave(channel);
  }
});

test("who is kicked while it joins again is out", async (t) => {
  const server = await started(t, { "limits.join_per_s": 0 });
  const [elsewhere, topic] = await roomOfEachShard(server, 2);
  const { channel: mod } = await join(tab(t, server, "mod", { claims: MODERATES }), topic);
  for (let tries = 0; tries < 20; tries += 1) {
    const socket = tab(t, server, "bob");
    // It stays where that room is: the home of the other one is another shard.
    await join(socket, elsewhere);
    await join(socket, topic);
    const out = new Promise((resolve) => {
      socket.onMessage((message) => message.topic === topic && message.event === "room_removed" && resolve());
    });
    const kicked = ok(mod.push("room_member", { user: "bob", kick: true }));
    const ref = socket.makeRef();
    socket.push({ topic, event: "phx_join", payload: {}, ref, join_ref: ref });
    await kicked;
    await patiently("the kick", out);
    socket.disconnect();
  }
});
