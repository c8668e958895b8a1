/** A WebSocket whose other end is the test, and storages that are Maps, of one tab or of many. */

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

/** What several tabs share: each has a view of its own, and is told what the others change. */
export class FakeSharedStorage {
  #items = new Map();
  #views = [];

  /** The storage of another tab; `heard` is called with each event that the tab gets. */
  view(heard = () => {}) {
    const view = {
      getItem: (key) => this.#items.get(key) ?? null,
      setItem: (key, newValue) => {
        const oldValue = this.#items.get(key) ?? null;
        if (oldValue === newValue) return;
        this.#items.set(key, newValue);
        for (const other of this.#views) if (other !== view) other.heard({ key, oldValue, newValue });
      },
      heard,
    };
    this.#views.push(view);
    return view;
  }
}

/** Lets promises that can go on go on; unlike timers this is not mocked. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Collects what `emitter` emits as `event`. */
export function collected(emitter, event) {
  const list = [];
  emitter.on(event, (payload) => list.push(payload));
  return list;
}
