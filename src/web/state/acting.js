/**
 * Asks the server for what the user wishes to become of messages, until it is answered: of each room one thing after
 * the other, as with what is said. What is asked is in `room.acts` meanwhile, and so on the screen.
 *
 * Knows how the answers fold into the room; nothing of sockets and of the screen.
 */
import { isSameReaction } from "./reactions.js";
import { done } from "./room.js";

export const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

export class Acting {
  #push; #change; #isIn;
  #busy = new Set(); // rooms of which an act is under way

  /** `push(room, event, payload, options)` is a channel's; `change(room, mutate)` the store's; `isIn(room)`: whether it is still joined. */
  constructor({ push, change, isIn }) {
    this.#push = push;
    this.#change = change;
    this.#isIn = isIn;
  }

  /**
   * Shows the act at once, and asks for it. What was refused before of the same message is
   * forgotten, and so is what was asked before of the same reaction: what is under way of it has
   * its answer before this is sent.
   */
  ask(room, act) {
    const isOver = (other) =>
      (other.error ? other.offset === act.offset : isSameReaction(other, act));
    this.#change(room, () => {
      room.acts = [...room.acts.filter((other) => !isOver(other)), act];
    });
    this.#carryOut(room);
  }

  async #carryOut(room) {
    if (this.#busy.has(room)) return;
    this.#busy.add(room);
    const next = () => (this.#isIn(room) ? room.acts.find(({ change, error }) => change === null && !error) : undefined);
    for (let act = next(); act; act = next()) await this.#perform(room, act);
    this.#busy.delete(room);
  }

  /** Each act sets something, so repeating it is harmless. What the server cannot do for now it can do later. */
  async #perform(room, act) {
    const isWanted = () => this.#isIn(room) && room.acts.includes(act);
    try {
      const answer = await this.#push(room, act.event, { offset: act.offset, ...act.payload }, { repeat: isWanted });
      if (answer && isWanted()) this.#change(room, () => done(room, act, answer));
    } catch (error) {
      const retryMs = error.response?.retry_ms;
      if (typeof retryMs === "number") return pause(retryMs);
      if (!isWanted()) return;
      const reason = error.reason ?? String(error);
      this.#change(room, () => { act.error = { ...error.response, reason }; });
    }
  }
}
