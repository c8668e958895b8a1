/**
 * What every stock client must be able to do, whatever its version, its transport and the number of shards.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  Inbox,
  breakConnection,
  connect,
  inboxOf,
  join,
  leave,
  ok,
  refused,
  roomName,
  roomOfEachShard,
  told,
} from "./client.js";

/** The tests that hold over any transport; `options` are those of the client's socket. */
export function channels({ client, server, shards, options }) {
  const isV1 = options.vsn !== undefined;
  const polls = options.transport === client.LongPoll;
  const tab = (t, user, more = {}) => connect(t, client, server(), user, { ...options, ...more });

  test("joins, pushes, and is told what is said, in the order in which it is said", async (t) => {
    const [ann, bob] = [tab(t, "ann"), tab(t, "bob")];
    for (const topic of await roomOfEachShard(server(), shards)) {
      const { channel: to, response } = await join(ann, topic);
      assert.deepEqual(response.you, { name: "ann", speak: true, user: "ann" });
      assert.deepEqual(response.messages, []);
      const { channel: from } = await join(bob, topic);
      const news = [inboxOf(to, "new_msg"), inboxOf(from, "new_msg")];
      for (let offset = 1; offset <= 20; offset += 1) {
        const sender = offset % 2 ? to : from;
        const said = await ok(sender.push("new_msg", { body: `${offset} \u2028 \u{1f600} </script>` }));
        assert.equal(said.offset, offset);
        if (offset % 2) assert.equal(news[0].items.length, offset, "the sender is told before it is answered");
      }
      for (const inbox of news) {
        for (let offset = 1; offset <= 20; offset += 1) {
          const [, message] = await inbox.next();
          assert.equal(message.offset, offset);
          assert.equal(message.user, offset % 2 ? "ann" : "bob");
          assert.equal(message.body, `${offset} \u2028 \u{1f600} </script>`);
        }
      }
    }
  });

  test("is answered what an error is, and goes on", async (t) => {
    const { channel } = await join(tab(t, "ann"), roomName());
    assert.equal((await refused(channel.push("new_msg", { body: 1 }))).reason, "invalid");
    assert.equal((await refused(channel.push("drawing", { user: "bob" }))).reason, "user_mismatch");
    // An application's event has the bound of a message's body: each of its bytes costs once a member.
    const large = await refused(channel.push("drawing", { points: "x".repeat(17_000) }));
    assert.deepEqual([large.reason, large.field, large.max_bytes], ["too_large", "payload", 16_384]);
    assert.deepEqual(await ok(channel.push("echo", { a: [1, null, "x"] })), { a: [1, null, "x"] });
  });

  test("pushes before it has joined, and even before it has connected", async (t) => {
    const channel = tab(t, "ann").channel(roomName());
    const news = inboxOf(channel, "new_msg");
    const joined = ok(channel.join());
    const pushes = [1, 2, 3].map((n) => ok(channel.push("new_msg", { body: `${n}` })));
    await joined;
    const offsets = (await Promise.all(pushes)).map(({ offset }) => offset);
    const said = [];
    while (said.length < 3) said.push((await news.next())[1].body);
    // Before 1.7 each message is a request of its own, and requests overtake each other.
    const isOrdered = !(polls && client.version.startsWith("1.6."));
    assert.deepEqual(isOrdered ? offsets : offsets.sort(), [1, 2, 3]);
    assert.deepEqual(isOrdered ? said : said.sort(), ["1", "2", "3"]);
  });

  test("a push that is never answered times out, and the channel lives on", async (t) => {
    const { channel } = await join(tab(t, "ann"), roomName());
    const news = inboxOf(channel, "typing");
    await told("a timeout", (done) => channel.push("typing", {}, 50).receive("timeout", done));
    assert.deepEqual(await news.next(), ["typing", { name: "ann", user: "ann" }]);
    assert.deepEqual(await ok(channel.push("echo", {})), {});
  });

  test("leaves, and joins again", async (t) => {
    const [ann, bob] = [tab(t, "ann"), tab(t, "bob")];
    const topic = roomName();
    const { channel } = await join(ann, topic);
    const { channel: other } = await join(bob, topic);
    const heard = inboxOf(channel, "new_msg");
    const closed = told("the close", (done) => channel.onClose(done));
    await leave(channel);
    await closed;
    await ok(other.push("new_msg", { body: "alone" }));
    const { channel: again, response } = await join(ann, topic);
    assert.deepEqual(response.messages.map(({ body }) => body), ["alone"]);
    assert.deepEqual(heard.items, []);
    assert.deepEqual(await ok(again.push("echo", { n: 1 })), { n: 1 });
  });

  // In V1 nothing tells the first one's phx_close from one of the second, in Phoenix as here.
  test("a second channel for the same topic takes the place of the first", { skip: isV1 }, async (t) => {
    const socket = tab(t, "ann");
    const topic = roomName();
    const { channel: first } = await join(socket, topic);
    const closed = told("the close", (done) => first.onClose(done));
    const second = socket.channel(topic);
    await ok(second.join());
    await closed;
    const news = inboxOf(second, "new_msg");
    await ok(second.push("new_msg", { body: "once" }));
    await ok(second.push("echo", {}));
    assert.equal(news.items.length, 1);
  });

  test("is refused a room, asks again, and is let in when it may", async (t) => {
    const reader = { rooms: { "open-*": "join" } };
    const socket = tab(t, "ann", { params: { token: server().token("ann", reader) } });
    const channel = socket.channel("room:closed");
    const answers = new Inbox("refusals");
    channel.join().receive("error", (response) => answers.put(response));
    // It asks again at its own pace, for ever; each time costs an answer and nothing else.
    for (let times = 0; times < 3; times += 1) assert.deepEqual(await answers.next(), { reason: "unauthorized" });
    channel.leave();
    const { channel: open, response } = await join(socket, `room:open-${client.version}-${options.vsn ?? 2}`);
    assert.equal(response.you.speak, false);
    assert.deepEqual(await refused(open.push("new_msg", { body: "hi" })), { reason: "unauthorized" });
    assert.deepEqual(await refused(socket.channel("nowhere:1").join()), { reason: "unmatched topic" });
  });

  test("goes on with another token, of which the room hears nothing", async (t) => {
    const [ann, bob] = [tab(t, "ann"), tab(t, "bob")];
    const exp = Math.floor(Date.now() / 1000) + 7200;
    for (const topic of [...(await roomOfEachShard(server(), shards)), "user:ann", "lobby"]) {
      const { channel } = await join(ann, topic);
      const isRoom = topic.startsWith("room:");
      const { channel: other } = await join(bob, isRoom ? topic : roomName());
      const heard = [];
      bob.onMessage((message) => heard.push(JSON.stringify(message)));
      const token = server().token("ann", { exp, name: "Anna" });
      assert.deepEqual(await ok(channel.push("access_token", { token })), { expires_at: exp + 60, user: "ann" });
      assert.deepEqual(await refused(channel.push("access_token", { token: `${token}x` })), { reason: "unauthorized" });
      const others = server().token("bob");
      assert.deepEqual(await refused(channel.push("access_token", { token: others })), { reason: "user_mismatch" });
      if (isRoom) {
        const news = inboxOf(other, "new_msg");
        await ok(channel.push("new_msg", { body: "hi" }));
        assert.equal((await news.next())[1].name, "Anna", "it has the name in the last good one");
      }
      const mentions = (text) => text.includes("access_token") || text.includes(token.split(".")[1]);
      assert.deepEqual(heard.filter(mentions), []);
    }
  });

  test("is removed from a room that another token does not allow, and does not come back", async (t) => {
    const [ann, bob] = [tab(t, "ann"), tab(t, "bob")];
    for (const topic of await roomOfEachShard(server(), shards)) {
      const { channel } = await join(ann, topic);
      const { channel: other } = await join(bob, topic);
      const { channel: kept } = await join(ann, roomName("kept"));
      const heard = inboxOf(channel, "room_removed", "new_msg");
      const closed = told("phx_close", (done) => channel.onClose(done));
      await ok(other.push("new_msg", { body: "before" }));
      const token = server().token("ann", { rooms: { "kept-*": "speak" } });
      await ok(kept.push("access_token", { token }));
      await closed;
      await ok(other.push("new_msg", { body: "after" }));
      assert.equal((await heard.next())[1].body, "before", "what was said until then is heard");
      assert.deepEqual(await heard.next(), ["room_removed", { reason: "token" }]);
      assert.equal(channel.state, "closed");
      // Not after a break either, though the token that it connects with would allow it.
      const back = told("the connection", (done) => ann.onOpen(done));
      breakConnection(ann);
      await back;
      assert.deepEqual(await ok(kept.push("echo", { n: 1 })), { n: 1 });
      assert.ok(!ann.channels.includes(channel) && channel.state === "closed");
      assert.deepEqual(heard.items, []);
      await ok(kept.leave());
    }
  });

  test("joins again after phx_error", async (t) => {
    const [ann, bob] = [tab(t, "ann"), tab(t, "bob")];
    const topic = roomName();
    const channel = ann.channel(topic);
    const joins = new Inbox("joins");
    channel.join().receive("ok", (response) => joins.put(response));
    await joins.next();
    const { channel: other } = await join(bob, topic);
    const error = told("phx_error", (done) => channel.onError(done));
    const news = inboxOf(channel, "new_msg");
    channel.push("phx_nonsense", {}); // crashes the channel, as in Phoenix
    assert.deepEqual(await error, { reason: "channel_crash" });
    await joins.next();
    await ok(other.push("new_msg", { body: "welcome back" }));
    assert.equal((await news.next())[1].body, "welcome back");
    await ok(channel.push("echo", {}));
    assert.equal(news.items.length, 0);
  });

  test("sees who is there, who comes and who goes", async (t) => {
    const topic = roomName();
    const ann = tab(t, "ann");
    const channel = ann.channel(topic, { meta: { status: "here" } });
    const presence = new client.Presence(channel);
    const news = new Inbox("presence");
    presence.onJoin((user, before, { metas }) => news.put(["join", user, before ? before.metas.length : 0, metas.length]));
    presence.onLeave((user, { metas }) => news.put(["leave", user, metas.length]));
    const syncs = new Inbox("onSync");
    presence.onSync(() => syncs.put(presence.list((user, { metas }) => `${user}:${metas.length}`).sort().join()));
    const sees = (list) => syncs.until((seen) => seen === list);
    await ok(channel.join());
    await sees("ann:1");
    assert.deepEqual(await news.next(), ["join", "ann", 0, 1]);
    assert.deepEqual(presence.list()[0].metas[0].meta, { status: "here" });

    // Two tabs of one user are one entry with two metas.
    const tabs = [tab(t, "bob"), tab(t, "bob")];
    const [first, second] = [await join(tabs[0], topic), await join(tabs[1], topic)];
    await sees("ann:1,bob:2");
    const refs = presence.list()[1].metas.map((meta) => meta.phx_ref);
    assert.equal(new Set(refs).size, 2);
    await ok(first.channel.leave());
    await sees("ann:1,bob:1");
    // Who only stops to poll is gone some 15 s later, which is another test's matter.
    if (polls) await ok(second.channel.leave());
    else tabs[1].disconnect();
    await sees("ann:1");
    const seen = news.items.splice(0);
    assert.ok(seen.some(([what, user]) => what === "join" && user === "bob"));
    assert.deepEqual(seen.at(-1), ["leave", "bob", 0], "gone with the last tab");
  });

  test("is not listed if it does not want to be, and sees the others", async (t) => {
    const topic = roomName();
    const [ann, bob] = [tab(t, "ann"), tab(t, "bob")];
    const { channel: hidden } = await join(ann, topic, { presence: false });
    const heard = inboxOf(hidden, "presence_state", "presence_diff");
    const channel = bob.channel(topic);
    const presence = new client.Presence(channel);
    const synced = told("onSync", (done) => presence.onSync(done));
    await ok(channel.join());
    await synced;
    assert.deepEqual(presence.list((user) => user), ["bob"]);
    const [event, { joins }] = await heard.next();
    assert.deepEqual([event, Object.keys(joins)], ["presence_diff", ["bob"]]);
  });

  test("of names that mean something to a client none is passed on, and no answer is forged", async (t) => {
    const topic = roomName();
    const [{ channel: ann }, { channel: bob }] = [await join(tab(t, "ann"), topic), await join(tab(t, "bob"), topic)];
    const heard = inboxOf(bob, "msg_forged", "room_forged", "user_forged", "file_forged", "token_expired", "last");
    const taken = { reason: "invalid", field: "event" };
    const refusal = async (event) => {
      const { reason, field } = await refused(ann.push(event, { status: "ok", response: { forged: true } }));
      assert.deepEqual({ reason, field }, taken, event);
    };
    // Whatever bob's next push is called, ann has named its answer.
    const forged = Array.from({ length: 60 }, (_, number) => refusal(`chan_reply_${number + 1}`));
    assert.deepEqual(await ok(bob.push("echo", { his: "own" })), { his: "own" });
    await Promise.all(forged);
    for (const event of ["msg_forged", "room_forged", "user_forged", "file_forged", "token_expired"]) await refusal(event);
    ann.push("last", {});
    assert.equal((await heard.next())[0], "last");
  });

  test("finds nothing missing and nothing twice after its connection broke, again and again", async (t) => {
    const [ann, bob] = [tab(t, "ann"), tab(t, "bob")];
    for (const topic of await roomOfEachShard(server(), shards)) {
      const { channel: speaker } = await join(bob, topic);
      await ok(speaker.push("new_msg", { body: "before" }));
      let cursor;
      const seen = [];
      const channel = ann.channel(topic, () => (cursor ? { since: cursor } : {}));
      const grown = new Inbox("messages");
      const show = (message) => {
        seen.push(message.offset);
        cursor.offset = message.offset;
        grown.put(message.offset);
      };
      const joins = new Inbox("joins");
      channel.on("new_msg", show);
      channel.join().receive("ok", ({ epoch, offset, recovered, messages }) => {
        cursor = { epoch, offset: 0 };
        messages.forEach(show);
        assert.equal(cursor.offset, offset);
        joins.put(recovered);
      });
      assert.equal(await joins.next(), false);
      for (let round = 1; round <= 3; round += 1) {
        for (let n = 0; n < 10; n += 1) {
          if (n === 3) breakConnection(ann);
          await ok(speaker.push("new_msg", { body: `${round}.${n}` }));
        }
        assert.equal(await joins.next(), true, "recovered");
        await grown.until((offset) => offset === 1 + round * 10);
      }
      await ok(channel.push("echo", {}));
      assert.deepEqual(seen, Array.from({ length: 31 }, (_, index) => index + 1));
      await ok(channel.leave());
    }
  });

  test("hears of rooms in the lobby", async (t) => {
    const [ann, bob] = [tab(t, "ann"), tab(t, "bob")];
    const { channel: lobby, response } = await join(ann, "lobby");
    assert.ok(Array.isArray(response.rooms));
    const news = inboxOf(lobby, "rooms");
    const topic = roomName("lobby");
    await join(bob, topic);
    const room = topic.slice("room:".length);
    const [, { changed }] = await news.until(([, { changed }]) => changed.some((entry) => entry.room === room));
    assert.deepEqual(changed.find((entry) => entry.room === room), { members: 1, room, title: room });
    assert.deepEqual(await refused(lobby.push("new_msg", { body: "x" })), { reason: "read_only" });
  });

  test("reaches all of its user's own devices and nobody else's", async (t) => {
    const user = roomName("device").slice("room:".length);
    const [one, two] = [tab(t, user), tab(t, user)];
    const { channel: here } = await join(one, `user:${user}`);
    const { channel: there } = await join(two, `user:${user}`);
    const news = inboxOf(there, "sync");
    await ok(here.push("sync", { read: 7 }));
    assert.deepEqual(await news.next(), ["sync", { read: 7, user }]);
    assert.deepEqual(await refused(tab(t, "somebody-else").channel(`user:${user}`).join()), {
      reason: "unauthorized",
    });
  });
}
