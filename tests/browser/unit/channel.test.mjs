import assert from "node:assert/strict";
import { beforeEach, mock, test } from "node:test";
import { backoffMs, Socket, wellFormed } from "../../../src/web/channel.js";
import { collected, FakeWebSocket, settled } from "./fake.mjs";

beforeEach(() => {
  FakeWebSocket.made = [];
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
});

const OPTIONS = { WebSocket: FakeWebSocket, random: () => 1, timeoutMs: 10_000, heartbeatMs: 25_000 };

async function connected(options = {}) {
  const socket = new Socket("ws://x/socket/websocket", { ...OPTIONS, ...options });
  socket.connect();
  await settled();
  FakeWebSocket.last.opens();
  return socket;
}

async function joined(params) {
  const socket = await connected();
  FakeWebSocket.last.answers("heartbeat");
  const channel = socket.channel("room:tea", params).join();
  FakeWebSocket.last.answers("phx_join", { hello: 1 });
  return { socket, channel };
}

/** Every channel's join has its answer. */
function admitsAll() {
  for (const [joinRef, ref, topic, event] of [...FakeWebSocket.last.sent]) {
    if (event === "phx_join") FakeWebSocket.last.says(joinRef, ref, topic, "phx_reply", { status: "ok", response: {} });
  }
}

async function reconnected() {
  mock.timers.tick(60_000);
  await settled();
  FakeWebSocket.last.opens();
}

test("the token travels as a subprotocol and appears in no URL", async () => {
  await connected({ token: async () => "a.b.c" });
  assert.equal(FakeWebSocket.last.url, "ws://x/socket/websocket?vsn=2.0.0");
  assert.deepEqual(FakeWebSocket.last.protocols, ["phoenix", `base64url.bearer.phx.${Buffer.from("a.b.c").toString("base64").replaceAll("=", "")}`]);
});

test("the backoff doubles, is capped, and is up to a half chance", () => {
  assert.deepEqual([0, 1, 2, 30].map((failures) => backoffMs(failures, () => 1)), [500, 1000, 2000, 30_000]);
  assert.deepEqual([0, 1, 2, 30].map((failures) => backoffMs(failures, () => 0)), [250, 500, 1000, 15_000]);
});

/** The waits before the attempts that follow connections which end as `end` makes them. */
async function waitsAfter(...ends) {
  const socket = await connected();
  const states = collected(socket, "state");
  for (const end of ends) {
    end();
    if (socket.state === "open") FakeWebSocket.last.breaks(1011);
    mock.timers.tick(states.at(-1).retryMs);
    await settled();
    FakeWebSocket.last.opens();
  }
  socket.disconnect();
  return states.flatMap(({ retryMs }) => retryMs ?? []);
}

test("a server that accepts, answers and hangs up is backed off from, until a connection has held", async () => {
  const after = (ms) => () => {
    FakeWebSocket.last.answers("heartbeat");
    mock.timers.tick(ms);
  };
  const waits = await waitsAfter(after(0), after(20), after(4_999), after(0), after(5_000), after(20));
  assert.deepEqual(waits, [500, 2_000, 8_000, 30_000, 500, 1_000]);
});

test("a connection on which the server never spoke has not held", async () => {
  const silence = () => mock.timers.tick(10_000);
  assert.deepEqual(await waitsAfter(silence, silence, silence), [500, 1000, 2000]);
});

test("a channel that is ended as soon as it is joined is backed off from, until a join has held", async () => {
  const { socket } = await joined();
  FakeWebSocket.last.answers("heartbeat");
  const waits = [];
  for (const heldMs of [0, 20, 4_999, 5_000, 20]) {
    mock.timers.tick(heldMs);
    const { ref } = FakeWebSocket.last.sentLast("phx_join");
    FakeWebSocket.last.says(ref, ref, "room:tea", "phx_error", {});
    const before = Date.now();
    while (FakeWebSocket.last.sentLast("phx_join").ref === ref) mock.timers.tick(100);
    waits.push(Date.now() - before);
    FakeWebSocket.last.answers("phx_join");
  }
  assert.deepEqual(waits, [500, 1000, 2000, 500, 1000]);
  socket.disconnect();
});

test("the token is asked for anew before every attempt, and told how many never opened", async () => {
  const asked = [];
  const socket = await connected({ token: (refusals) => { asked.push(refusals); return "t"; } });
  FakeWebSocket.last.breaks();
  for (let i = 0; i < 2; i += 1) {
    mock.timers.tick(60_000);
    await settled();
    FakeWebSocket.last.breaks();
  }
  mock.timers.tick(60_000);
  await settled();
  assert.deepEqual(asked, [0, 0, 1, 2]);
  socket.disconnect();
});

