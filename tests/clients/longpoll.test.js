/** The stock JavaScript clients over long polling, against the real server. */

import { XMLHttpRequest } from "./support/browser.js";

import assert from "node:assert/strict";
import { createServer as createHttpServer, request } from "node:http";
import { createServer } from "node:net";
import { after, before, describe, test } from "node:test";

import { Inbox, VERSIONS, WebSocket, connect, inboxOf, join, ok, roomName, told } from "./support/client.js";
import { Server } from "./support/server.js";
import { channels } from "./support/suite.js";
import { verbs } from "./support/verbs.js";

const newest = VERSIONS.at(-1);

/** Has the clients of a suite poll by `XMLHttpRequest`, or if there is none by `fetch`, as 1.8 can. */
function pollBy(request) {
  before(() => {
    if (request) globalThis.XMLHttpRequest = request;
    else delete globalThis.XMLHttpRequest;
  });
}

for (const shards of [1, 2]) {
  describe(`long polling with ${shards} shard${shards === 1 ? "" : "s"}`, () => {
    let server;
    before(async () => {
      server = await Server.start({ shards });
    });
    after(() => server.stop());
    const common = { server: () => server, shards };

    for (const client of VERSIONS) {
      describe(`phoenix ${client.version}`, () => {
        pollBy(client === newest ? null : XMLHttpRequest);
        channels({ client, ...common, options: { transport: client.LongPoll } });
        verbs({ client, ...common, options: { transport: client.LongPoll } });
        sessions({ client, ...common });
        if (client.version !== "1.6.16") binaryAndFallback({ client, ...common });
      });
    }
    describe(`phoenix ${newest.version}`, () => {
      pollBy(null);
      newestOnly(common);
    });
  });
}

/** One request on a connection of its own, and the body of its answer. */
async function onceOver({ port }, method, path, body) {
  const response = await told("an answer", (done) => {
    request({ port, method, path, agent: false }, done).end(body);
  });
  let text = "";
  for await (const piece of response) text += piece;
  return JSON.parse(text);
}

/**
 * Stands between clients and a server. What the server says to a GET is thrown away, with the connection, while `cuts` says so of it; then
 * the request is asked again on another connection, as browsers and proxies do with one that breaks before its answer.
 */
async function relayTo({ port }, cuts) {
  let cut = 0;
  const ask = (head, body) =>
    told("an answer", (done) => request({ port, ...head, agent: false }, done).end(body)).then(async (response) => {
      const pieces = [];
      for await (const piece of response) pieces.push(piece);
      return { response, answer: Buffer.concat(pieces) };
    });
  const relay = createHttpServer(async (incoming, outgoing) => {
    const { method, url: path, headers } = incoming;
    const pieces = [];
    for await (const piece of incoming) pieces.push(piece);
    let { response, answer } = await ask({ method, path, headers }, Buffer.concat(pieces));
    if (method === "GET" && cuts(answer.toString())) {
      cut += 1;
      ({ response, answer } = await ask({ method, path, headers }));
    }
    outgoing.writeHead(response.statusCode, response.headers).end(answer);
  });
  await told("a port", (done) => relay.listen(0, "127.0.0.1", done));
  return { port: relay.address().port, cut: () => cut, close: () => (relay.closeAllConnections(), relay.close()) };
}

