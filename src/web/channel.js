/**
 * A client for Phoenix Channels (protocol version 2), without dependencies, for browsers and node.
 *
 *     import { Socket } from "./channel.js";
 *
 *     const socket = new Socket("wss://chat.example/socket/websocket", { token: () => "eyJ..." });
 *     socket.connect();
 *
 *     let cursor;                                     // where we stand in the room: {epoch, offset, change}
 *     const room = socket.channel("room:tea", () => (cursor ? { since: cursor } : {}));
 *     room.on("phx_join", (answer) => {               // after the first join and after every rejoin
 *       cursor = { epoch: answer.epoch, offset: answer.offset, change: answer.change };
 *       answer.messages.forEach(show);                // what was said before, or what we missed
 *     });
 *     room.on("new_msg", (message) => { cursor.offset = message.offset; show(message); });
 *     room.on("msg_changed", (patch) => { cursor.change = patch.change; amend(patch); });
 *     room.join();
 *
 *     const { offset } = await room.push("new_msg", { body: "hello", key: "k1" }, { repeat: true });
 *
 * Socket(url, {token, timeoutMs, heartbeatMs, every, random, WebSocket})
 *     One connection, made anew for as long as it takes: exponential backoff with jitter, heartbeats whose answer
 *     must come within `timeoutMs`. `token(refusals)` is asked before every attempt and may return a promise; the token
 *     travels as a subprotocol, so that it appears in no URL and no access log. `refusals` counts the attempts in a row that
 *     never opened: a server that refuses a token cannot say so to a browser. `every(ms, fn)` replaces `setInterval` for the
 *     heartbeats (and returns what stops it): browsers slow down the timers of hidden tabs, but not those of a worker.
 *   connect()  disconnect()          start and stop
 *   retryNow()                       do not wait for the backoff; when open, make sure that the connection is alive
 *   on("state", fn)                  fn({state: "closed" | "connecting" | "open" | "waiting", retryMs?, code?})
 *   on("rtt", fn)                    fn(milliseconds), after each answered heartbeat
 *   channel(topic, params)           a Channel; `params()` is evaluated at every join
 *
 * Channel
 *   join()  leave()                  both take effect now or when the socket is open
 *   rejoin()                         joins anew, in a moment, with what `params()` says by then: something was missed
 *   push(event, payload, options)    a promise of the answer. Kept until the channel is joined, then sent in order.
 *                                    Rejects with a PushError: `reason` is the server's, or one of
 *                                      "disconnected"  sent, and the connection broke: it may or may not have happened
 *                                      "timeout"       no answer within `timeoutMs` of being sent
 *                                      "fatal"         the server closed each time it was sent
 *                                      "closed"        the channel was left
 *                                    `{repeat: true}` is for pushes that the server recognises when
 *                                    they come twice (by a `key`): these are sent again after each
 *                                    break, and after `timeoutMs`, until they are answered. As a
 *                                    function it is asked before each repetition, and false
 *                                    gives the push up (`null`).
 *   cast(event, payload)             sent if the channel is joined, otherwise forgotten; nobody waits for an answer
 *   on(event, fn)                    what the server sends, and the channel's own story:
 *                                      "phx_join"     the join's answer, also after a rejoin
 *                                      "phx_refused"  the join's error; it is tried again where `retry_ms` says so
 *                                      "phx_down"     not joined for now: the connection broke, or the server ended it
 *                                      "phx_close"    the server closed the channel for good
 *   state                            "closed" | "waiting" | "joining" | "joined" | "refused"
 *
 * Every `on` returns a function that takes the listener away again.
 *
 * Halves of surrogate pairs are replaced in all that is sent: UTF-8 cannot carry them, and a server
 * may close the connection for them.
 *
 * Deliberately absent: long polling, binary messages, and any knowledge of what a message means.
 */

const JOIN_REF = 0, REF = 1, TOPIC = 2, EVENT = 3, PAYLOAD = 4;
const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 30_000;
/** So long a connection, or a join, has to hold before the backoff begins anew. A server that lets
 *  clients in only to end them again would else be asked several times a second by each. */
const HELD_MS = 5_000;
const OPEN = 1;
/** Close codes that may be about what was sent (RFC 6455, 7.4.1): not UTF-8, against a policy, too
 *  big, unexpected. */
const BLAMING_CODES = new Set([1007, 1008, 1009, 1011]);
/** At how many such closes in a row a push may be in flight before it is sent no more. */
const BLAMED_MAX = 3;