test("a token that comes after disconnect opens nothing", async () => {
  let give;
  const socket = new Socket("ws://x", { ...OPTIONS, token: () => new Promise((resolve) => { give = resolve; }) });
  socket.connect();
  socket.disconnect();
  give("late");
  await settled();
  assert.equal(FakeWebSocket.made.length, 0);
});

test("heartbeats come from whatever timer the page has", async () => {
  let beat;
  let stopped = false;
  const socket = await connected({ every: (ms, fn) => { beat = fn; return () => { stopped = true; }; } });
  const { ref } = FakeWebSocket.last.sentLast("heartbeat");
  beat();
  assert.notEqual(FakeWebSocket.last.sentLast("heartbeat").ref, ref);
  socket.disconnect();
  assert.ok(stopped);
});

test("an attempt that hangs is given up", async () => {
  const socket = new Socket("ws://x", OPTIONS);
  socket.connect();
  await settled();
  mock.timers.tick(10_000);
  assert.equal(socket.state, "waiting");
  assert.equal(FakeWebSocket.last.readyState, 3);
});

test("a connection on which no heartbeat is answered is taken for dead", async () => {
  const socket = await connected();
  const rtts = collected(socket, "rtt");
  mock.timers.tick(7);
  FakeWebSocket.last.answers("heartbeat");
  assert.deepEqual(rtts, [7]);
  mock.timers.tick(25_000 - 7); // the next heartbeat
  mock.timers.tick(9_999);
  assert.equal(socket.state, "open");
  mock.timers.tick(1);
  assert.equal(socket.state, "waiting");
});

test("any message shows that the connection lives", async () => {
  const socket = await connected();
  mock.timers.tick(9_999);
  FakeWebSocket.last.says(null, null, "room:other", "new_msg", {});
  mock.timers.tick(9_999);
  assert.equal(socket.state, "open");
});

test("retryNow does not wait for the backoff, and when open asks for a sign of life", async () => {
  const socket = await connected();
  FakeWebSocket.last.answers("heartbeat");
  const { ref } = FakeWebSocket.last.sentLast("heartbeat");
  socket.retryNow();
  assert.notEqual(FakeWebSocket.last.sentLast("heartbeat").ref, ref);
  FakeWebSocket.last.breaks();
  socket.retryNow();
  await settled();
  assert.equal(FakeWebSocket.made.length, 2);
});

test("what a connection still delivers after it was given up reaches nobody", async () => {
  const socket = await connected();
  const channel = socket.channel("room:tea").join();
  const heard = collected(channel, "new_msg");
  const old = FakeWebSocket.last;
  old.answers("phx_join");
  socket.retryNow();
  mock.timers.tick(10_000); // the heartbeat is not answered
  assert.equal(socket.state, "waiting");
  old.says(null, null, "room:tea", "new_msg", { body: "late" });
  old.breaks();
  assert.deepEqual(heard, []);
});

test("a push is answered by the reply with its ref", async () => {
  const { channel } = await joined();
  const first = channel.push("echo", { a: 1 });
  const { joinRef, ref } = FakeWebSocket.last.sentLast("echo");
  const second = channel.push("echo", { a: 2 });
  FakeWebSocket.last.answers("echo", { a: 2 });
  FakeWebSocket.last.says(joinRef, ref, "room:tea", "phx_reply", { status: "ok", response: { a: 1 } });
  assert.deepEqual([await first, await second], [{ a: 1 }, { a: 2 }]);
});

test("an error answer rejects with the server's reason and details", async () => {
  const { channel } = await joined();
  const push = channel.push("new_msg", {});
  FakeWebSocket.last.answers("new_msg", { reason: "rate_limited", retry_ms: 70 }, "error");
  await assert.rejects(push, { reason: "rate_limited", response: { reason: "rate_limited", retry_ms: 70 } });
});

test("pushes before the join wait for it and are sent in order", async () => {
  const socket = await connected();
  const channel = socket.channel("room:tea").join();
  channel.push("a", {});
  channel.push("b", {});
  assert.equal(FakeWebSocket.last.sentLast("a"), undefined);
  FakeWebSocket.last.answers("phx_join");
  assert.deepEqual(FakeWebSocket.last.sent.slice(-2).map((message) => message[3]), ["a", "b"]);
});

test("a push in flight when the connection breaks is rejected, for nobody knows what became of it", async () => {
  const { channel } = await joined();
  const push = channel.push("new_msg", {});
  FakeWebSocket.last.breaks();
  await assert.rejects(push, { reason: "disconnected" });
});