function sessions({ client, server }) {
  test("misses nothing when an answer is lost and its request is asked again behind its back", async (t) => {
    const lost = new Set(["second", "fourth"]);
    const relay = await relayTo(server(), (answer) => [...lost].some((body) => answer.includes(body) && lost.delete(body)));
    t.after(relay.close);
    const [topic, heard] = [roomName(), new Inbox("messages")];
    const behind = { socket: server().socket.replace(/:\d+/, `:${relay.port}`), token: (user) => server().token(user) };
    let cursor;
    const ann = connect(t, client, behind, "ann", { transport: client.LongPoll });
    const channel = ann.channel(topic, () => (cursor ? { since: cursor } : {}));
    const hear = (message) => {
      cursor.offset = message.offset;
      heard.put(message.body);
    };
    channel.on("new_msg", hear);
    const joined = new Inbox("joins");
    channel.join().receive("ok", ({ epoch, offset, recovered, messages }) => {
      const isBack = cursor !== undefined;
      cursor ??= { epoch, offset };
      if (isBack) {
        assert.ok(recovered);
        messages.forEach(hear);
      }
      joined.put(isBack);
    });
    assert.equal(await joined.next(), false);
    const { channel: other } = await join(connect(t, client, server(), "bob"), topic);
    for (const body of ["first", "second", "third", "fourth", "fifth"]) {
      await ok(other.push("new_msg", { body }));
      assert.equal(await heard.next(), body);
    }
    assert.equal(relay.cut(), 2);
  });

  test("asks on after a refusal, more and more slowly", async (t) => {
    const tries = new Inbox("attempts");
    connect(t, client, server(), "-", {
      transport: client.LongPoll,
      params: { token: "not a token" },
      // The stock table goes from 10 ms to 5 s by the number of tries: what counts here is that the number grows.
      reconnectAfterMs: (count) => {
        tries.put(count);
        return 1;
      },
    });
    // 1.6 sometimes works out twice how long to wait, and waits once.
    for (let count = 0; count < 12; ) {
      const next = await tries.next();
      assert.ok(next === count + 1 || next === count, `${next} after ${count}`);
      count = next;
    }
  });

  test("joins again when its session has gone", async (t) => {
    const socket = connect(t, client, server(), "ann", { transport: client.LongPoll });
    const channel = socket.channel(roomName());
    const joins = new Inbox("joins");
    channel.join().receive("ok", (response) => joins.put(response));
    await joins.next();
    // Nonsense ends a session; that it came from elsewhere makes it as sudden as the end of a night's sleep.
    const session = `${server().http}/socket/longpoll?vsn=2.0.0&token=${socket.conn.token}`;
    assert.deepEqual(await (await fetch(session, { method: "POST", body: "oops" })).json(), { status: 400 });
    await joins.next();
    assert.deepEqual(await ok(channel.push("echo", { n: 1 })), { n: 1 });
  });
}

/** What came with 1.7: several messages in a request, bytes, and falling back. */
function binaryAndFallback({ client, server }) {
  test("sends bytes, and shares a room with those who are told them", async (t) => {
    const [ann, bob] = [
      connect(t, client, server(), "ann", { transport: client.LongPoll }),
      connect(t, client, server(), "bob"),
    ];
    const topic = roomName();
    const { channel: polling } = await join(ann, topic);
    const { channel: other } = await join(bob, topic);
    const news = [inboxOf(polling, "strokes", "new_msg"), inboxOf(other, "strokes", "new_msg")];
    assert.deepEqual(await ok(polling.push("strokes", new Uint8Array([0, 255]).buffer)), {});
    assert.deepEqual(await ok(polling.push("echo", new Uint8Array([1]).buffer)), {}, "bytes cannot come back");
    await ok(other.push("new_msg", { body: "text" }));
    assert.deepEqual([...new Uint8Array((await news[1].next())[1])], [0, 255]);
    for (const inbox of news) assert.equal((await inbox.next())[1].body, "text");
  });

  test("sends much at once, in one request", async (t) => {
    const { channel } = await join(connect(t, client, server(), "ann", { transport: client.LongPoll }), roomName());
    const body = "x".repeat(16_000);
    const pushes = Array.from({ length: 30 }, () => ok(channel.push("new_msg", { body })));
    assert.deepEqual((await Promise.all(pushes)).map(({ offset }) => offset), Array.from({ length: 30 }, (_, n) => n + 1));
  });

  test("falls back to polling where WebSockets are refused, and where they hang", async (t) => {
    // Takes connections and says nothing, like a proxy that does not know the upgrade.
    const mute = createServer();
    const held = new Set();
    mute.on("connection", (socket) => held.add(socket.on("error", () => {})));
    await told("a port", (done) => mute.listen(0, "127.0.0.1", done));
    t.after(() => {
      for (const socket of held) socket.destroy();
      mute.close();
    });
    const refusing = server().http.replace("http", "ws") + "/readyz";
    for (const elsewhere of [refusing, `ws://127.0.0.1:${mute.address().port}/`]) {
      class Blocked extends WebSocket {
        constructor() {
          super(elsewhere);
        }
      }
      const memory = new Map();
      const sessionStorage = {
        getItem: (key) => memory.get(key) ?? null,
        setItem: (key, value) => memory.set(key, value),
      };
      const options = { transport: Blocked, longPollFallbackMs: 100, sessionStorage };
      const socket = connect(t, client, server(), "ann", options);
      const { channel } = await join(socket, roomName());
      assert.deepEqual(await ok(channel.push("echo", { n: 1 })), { n: 1 });
      assert.equal(socket.transport, client.LongPoll);
      assert.equal(memory.get("phx:fallback:LongPoll"), "true", "and remembers it");
    }
  });

  test("does not fall back where a WebSocket opens", async (t) => {
    const socket = connect(t, client, server(), "ann", { longPollFallbackMs: 10_000 });
    const { channel } = await join(socket, roomName());
    assert.deepEqual(await ok(channel.push("echo", {})), {});
    assert.equal(socket.transport, WebSocket);
  });
}

