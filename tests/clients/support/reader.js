/**
 * Somebody who reads all of a room, whatever happens, as an application would: a stock client that says where it is
 * with each rejoin, and says a message again, with its key, until that is accepted. It fails at the first hole.
 */

import assert from "node:assert/strict";

import { Inbox } from "./client.js";

/** See the module. */
export class Reader {
  /** What is in the room, by offset. */
  seen = new Map();
  joins = new Inbox("joins");
  #cursor;

  constructor(t, server, topic, client, user, options) {
    this.socket = new client.Socket(server.socket, {
      params: { token: server.token(user) },
      reconnectAfterMs: () => 50,
      rejoinAfterMs: () => 50,
      ...options,
    });
    t.after(() => this.socket.disconnect());
    this.socket.connect();
    this.channel = this.socket.channel(topic, () => (this.#cursor ? { since: this.#cursor } : {}));
    this.channel.on("new_msg", (message) => this.#see(message));
    this.channel.on("room_epoch", ({ epoch }) => (this.#cursor.epoch = epoch));
    this.channel.join().receive("ok", (response) => this.#joined(response));
  }

  #joined({ epoch, recovered, messages, offset }) {
    // Something that it has seen may be lost: it is told, and begins anew.
    if (!recovered) this.seen.clear();
    this.#cursor = { epoch, offset: recovered ? this.#cursor.offset : (messages[0]?.offset ?? offset + 1) - 1 };
    messages.forEach((message) => this.#see(message));
    this.joins.put(recovered);
  }

  #see({ offset, body }) {
    assert.equal(offset, this.#cursor.offset + 1, `${this.channel.topic}: no hole, and nothing twice`);
    this.#cursor.offset = offset;
    this.seen.set(offset, body);
  }

  /** Says something until that is accepted. */
  async say(body) {
    const key = `key-${body}`;
    for (;;) {
      const answer = await new Promise((resolve) => {
        const push = this.channel.push("new_msg", { body, key }, 1_000);
        for (const status of ["ok", "error", "timeout"]) push.receive(status, (response) => resolve([status, response]));
      });
      if (answer[0] === "ok") return answer[1].offset;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Resolves when it has seen this. */
  async sees(body) {
    for (;;) {
      if ([...this.seen.values()].includes(body)) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