test("a push without an answer times out, counted from its sending", async () => {
  const { channel } = await joined();
  const push = channel.push("new_msg", {});
  const outcome = assert.rejects(push, { reason: "timeout" });
  mock.timers.tick(9_000);
  FakeWebSocket.last.says(null, null, "room:tea", "other", {});
  mock.timers.tick(1_000);
  await outcome;
});

test("pushes that may be repeated are sent again after the rejoin, first and in order, and answered once", async () => {
  const { channel } = await joined();
  const pushes = ["a", "b"].map((key) => channel.push("new_msg", { key }, { repeat: true }));
  FakeWebSocket.last.breaks();
  const while_away = channel.push("new_msg", { key: "c" }, { repeat: true });
  await reconnected();
  FakeWebSocket.last.answers("phx_join");
  const again = FakeWebSocket.last.sent.filter((message) => message[3] === "new_msg");
  assert.deepEqual(again.map((message) => message[4].key), ["a", "b", "c"]);
  for (const [joinRef, ref, topic, , { key }] of again) {
    FakeWebSocket.last.says(joinRef, ref, topic, "phx_reply", { status: "ok", response: { key } });
  }
  assert.deepEqual(await Promise.all([...pushes, while_away]), [{ key: "a" }, { key: "b" }, { key: "c" }]);
});

test("a push that may be repeated is repeated when no answer comes, and the first answer counts", async () => {
  const { channel } = await joined();
  let wanted = true;
  const push = channel.push("new_msg", { key: "a" }, { repeat: () => wanted });
  const { joinRef, ref } = FakeWebSocket.last.sentLast("new_msg");
  mock.timers.tick(10_000);
  assert.deepEqual(keysSent(), ["a", "a"]);
  assert.equal(FakeWebSocket.last.sentLast("new_msg").ref, ref);
  FakeWebSocket.last.says(joinRef, ref, "room:tea", "phx_reply", { status: "ok", response: { offset: 7 } });
  assert.deepEqual(await push, { offset: 7 });
  mock.timers.tick(10_000);
  assert.deepEqual(keysSent(), ["a", "a"]);

  const unwanted = channel.push("new_msg", { key: "b" }, { repeat: () => wanted });
  wanted = false;
  mock.timers.tick(10_000);
  assert.equal(await unwanted, null);
  assert.deepEqual(keysSent(), ["a", "a", "b"]);
});

test("a push that is no longer wanted after a break is given up", async () => {
  const { channel } = await joined();
  const push = channel.push("new_msg", {}, { repeat: () => false });
  FakeWebSocket.last.breaks();
  await reconnected();
  FakeWebSocket.last.answers("phx_join");
  assert.equal(await push, null);
  assert.equal(FakeWebSocket.last.sentLast("new_msg"), undefined);
});

test("a rejoin evaluates its parameters anew and tells of its answer", async () => {
  let since = 1;
  const { channel } = await joined(() => ({ since }));
  const answers = collected(channel, "phx_join");
  since = 2;
  FakeWebSocket.last.breaks();
  assert.equal(channel.state, "waiting");
  await reconnected();
  assert.deepEqual(FakeWebSocket.last.sentLast("phx_join").payload, { since: 2 });
  FakeWebSocket.last.answers("phx_join", { recovered: true });
  assert.deepEqual(answers, [{ recovered: true }]);
  assert.equal(channel.state, "joined");
});

test("phx_error leads to a rejoin on the same connection", async () => {
  const { channel } = await joined();
  const { ref } = FakeWebSocket.last.sentLast("phx_join");
  FakeWebSocket.last.says(ref, ref, "room:tea", "phx_error", { reason: "lagging" });
  assert.equal(channel.state, "waiting");
  mock.timers.tick(500);
  assert.notEqual(FakeWebSocket.last.sentLast("phx_join").ref, ref);
  assert.equal(FakeWebSocket.made.length, 1);
});

test("messages of an earlier join, and broadcasts between two joins, are not heard", async () => {
  const { channel } = await joined();
  const heard = collected(channel, "new_msg");
  const { ref } = FakeWebSocket.last.sentLast("phx_join");
  FakeWebSocket.last.says("old", null, "room:tea", "new_msg", 1);
  FakeWebSocket.last.says(ref, ref, "room:tea", "phx_error", {});
  FakeWebSocket.last.says(null, null, "room:tea", "new_msg", 2);
  mock.timers.tick(500);
  FakeWebSocket.last.answers("phx_join");
  FakeWebSocket.last.says(null, null, "room:tea", "new_msg", 3);
  assert.deepEqual(heard, [3]);
});

