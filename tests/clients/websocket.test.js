/** The stock JavaScript clients over WebSocket, against the real server. */

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import {
  Inbox,
  V1,
  VERSIONS,
  connect,
  inboxOf,
  join,
  ok,
  phoenix12,
  roomName,
  roomOfEachShard,
  told,
} from "./support/client.js";
import { Server } from "./support/server.js";
import { channels } from "./support/suite.js";
import { verbs } from "./support/verbs.js";

const newest = VERSIONS.at(-1);
const bytes = (...values) => new Uint8Array(values).buffer;
const valuesOf = (buffer) => [...new Uint8Array(buffer)];

for (const shards of [1, 2]) {
  describe(`with ${shards} shard${shards === 1 ? "" : "s"}`, () => {
    let server;
    before(async () => {
      server = await Server.start({ shards });
    });
    after(() => server.stop());
    const common = { server: () => server, shards };

    for (const client of VERSIONS) {
      describe(`phoenix ${client.version}`, () => {
        channels({ client, ...common, options: {} });
        verbs({ client, ...common, options: {} });
        binary({ client, ...common });
      });
      describe(`phoenix ${client.version} speaking V1`, () => {
        channels({ client, ...common, options: V1 });
        verbs({ client, ...common, options: V1 });
      });
    }
    describe(`phoenix ${newest.version}`, () => authToken(common));
    describe(`phoenix ${newest.version}`, () => manyThere(common));
    describe("phoenix 1.2.1, which knows V1 only", () => old(common));
  });
}

/** More people, each with more to say of themselves, than one frame of a bounded length can list. */
function manyThere({ server }) {
  test("sees everybody where the list is long, by frames of a bounded length", async (t) => {
    const COUNT = 600;
    const topic = roomName();
    const meta = { about: "x".repeat(990) };
    const tab = (user) => connect(t, newest, server(), user);
    await Promise.all(Array.from({ length: COUNT }, (_, number) => join(tab(`user-${number}`), topic, { meta })));
    const channel = tab("ann").channel(topic);
    const lengths = [];
    channel.onMessage = (event, payload) => {
      lengths.push(JSON.stringify(payload)?.length ?? 0);
      return payload;
    };
    const presence = new newest.Presence(channel);
    const all = told("everybody", (done) => presence.onSync(() => presence.list().length === COUNT + 1 && done()));
    await ok(channel.join());
    await all;
    const bound = 512 * 1_024 + 1_024;
    assert.ok(lengths.every((length) => length < bound), `each frame is bounded: ${lengths}`);
    assert.ok(lengths.some((length) => length > bound / 2), `and there was more than one's fill: ${lengths}`);
  });
}

/** The token in `Sec-WebSocket-Protocol`, which keeps it out of logs of URLs. */
function authToken({ server }) {
  test("connects by authToken", async (t) => {
    const socket = connect(t, newest, server(), "-", { params: {}, authToken: server().token("ann", { name: "Änn" }) });
    const { response } = await join(socket, roomName());
    assert.deepEqual(response.you, { name: "Änn", speak: true, user: "ann" });
  });
}

function binary({ client, server, shards }) {
  test("pushes bytes, and is told bytes", async (t) => {
    const [ann, bob] = [connect(t, client, server(), "ann"), connect(t, client, server(), "bob")];
    for (const topic of await roomOfEachShard(server(), shards)) {
      const { channel: here } = await join(ann, topic);
      const { channel: there } = await join(bob, topic);
      const news = [inboxOf(here, "strokes"), inboxOf(there, "strokes")];
      assert.deepEqual(valuesOf(await ok(here.push("echo", bytes(0, 255, 254)))), [0, 255, 254]);
      assert.equal((await ok(here.push("echo", bytes()))).byteLength, 0);
      assert.deepEqual(await ok(here.push("strokes", bytes(1, 2, 0, 128))), {});
      for (const inbox of news) assert.deepEqual(valuesOf((await inbox.next())[1]), [1, 2, 0, 128]);
    }
  });

  test("shares a room with V1, which hears all but the bytes", async (t) => {
    const here = connect(t, client, server(), "ann");
    const v1 = connect(t, client, server(), "old", V1);
    for (const topic of await roomOfEachShard(server(), shards)) {
      const { channel: ann } = await join(here, topic);
      const { channel: old } = await join(v1, topic);
      const news = [inboxOf(ann, "strokes", "drawing", "new_msg"), inboxOf(old, "strokes", "drawing", "new_msg")];
      await ok(ann.push("strokes", bytes(1)));
      await ok(ann.push("drawing", { x: 1 }));
      await ok(old.push("new_msg", { body: "from V1" }));
      assert.deepEqual(valuesOf((await news[0].next())[1]), [1]);
      for (const inbox of news) {
        assert.deepEqual(await inbox.next(), ["drawing", { x: 1, user: "ann" }]);
        assert.equal((await inbox.next())[1].body, "from V1");
      }
      assert.deepEqual(await ok(ann.push("echo", {})), {}, "and nobody is hurt");
    }
  });
}

/** The client of 2016, from before V2: no join_ref, and `Presence` is two functions. */
function old({ server, shards }) {
  test("joins, talks, sees who is there, and leaves", async (t) => {
    const client = phoenix12();
    const socket = connect(t, client, server(), "old");
    t.after(() => clearInterval(socket.heartbeatTimer)); // it goes on after disconnect()
    const ann = connect(t, newest, server(), "ann");
    for (const topic of await roomOfEachShard(server(), shards)) {
      const { channel: other } = await join(ann, topic);
      const channel = socket.channel(topic, {});
      const seen = new Inbox("presence");
      let list = {};
      const sync = (how) => (payload) => {
        list = client.Presence[how](list, payload);
        seen.put(Object.keys(list).sort().join());
      };
      channel.on("presence_state", sync("syncState"));
      channel.on("presence_diff", sync("syncDiff"));
      const news = inboxOf(channel, "new_msg");
      const { you } = await ok(channel.join());
      assert.equal(you.user, "old");
      await seen.until((users) => users === "ann,old");
      await ok(channel.push("new_msg", { body: "one" }));
      await ok(other.push("new_msg", { body: "two" }));
      assert.deepEqual([(await news.next())[1].body, (await news.next())[1].body], ["one", "two"]);
      const closed = told("the close", (done) => channel.onClose(done));
      await ok(channel.leave());
      await closed;
    }
  });
}
