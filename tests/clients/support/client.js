/**
 * Stock clients, and what it takes to wait for what they are told.
 *
 * Nothing in here sleeps: a test waits for what must happen, and fails if it has not happened after `PATIENCE_MS`.
 */

import { createRequire } from "node:module";

import * as phoenix16 from "phoenix16";
import * as phoenix17 from "phoenix17";
import * as phoenix18 from "phoenix18";
import WebSocket from "ws";

export { WebSocket };

/** How long a test waits for what never takes long. */
export const PATIENCE_MS = 30_000;

/** The clients in the field, newest last. */
export const VERSIONS = [
  { version: "1.6.16", ...phoenix16 },
  { version: "1.7.21", ...phoenix17 },
  { version: "1.8.16", ...phoenix18 },
];

/** The last client that spoke the old encoding only. It looks for a `window`, and puts itself there. */
export function phoenix12() {
  globalThis.window ??= globalThis;
  return { version: "1.2.1", ...createRequire(import.meta.url)("phoenix12") };
}

/** What makes a client of today speak the old encoding. */
export const V1 = {
  vsn: "1.0.0",
  encode: ({ topic, event, payload, ref, join_ref }, callback) =>
    callback(JSON.stringify({ topic, event, payload, ref, join_ref })),
  decode: (text, callback) => callback(JSON.parse(text)),
};

/** Waits for `promise`, but not for ever. */
export function patiently(what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`still waiting for ${what}`)), PATIENCE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Things that come one after the other, to be awaited in that order. */
export class Inbox {
  #what;
  #waiting = [];
  items = [];

  constructor(what = "news") {
    this.#what = what;
  }

  put(item) {
    this.items.push(item);
    this.#waiting.shift()?.();
  }

  /** The next one. */
  async next() {
    if (this.items.length === 0) {
      await patiently(this.#what, new Promise((resolve) => this.#waiting.push(resolve)));
    }
    return this.items.shift();
  }

  /** The next one that fits; what comes before it is thrown away. */
  async until(fits) {
    for (;;) {
      const item = await this.next();
      if (fits(item)) return item;
    }
  }
}

/** The events of a channel, as `[event, payload]`. */
export function inboxOf(channel, ...events) {
  const inbox = new Inbox(`${events} in ${channel.topic}`);
  for (const event of events) channel.on(event, (payload) => inbox.put([event, payload]));
  return inbox;
}

/** Opens a socket that is closed when the test ends. */
export function connect(t, client, server, user, options = {}) {
  const socket = new client.Socket(server.socket, {
    params: { token: server.token(user) },
    transport: WebSocket,
    // What a rejoin waits for after an error is the client's business; here it need not be seconds.
    rejoinAfterMs: () => 20,
    reconnectAfterMs: () => 20,
    ...options,
  });
  t.after(() => socket.disconnect());
  socket.connect();
  return socket;
}

/** Claims of tokens: what a user is in all rooms. */
export const OWNS = { rooms: { "*": "own" } };
export const MODERATES = { rooms: { "*": "moderate" } };
export const READS = { rooms: { "*": "join" } };

/** A user's socket; `claims` are those of its token, and the client is the newest unless it is another. */
export function tab(t, server, user, { claims, client = VERSIONS.at(-1), ...options } = {}) {
  const more = claims ? { params: { token: server.token(user, claims) } } : {};
  return connect(t, client, server, user, { ...options, ...more });
}

/** Resolves with the response if a push is answered with `ok`, and rejects with the status otherwise. */
export function ok(push) {
  return patiently(
    `the answer to ${push.event ?? "a push"}`,
    new Promise((resolve, reject) => {
      push
        .receive("ok", resolve)
        .receive("error", (response) => reject(new Error(`error: ${JSON.stringify(response)}`)))
        .receive("timeout", () => reject(new Error("timeout")));
    }),
  );
}

/** Resolves with what a search is answered, once the index is whole: until then it is `busy`. */
export async function searched(channel, payload) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const answer = await ok(channel.push("msg_search", payload)).catch((error) => error);
    if (!(answer instanceof Error)) return answer;
    if (!answer.message.includes("busy") || Date.now() > end) throw answer;
  }
}

/** Resolves with the response if a push is answered with `error`. */
export function refused(push) {
  return patiently(
    "a refusal",
    new Promise((resolve, reject) => {
      push.receive("error", resolve).receive("ok", () => reject(new Error("ok, where a refusal was due")));
    }),
  );
}

/** Joins a topic: the channel, and what the server said. */
export async function join(socket, topic, params = {}) {
  const channel = socket.channel(topic, params);
  const response = await ok(channel.join());
  return { channel, response };
}

/** A callback as a promise: `await told((done) => socket.onOpen(done))`. */
export function told(what, register) {
  return patiently(what, new Promise(register));
}

let names = 0;

/** A room that no other test uses. */
export function roomName(stem = "room") {
  names += 1;
  return `room:${stem}-${names}`;
}

/**
 * Rooms of which each shard is the home of one.
 *
 * An epoch begins with a number of the process' choice plus the number of the shard, so two rooms with the same beginning share a home.
 */
export async function roomOfEachShard(server, shards) {
  const socket = new phoenix18.Socket(server.socket, { transport: WebSocket, params: { token: server.token("scout") } });
  socket.connect();
  const homes = new Map();
  for (let tries = 0; homes.size < shards; tries += 1) {
    if (tries > 100) throw new Error("a hundred rooms, and some shard is the home of none");
    const topic = roomName("home");
    const { channel, response } = await join(socket, topic, { presence: false });
    homes.set(response.epoch.slice(0, 4), topic);
    await ok(channel.leave());
  }
  await told("the end", (done) => socket.disconnect(done));
  return [...homes.values()];
}

/** Leaves a channel, and resolves when the server has said the last of it. */
export async function leave(channel) {
  const closed = told("phx_close", (done) =>
    channel.socket.onMessage(({ topic, event }) => topic === channel.topic && event === "phx_close" && done()),
  );
  await ok(channel.leave());
  await closed;
}

/** Tears a client's connection without a word, as a network does. */
export function breakConnection(socket) {
  const { conn } = socket;
  if (conn.terminate) conn.terminate();
  else conn.closeAndRetry("broken", 1011, "broken", false);
}