test("a refused join is told and not repeated on the same connection, and pushes that waited for it are rejected", async () => {
  const socket = await connected();
  const channel = socket.channel("room:secret").join();
  const refusals = collected(channel, "phx_refused");
  const push = channel.push("new_msg", {}, { repeat: true });
  FakeWebSocket.last.answers("phx_join", { reason: "unauthorized" }, "error");
  await assert.rejects(push, { reason: "unauthorized" });
  FakeWebSocket.last.answers("heartbeat");
  mock.timers.tick(20_000);
  assert.equal(FakeWebSocket.last.sent.filter((message) => message[3] === "phx_join").length, 1);
  assert.deepEqual(refusals, [{ reason: "unauthorized" }]);
});

test("a join that was refused for now is tried again after retry_ms", async () => {
  const socket = await connected();
  const channel = socket.channel("room:tea").join();
  FakeWebSocket.last.answers("phx_join", { reason: "busy", retry_ms: 3_000 }, "error");
  mock.timers.tick(3_000);
  assert.equal(channel.state, "waiting");
  mock.timers.tick(500);
  FakeWebSocket.last.answers("phx_join");
  assert.equal(channel.state, "joined");
});

test("a join without an answer is left and tried again", async () => {
  const socket = await connected();
  FakeWebSocket.last.answers("heartbeat");
  const channel = socket.channel("room:tea").join();
  const first = FakeWebSocket.last.sentLast("phx_join").ref;
  mock.timers.tick(10_000);
  assert.equal(FakeWebSocket.last.sentLast("phx_leave").joinRef, first);
  mock.timers.tick(500);
  FakeWebSocket.last.answers("phx_join");
  assert.equal(channel.state, "joined");
});

test("leaving rejects what waits, says so to the server, and is not undone by a reconnect", async () => {
  const { channel } = await joined();
  const push = channel.push("new_msg", {}, { repeat: true });
  channel.leave();
  await assert.rejects(push, { reason: "closed" });
  assert.equal(FakeWebSocket.last.sentLast("phx_leave").topic, "room:tea");
  FakeWebSocket.last.breaks();
  await reconnected();
  assert.equal(FakeWebSocket.last.sentLast("phx_join"), undefined);
});

test("a cast is sent when joined and forgotten otherwise", async () => {
  const { channel } = await joined();
  channel.cast("typing", {});
  assert.ok(FakeWebSocket.last.sentLast("typing"));
  FakeWebSocket.last.breaks();
  channel.cast("typing", {});
  await reconnected();
  FakeWebSocket.last.answers("phx_join");
  assert.equal(FakeWebSocket.last.sentLast("typing"), undefined);
});

test("after disconnect nothing is tried, and connect begins again", async () => {
  const { socket, channel } = await joined();
  socket.disconnect();
  mock.timers.tick(120_000);
  await settled();
  assert.equal(FakeWebSocket.made.length, 1);
  socket.connect();
  await settled();
  FakeWebSocket.last.opens();
  FakeWebSocket.last.answers("phx_join");
  assert.equal(channel.state, "joined");
});

test("a binary message, which is for other programs, is passed over, and shows that the connection lives", async () => {
  const { socket, channel } = await joined();
  const heard = collected(channel, "picture");
  mock.timers.tick(25_000);
  mock.timers.tick(9_999);
  FakeWebSocket.last.onmessage({ data: new Blob([Uint8Array.of(2, 8)]) });
  mock.timers.tick(1);
  assert.deepEqual([heard, socket.state], [[], "open"]);
});

/** The keys of the messages that the present connection has carried. */
const keysSent = () => FakeWebSocket.last.sent.filter(([, , , event]) => event === "new_msg")
  .map((message) => message[4].key);

test("a push that was in flight at three blaming closes in a row is given up, and others go on", async () => {
  for (const code of [1007, 1008, 1009, 1011]) {
    const { socket, channel } = await joined();
    const poison = channel.push("new_msg", { key: "poison" }, { repeat: true });
    const outcome = assert.rejects(poison, { reason: "fatal" });
    for (let closes = 1; closes <= 3; closes += 1) {
      assert.deepEqual(keysSent(), ["poison"], `${code}, close ${closes}`);
      FakeWebSocket.last.breaks(code);
      await reconnected();
      FakeWebSocket.last.answers("phx_join");
    }
    await outcome;
    assert.deepEqual(keysSent(), []);
    const next = channel.push("new_msg", { key: "next" }, { repeat: true });
    FakeWebSocket.last.answers("new_msg", { offset: 1 });
    assert.deepEqual(await next, { offset: 1 });
    socket.disconnect();
  }
});

