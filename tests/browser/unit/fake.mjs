/** A WebSocket whose other end is the test, and a storage that is a Map. */

export class FakeWebSocket {
  static made = [];
  static get last() { return FakeWebSocket.made.at(-1); }

  readyState = 0;
  sent = [];

  constructor(url, protocols) {
    Object.assign(this, { url, protocols });
    FakeWebSocket.made.push(this);
  }

  send(text) { this.sent.push(JSON.parse(text)); }
  close() { this.readyState = 3; }

  opens() {
    this.readyState = 1;
    this.onopen?.();
  }
  breaks(code = 1006) {
    this.readyState = 3;
    this.onclose?.({ code });
  }
  says(...message) { this.onmessage?.({ data: JSON.stringify(message) }); }

  /** The last message sent with this event, as an object. */
  sentLast(event) {
    const message = this.sent.findLast((message) => message[3] === event);
    return message && { joinRef: message[0], ref: message[1], topic: message[2], payload: message[4] };
  }
  answers(event, response = {}, status = "ok") {
    const { joinRef, ref, topic } = this.sentLast(event);
    this.says(joinRef, ref, topic, "phx_reply", { status, response });
  }
}

export class FakeStorage {
  #items = new Map();
  getItem(key) { return this.#items.get(key) ?? null; }
  setItem(key, value) { this.#items.set(key, String(value)); }
}

/** Lets promises that can go on go on; unlike timers this is not mocked. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Collects what `emitter` emits as `event`. */
export function collected(emitter, event) {
  const list = [];
  emitter.on(event, (payload) => list.push(payload));
  return list;
}