/** How long to wait before attempt number `failures`: doubling, capped, and half of it up to chance, so that the clients of a
 *  server that was restarted do not all come back in the same instant. */
export function backoffMs(failures, random = Math.random) {
  const ceiling = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** Math.min(failures, 16));
  return Math.round(ceiling * (0.5 + 0.5 * random()));
}

/** The text with each lone half of a surrogate pair replaced, so that UTF-8 can carry it. */
export function wellFormed(text) {
  return text.toWellFormed?.() ?? text.replace(/\p{Surrogate}/gu, "\ufffd");
}

/** Why a push has no answer; `response` is the server's whole error where there is one. */
export class PushError extends Error {
  constructor(reason, response = {}) {
    super(reason);
    this.reason = reason;
    this.response = response;
  }
}

function everyInterval(ms, fn) {
  const timer = setInterval(fn, ms);
  return () => clearInterval(timer);
}

class Emitter {
  #listeners = new Map();

  on(event, listener) {
    const listeners = this.#listeners.get(event) ?? new Set();
    this.#listeners.set(event, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  emit(event, payload) {
    for (const listener of [...(this.#listeners.get(event) ?? [])]) listener(payload);
  }
}

export class Socket extends Emitter {
  state = "closed";
  #url; #options; #ws = null; #attempt = 0; #failures = 0; #refusals = 0; #ref = 0;
  #channels = new Map();
  #retryTimer; #openTimer; #deadTimer = null; #stopHeartbeats = () => {};
  #heartbeat = null; // the last one sent: {ref, sentAt}
  #suspect = null; // the blamed push that is in flight
  #openedAt = 0; #hasSpoken = false;

  constructor(url, options = {}) {
    super();
    this.#url = url;
    this.#options = {
      token: () => undefined, timeoutMs: 10_000, heartbeatMs: 25_000, every: everyInterval, random: Math.random,
      WebSocket: globalThis.WebSocket, ...options,
    };
  }

  connect() {
    if (this.state === "closed") this.#open();
  }

  disconnect() {
    this.#drop();
    this.#failures = 0;
    this.#setState({ state: "closed" });
    for (const channel of this.#channels.values()) channel._down();
  }

  retryNow() {
    if (this.state === "waiting") this.#open();
    else if (this.state === "open") this.#beat();
  }

  channel(topic, params = () => ({})) {
    const sayable = wellFormed(topic);
    let channel = this.#channels.get(sayable);
    if (!channel) {
      channel = new Channel(this, sayable, params);
      this.#channels.set(sayable, channel);
    }
    return channel;
  }

  get timeoutMs() { return this.#options.timeoutMs; }
  get random() { return this.#options.random; }

  _ref() { return String(++this.#ref); }

  _send(message) {
    if (this.state !== "open" || this.#ws.readyState !== OPEN) return;
    const sayable = (_, value) => (typeof value === "string" ? wellFormed(value) : value);
    this.#ws.send(JSON.stringify(message, sayable));
  }

  /**
   * Whether a push that is blamed for a close may be sent now. Of those one at a time is in
   * flight, in all channels together. So the next close tells which of them is the reason, and the
   * others are not given up with it.
   */
  _mayTry(push) {
    this.#suspect ??= push;
    return this.#suspect === push;
  }

  _tried(push) {
    if (this.#suspect !== push) return;
    this.#suspect = null;
    for (const channel of this.#channels.values()) channel._flush();
  }

  _forget(channel) { this.#channels.delete(channel.topic); }

  async #open() {
    this.#drop();
    const attempt = this.#attempt;
    this.#setState({ state: "connecting" });
    const token = await Promise.resolve(this.#options.token(this.#refusals)).catch(() => undefined);
    if (attempt !== this.#attempt) return;

    const protocols = token ? ["phoenix", `base64url.bearer.phx.${btoa(token).replaceAll("=", "")}`] : [];
    const ws = new this.#options.WebSocket(`${this.#url}?vsn=2.0.0`, protocols);
    this.#ws = ws;
    ws.onopen = () => this.#opened();
    ws.onmessage = ({ data }) => this.#received(data);
    ws.onclose = ({ code }) => this.#lost(code);
    this.#openTimer = setTimeout(() => this.#lost(), this.timeoutMs);
  }

  #opened() {
    clearTimeout(this.#openTimer);
    this.#refusals = 0;
    this.#openedAt = Date.now();
    this.#setState({ state: "open" });
    for (const channel of this.#channels.values()) channel._up();
    this.#beat();
    this.#stopHeartbeats = this.#options.every(this.#options.heartbeatMs, () => this.#beat());
  }

  #received(data) {
    // Any message shows that the connection lives.
    this.#hasSpoken = true;
    clearTimeout(this.#deadTimer);
    this.#deadTimer = null;
    if (typeof data !== "string") return; // anybody in a room may send it binary messages: these are for other programs
    const message = JSON.parse(data);
    if (message[TOPIC] !== "phoenix") {
      this.#channels.get(message[TOPIC])?._received(message);
    } else if (message[REF] === this.#heartbeat?.ref) {
      this.emit("rtt", Date.now() - this.#heartbeat.sentAt);
    }
  }

  #lost(code) {
    if (this.state === "connecting") this.#refusals += 1;
    // A connection on which nothing ever came did not hold, however long it took to find out.
    const spoke = this.#hasSpoken;
    const held = spoke && Date.now() - this.#openedAt >= HELD_MS;
    if (held) this.#failures = 0;
    this.#drop();
    const retryMs = backoffMs(this.#failures, this.#options.random);
    // To be let in and then lost counts twice. It costs the server, and everybody in the rooms that
    // see a coming and a going, far more than an attempt that is turned away.
    this.#failures += spoke && !held ? 2 : 1;
    this.#retryTimer = setTimeout(() => this.#open(), retryMs);
    this.#setState({ state: "waiting", retryMs, code });
    for (const channel of this.#channels.values()) channel._down(code);
  }

  #beat() {
    this.#heartbeat = { ref: this._ref(), sentAt: Date.now() };
    this._send([null, this.#heartbeat.ref, "phoenix", "heartbeat", {}]);
    this.#deadTimer ??= setTimeout(() => this.#lost(), this.timeoutMs);
  }

  /** Forgets the connection and all that was waiting for it; what it still delivers finds no handler. */
  #drop() {
    this.#attempt += 1;
    this.#stopHeartbeats();
    for (const timer of [this.#retryTimer, this.#openTimer, this.#deadTimer]) clearTimeout(timer);
    this.#deadTimer = null;
    this.#suspect = null;
    this.#hasSpoken = false;
    const ws = this.#ws;
    if (!ws) return;
    this.#ws = null;
    ws.onopen = ws.onmessage = ws.onclose = null;
    ws.close();
  }

  #setState(change) {
    this.state = change.state;
    this.emit("state", change);
  }
}

export class Channel extends Emitter {
  state = "closed";
  #socket; #params; #joinRef = null; #failures = 0; #joinedAt = null; #timer;
  #sent = new Map(); // ref -> push, in the order of sending
  #queue = [];

  constructor(socket, topic, params) {
    super();
    this.#socket = socket;
    this.topic = topic;
    this.#params = params;
  }

  join() {
    if (this.state === "closed" || this.state === "refused") this.#join();
    return this;
  }

  rejoin() {
    if (this.state !== "joined") return;
    this.#interrupt();
    this.#joinAgain();
  }

  leave() {
    if (this.state === "joined" || this.state === "joining") this.#sendAs(this.#socket._ref(), "phx_leave", {});
    this.#close();
    this.#socket._forget(this);
  }

  push(event, payload, { repeat = false } = {}) {
    return new Promise((resolve, reject) => {
      const push = { event, payload, repeat, resolve, reject, blamed: 0 };
      if (this.state === "joined" && this.#queue.length === 0) this.#transmit(push);
      else if (this.state === "refused") reject(new PushError("closed"));
      else this.#queue.push(push);
    });
  }

  cast(event, payload) {
    if (this.state === "joined") this.#sendAs(this.#socket._ref(), event, payload);
  }

  _up() {
    if (this.state !== "closed") this.#join();
  }

  /** `code` is that of the close, where there was one. */
  _down(code) {
    if (this.state !== "closed") this.#interrupt(code);
  }

  /** Sends what waits, in order, up to a push that has to wait for its turn. */
  _flush() {
    while (this.state === "joined" && this.#queue.length > 0) {
      const [push] = this.#queue;
      const wanted = isWanted(push);
      if (wanted && push.blamed > 0 && !this.#socket._mayTry(push)) return;
      this.#queue.shift();
      if (wanted) this.#transmit(push);
      else push.resolve(null);
    }
  }

  _received(message) {
    // An answer or a close of an earlier join of the same topic.
    if (message[JOIN_REF] !== null && message[JOIN_REF] !== this.#joinRef) return;
    const payload = message[PAYLOAD];
    switch (message[EVENT]) {
      case "phx_reply": return this.#answered(message[REF], payload);
      case "phx_error":
        this.#interrupt();
        return this.#joinAgain();
      case "phx_close":
        this.#close();
        return this.emit("phx_close", payload);
      default: // A broadcast between two joins is part of what the rejoin recovers.
        if (this.state === "joined") this.emit(message[EVENT], payload);
    }
  }

  #join() {
    clearTimeout(this.#timer);
    this.state = "waiting";
    if (this.#socket.state !== "open") return; // `_up` will be called
    this.state = "joining";
    this.#joinRef = this.#socket._ref();
    this.#sendAs(this.#joinRef, "phx_join", this.#params());
    this.#timer = setTimeout(() => {
      this.#sendAs(this.#socket._ref(), "phx_leave", {}); // the server may have let us in after all
      this.#joinAgain();
    }, this.#socket.timeoutMs);
  }

  #joinAgain(waitMs = 0) {
    clearTimeout(this.#timer);
    this.state = "waiting";
    this.#joinRef = null;
    if (this.#joinedAt !== null && Date.now() - this.#joinedAt >= HELD_MS) this.#failures = 0;
    this.#joinedAt = null;
    const retryMs = waitMs + backoffMs(this.#failures++, this.#socket.random);
    this.#timer = setTimeout(() => this.#join(), retryMs);
  }

  #answered(ref, { status, response }) {
    if (this.state === "joining" && ref === this.#joinRef) {
      clearTimeout(this.#timer);
      return status === "ok" ? this.#joined(response) : this.#refused(response);
    }
    const push = this.#sent.get(ref);
    if (!push) return;
    if (status === "ok") push.resolve(response);
    else push.reject(new PushError(response?.reason ?? status, response));
    this.#done(ref, push);
  }

  #joined(answer) {
    this.#joinedAt = Date.now();
    this.state = "joined";
    this.emit("phx_join", answer);
    this._flush();
  }

  #refused(response) {
    if (typeof response.retry_ms === "number") {
      this.#joinAgain(response.retry_ms);
    } else {
      this.state = "refused";
      for (const push of this.#queue.splice(0)) push.reject(new PushError(response.reason, response));
    }
    this.emit("phx_refused", response);
  }

  #transmit(push, ref = this.#socket._ref()) {
    this.#sent.set(ref, push);
    this.#sendAs(ref, push.event, push.payload);
    push.timer = setTimeout(() => {
      // The same ref again: whichever answer comes first is the answer.
      if (push.repeat && isWanted(push)) return this.#transmit(push, ref);
      if (push.repeat) push.resolve(null);
      else push.reject(new PushError("timeout"));
      this.#done(ref, push);
    }, this.#socket.timeoutMs);
  }

  /** A push that was sent has its answer, or none is waited for any more. */
  #done(ref, push) {
    this.#sent.delete(ref);
    clearTimeout(push.timer);
    this.#socket._tried(push);
  }

  /** The join is over but wanted: what may be repeated goes back to the head of the queue, in order. */
  #interrupt(code) {
    clearTimeout(this.#timer);
    const sent = [...this.#sent.values()];
    this.#sent.clear();
    this.#joinRef = null;
    this.state = "waiting";
    const again = [];
    for (const push of sent) {
      clearTimeout(push.timer);
      if (code !== undefined) push.blamed = BLAMING_CODES.has(code) ? push.blamed + 1 : 0;
      if (!push.repeat) push.reject(new PushError("disconnected"));
      else if (push.blamed >= BLAMED_MAX) push.reject(new PushError("fatal"));
      else again.push(push);
    }
    this.#queue.unshift(...again);
    for (const push of sent) this.#socket._tried(push);
    this.emit("phx_down");
  }

  #close() {
    clearTimeout(this.#timer);
    const pushes = [...this.#sent.values(), ...this.#queue.splice(0)];
    this.#sent.clear();
    this.state = "closed";
    this.#joinRef = null;
    for (const push of pushes) {
      clearTimeout(push.timer);
      push.reject(new PushError("closed"));
      this.#socket._tried(push);
    }
  }

  #sendAs(ref, event, payload) {
    this.#socket._send([this.#joinRef, ref, this.topic, event, payload]);
  }
}

/** Whether somebody still waits for a push that is about to be sent once more. */
function isWanted({ repeat }) {
  return typeof repeat !== "function" || repeat();
}