test("a break of the network blames no push, and ends the row of those that do", async () => {
  const { channel } = await joined();
  channel.push("new_msg", { key: "a" }, { repeat: true });
  for (const code of [1006, 1006, 1006, 1012, 1011, 1011, 1006, 1011, 1011, undefined]) {
    FakeWebSocket.last.breaks(code);
    await reconnected();
    FakeWebSocket.last.answers("phx_join");
    assert.deepEqual(keysSent(), ["a"], String(code));
  }
});

test("of the pushes in flight at a close only that is given up which is in flight at the next", async () => {
  const { socket, channel: tea } = await joined();
  const coffee = socket.channel("room:coffee").join();
  FakeWebSocket.last.answers("phx_join");
  const rejoined = async () => {
    await reconnected();
    admitsAll();
  };
  const innocent = tea.push("new_msg", { key: "innocent" }, { repeat: true });
  const poison = coffee.push("new_msg", { key: "poison" }, { repeat: true });
  const outcome = assert.rejects(poison, { reason: "fatal" });

  FakeWebSocket.last.breaks(1011);
  await rejoined();
  assert.deepEqual(keysSent(), ["innocent"]);
  FakeWebSocket.last.answers("new_msg", { offset: 1 });
  assert.deepEqual(await innocent, { offset: 1 });
  const behind = tea.push("new_msg", { key: "behind" }, { repeat: true });
  assert.deepEqual(keysSent(), ["innocent", "poison", "behind"]);

  for (let closes = 2; closes <= 3; closes += 1) {
    FakeWebSocket.last.breaks(1011);
    await rejoined();
    const [, ref, topic] = FakeWebSocket.last.sent.find((message) => message[4].key === "behind") ?? [];
    if (ref) FakeWebSocket.last.says(null, ref, topic, "phx_reply", { status: "ok", response: {} });
  }
  await outcome;
  assert.deepEqual(await behind, {});
});

test("a blamed push that waits for its turn lets none of its channel overtake it", async () => {
  const { channel } = await joined();
  for (const key of ["a", "b"]) channel.push("new_msg", { key }, { repeat: true });
  FakeWebSocket.last.breaks(1011);
  await reconnected();
  FakeWebSocket.last.answers("phx_join");
  channel.push("new_msg", { key: "c" });
  assert.deepEqual(keysSent(), ["a"]);
  FakeWebSocket.last.answers("new_msg");
  assert.deepEqual(keysSent(), ["a", "b", "c"]);
});

test("the turn of a blamed push ends with its channel, and with its join", async () => {
  for (const end of [(tea) => tea.leave(), () => {
    const { ref, topic } = FakeWebSocket.last.sentLast("new_msg");
    const [joinRef] = FakeWebSocket.last.sent.find((message) => message[1] === ref);
    FakeWebSocket.last.says(joinRef, joinRef, topic, "phx_error", {});
  }]) {
    const { socket, channel: tea } = await joined();
    const coffee = socket.channel("room:coffee").join();
    FakeWebSocket.last.answers("phx_join");
    tea.push("new_msg", { key: "tea" }, { repeat: true }).catch(() => {});
    coffee.push("new_msg", { key: "coffee" }, { repeat: true });
    FakeWebSocket.last.breaks(1011);
    await reconnected();
    admitsAll();
    assert.deepEqual(keysSent(), ["tea"]);
    end(tea);
    assert.deepEqual(keysSent(), ["tea", "coffee"]);
    socket.disconnect();
  }
});

test("halves of surrogate pairs are replaced before they are sent, and whole pairs are left", async () => {
  const native = String.prototype.toWellFormed;
  try {
    for (const missing of [false, true]) {
      if (missing) delete String.prototype.toWellFormed;
      for (const [text, sent] of [
        ["cut \ud83d", "cut \ufffd"], ["\ude00 cut", "\ufffd cut"], ["\ude00\ud83d", "\ufffd\ufffd"], ["😀 é", "😀 é"],
      ]) assert.equal(wellFormed(text), sent);
    }
  } finally {
    if (native) String.prototype.toWellFormed = native;
  }
  const socket = await connected();
  const channel = socket.channel("room:\ud83d", () => ({ meta: { name: "\ud83d" } })).join();
  assert.equal(FakeWebSocket.last.sentLast("phx_join").topic, "room:\ufffd");
  assert.equal(FakeWebSocket.last.sentLast("phx_join").payload.meta.name, "\ufffd");
  FakeWebSocket.last.answers("phx_join");
  channel.push("new_msg", { body: "cut \ud83d", key: "k" });
  assert.deepEqual(FakeWebSocket.last.sentLast("new_msg").payload, { body: "cut \ufffd", key: "k" });
});
