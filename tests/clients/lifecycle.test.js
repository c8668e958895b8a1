/** How stock clients come, go, and come back: refusals, restarts, silence, and tokens that end. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { Inbox, VERSIONS, WebSocket, connect, inboxOf, join, ok, roomName } from "./support/client.js";
import { Server } from "./support/server.js";

/** A server that ends with the test. */
async function serve(t, settings = {}, shards = 1) {
  const server = await Server.start({ shards, settings });
  t.after(() => server.stop());
  return server;
}

/** The codes of the closes that a socket sees. */
function closesOf(socket) {
  const closes = new Inbox("a close");
  socket.onClose((event) => closes.put(event.code));
  return closes;
}

for (const client of VERSIONS) {
  describe(`phoenix ${client.version}`, () => {
    for (const [shards, store] of [[1, "kept"], [2, "kept"], [1, "in memory"], [2, "in memory"]]) {
      test(`comes back after a restart (${shards} shards, rooms ${store})`, async (t) => {
        const server = await serve(t, store === "in memory" ? { "store.path": "" } : {}, shards);
        const sockets = ["ann", "bob", "cay"].map((user) => connect(t, client, server, user));
        const topic = roomName();
        const tabs = sockets.map((socket) => {
          const channel = socket.channel(topic);
          const joins = new Inbox("joins");
          channel.join().receive("ok", (response) => joins.put(response));
          return { channel, joins, closes: closesOf(socket), news: inboxOf(channel, "new_msg") };
        });
        const epochs = new Set();
        for (const { joins } of tabs) epochs.add((await joins.next()).epoch);
        await ok(tabs[0].channel.push("new_msg", { body: "hello" }));
        for (const { news } of tabs) assert.equal((await news.next())[1].body, "hello");
        assert.equal(await server.stop(), 0);
        for (const { closes } of tabs) assert.equal(await closes.next(), 1012);
        await server.start();
        const isKept = store === "kept";
        for (const { joins } of tabs) {
          const { epoch, messages } = await joins.next();
          assert.deepEqual(messages.map(({ body }) => body), isKept ? ["hello"] : []);
          epochs.add(epoch);
        }
        assert.equal(epochs.size, isKept ? 1 : 2, "where the rooms of before are gone, a client can tell");
        await ok(tabs[0].channel.push("new_msg", { body: "hello again" }));
        for (const { news } of tabs) assert.equal((await news.next())[1].body, "hello again");
      });
    }

    test("asks on after a refusal, more and more slowly", async (t) => {
      const server = await serve(t);
      const tries = new Inbox("attempts");
      let attempts = 0;
      class Counted extends WebSocket {
        constructor(...args) {
          super(...args);
          attempts += 1;
        }
      }
      const socket = connect(t, client, server, "-", {
        params: { token: "not a token" },
        transport: Counted,
        // The stock table goes from 10 ms to 5 s by the number of tries: what counts here is that the number grows.
        reconnectAfterMs: (count) => {
          tries.put(count);
          return 1;
        },
      });
      const closes = closesOf(socket);
      for (let count = 1; count <= 12; count += 1) {
        assert.equal(await closes.next(), 1006);
        assert.equal(await tries.next(), count);
      }
      assert.ok(attempts >= 12 && attempts <= 13, `${attempts} attempts for 12 waits`);
    });

    test("stays by its heartbeats, and comes back when it was silent", async (t) => {
      const server = await serve(t, { "limits.idle_ms": 1000 });
      const lively = connect(t, client, server, "ann", { heartbeatIntervalMs: 200 });
      const silent = connect(t, client, server, "bob", { heartbeatIntervalMs: 100_000 });
      const topic = roomName();
      const { channel } = await join(lively, topic);
      const joins = new Inbox("joins");
      silent.channel(topic).join().receive("ok", (response) => joins.put(response));
      await joins.next();
      const closes = [closesOf(lively), closesOf(silent)];
      for (let times = 0; times < 2; times += 1) {
        assert.equal(await closes[1].next(), 1002);
        await joins.next();
      }
      assert.deepEqual(closes[0].items, []);
      assert.deepEqual(await ok(channel.push("echo", {})), {});
    });

    for (const shards of [1, 2]) {
      test(`is told that its token is about to end, and stays with another (${shards} shards)`, async (t) => {
        const server = await serve(t, {}, shards);
        // A minute longer than it says, and warned at half of that: two seconds from now.
        const exp = Math.floor(Date.now() / 1000) - 56;
        const [ann, bob] = ["ann", "bob"].map((user) => {
          return connect(t, client, server, user, { params: { token: server.token(user, { exp }) } });
        });
        const closes = [closesOf(ann), closesOf(bob)];
        const warnings = new Inbox("token_expiring");
        ann.onMessage(({ topic, event, payload }) => {
          if (topic === "phoenix" && event === "token_expiring") warnings.put(payload);
        });
        const topic = roomName();
        const [{ channel }, { channel: own }] = [await join(ann, topic), await join(ann, "user:ann")];
        const { channel: other } = await join(bob, topic);
        const heard = inboxOf(other, "access_token", "token_expiring");
        const news = inboxOf(own, "token_expiring");
        assert.deepEqual(await warnings.next(), { expires_at: exp + 60 });
        assert.deepEqual(await news.next(), ["token_expiring", { expires_at: exp + 60 }]);
        const later = exp + 3600;
        const answer = await ok(channel.push("access_token", { token: server.token("ann", { exp: later }) }));
        assert.deepEqual(answer, { expires_at: later + 60, user: "ann" });
        assert.equal(await closes[1].next(), 4001, "the end of the one that has no other");
        assert.deepEqual(await ok(channel.push("echo", { n: 1 })), { n: 1 });
        assert.deepEqual([closes[0].items, warnings.items, heard.items], [[], [], []]);
      });
    }

    test("is told that its token has ended, and comes back with another", async (t) => {
      const server = await serve(t);
      // A token is good for a minute longer than it says, since clocks differ: this one has two seconds.
      let exp = Math.floor(Date.now() / 1000) - 58;
      const socket = connect(t, client, server, "ann", { params: () => ({ token: server.token("ann", { exp }) }) });
      const own = socket.channel("user:ann");
      const joins = new Inbox("joins");
      own.join().receive("ok", (response) => joins.put(response));
      await joins.next();
      const news = inboxOf(own, "token_expired");
      const closes = closesOf(socket);
      exp += 3600;
      assert.deepEqual(await news.next(), ["token_expired", {}]);
      assert.equal(await closes.next(), 4001);
      await joins.next();
      assert.deepEqual(await ok(own.push("echo", { n: 1 })), { n: 1 });
    });
  });
}