function newestOnly({ server }) {
  const { LongPoll } = newest;

  test("is the same session on whatever connection, and so on whatever shard", async () => {
    const path = `/socket/longpoll?vsn=2.0.0&token=${server().token("zoe")}`;
    let { token } = await (await fetch(server().http + path)).json();
    for (let n = 0; n < 20; n += 1) {
      const heartbeat = JSON.stringify([null, `${n}`, "phoenix", "heartbeat", {}]);
      const session = `${path}&token=${token}`;
      assert.deepEqual(await onceOver(server(), "POST", session, heartbeat), { status: 200 });
      const answer = await onceOver(server(), "GET", session);
      assert.equal(answer.status, 200);
      assert.deepEqual(JSON.parse(answer.messages[0]), [null, `${n}`, "phoenix", "phx_reply", { response: {}, status: "ok" }]);
      token = answer.token;
    }
  });

  test("is over for a poll that has not had the last answer, and not for a post", async () => {
    const path = `/socket/longpoll?vsn=2.0.0&token=${server().token("yan")}`;
    const first = await onceOver(server(), "GET", path);
    const post = (token, n) => onceOver(server(), "POST", `${path}&token=${token}`, `[null,"${n}","phoenix","heartbeat",{}]`);
    const poll = (token) => onceOver(server(), "GET", `${path}&token=${token}`);
    await post(first.token, 1);
    const second = await poll(first.token);
    assert.equal(second.messages.length, 1);
    assert.deepEqual(await post(first.token, 2), { status: 200 });
    const third = await poll(second.token);
    assert.equal(third.messages.length, 1);
    // Never had, for all that the client knows.
    assert.deepEqual(await poll(second.token), { status: 500 });
    assert.deepEqual(await poll(third.token), { status: 500 }, "and it has ended");
  });

  test("polls with authToken, which comes in a header", async (t) => {
    const authToken = server().token("ann");
    const { response } = await join(connect(t, newest, server(), "-", { transport: LongPoll, params: {}, authToken }), roomName());
    assert.equal(response.you.user, "ann");
  });

  test("is gone a while after it stopped to poll", async (t) => {
    const [ann, bob] = [connect(t, newest, server(), "ann"), connect(t, newest, server(), "bob", { transport: LongPoll })];
    const topic = roomName();
    const { channel } = await join(ann, topic);
    const diffs = inboxOf(channel, "presence_diff");
    await join(bob, topic);
    const about = (what) => ([, diff]) => "bob" in diff[what];
    await diffs.until(about("joins"));
    bob.disconnect();
    await diffs.until(about("leaves"));
  });

  test("comes back after a restart", async (t) => {
    const own = await Server.start({ shards: 2 });
    t.after(() => own.stop());
    const channel = connect(t, newest, own, "ann", { transport: LongPoll }).channel(roomName());
    const joins = new Inbox("joins");
    channel.join().receive("ok", ({ epoch }) => joins.put(epoch));
    const before = await joins.next();
    await ok(channel.push("new_msg", { body: "hello" }));
    assert.equal(await own.stop(), 0);
    await own.start();
    assert.equal(await joins.next(), before, "the room goes on");
    assert.deepEqual(await ok(channel.push("echo", { n: 1 })), { n: 1 });
  });
}
