/**
 * Sends what was written until it is answered: of each room one message after the other. With
 * several under way the server could refuse one for its pace and take the one behind it.
 *
 * Knows how the answers fold into the room; nothing of sockets and of the screen.
 */
import { pause } from "./acting.js";
import * as roomOf from "./room.js";

export class Delivery {
  #push; #change; #isIn; #ruling;
  #busy = new Set(); // rooms of whose outbox a message is under way

  /**
   * `push(room, event, payload, options)` is a channel's; `change(room, mutate)` changes a room
   * and what is remembered of its outbox; `isIn(room)`: whether it is still joined; `ruling`
   * follows when one may speak.
   */
  constructor({ push, change, isIn, ruling }) {
    this.#push = push;
    this.#change = change;
    this.#isIn = isIn;
    this.#ruling = ruling;
  }

  async deliver(room) {
    if (this.#busy.has(room)) return;
    this.#busy.add(room);
    const isFree = () => this.#isIn(room) && room.slowUntil === null;
    const next = () => (isFree() ? room.outbox.find(({ error }) => !error) : undefined);
    for (let item = next(); item; item = next()) await this.#transmit(room, item);
    this.#busy.delete(room);
  }

  /**
   * The key makes repeating safe, so neither a break nor a reload loses or doubles a message. What
   * the server cannot take for now is no failure: it says when it can.
   */
  async #transmit(room, item) {
    const isWanted = () => this.#isIn(room) && room.outbox.includes(item);
    const change = (mutate) => this.#change(room, mutate);
    try {
      const payload = messageOf(item);
      const answer = await this.#push(room, "new_msg", payload, { repeat: isWanted });
      if (!answer) return;
      change(() => {
        roomOf.confirmed(room, item.key);
        roomOf.discarded(room, item.key);
        this.#ruling.spoke(room);
      });
    } catch (error) {
      const { reason = String(error), response = {} } = error;
      const { retry_ms: retryMs, until } = response;
      if (reason === "slow_mode") return change(() => this.#ruling.slowed(room, retryMs));
      if (typeof retryMs === "number") return pause(retryMs);
      if (!isWanted()) return;
      // The room was begun anew since: what was answered is not there.
      if (response.field === "reply_to" && delete item.reply_to) return;
      if (reason === "muted") {
        return change(() => {
          roomOf.reclaimed(room, item);
          this.#ruling.muted(room, until);
        });
      }
      change(() => { item.error = { ...response, reason }; });
    }
  }
}

/** What is pushed of an item of the outbox. */
function messageOf({ body, key, reply_to, mentions }) {
  return { body, key, ...(reply_to !== undefined && { reply_to }), ...(mentions && { mentions }) };
}
