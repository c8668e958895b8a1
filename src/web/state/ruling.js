/**
 * Follows what the server says of rooms' rights, and asks it to change them: a room's settings,
 * who has which role, who is muted, banned or sent out.
 *
 * What is asked here is asked once and answered to whoever asked. It is not laid over what is
 * there, as a change of a message is: nobody wants to see somebody banned who is not.
 *
 * Knows how that folds into a room (`rights.js`); nothing of sockets and of the screen.
 */
import { pause } from "./acting.js";
import * as rights from "./rights.js";
import { nameOf } from "./room.js";

/** A browser's timers count in 32 bits. */
const TIMER_MS_MAX = 2 ** 31 - 1;
const PAGE_MEMBERS = 100;
/** As many as a server lets a room have by default, and some that have nobody to tell of. */
const PAGES_MAX = 200;

export class Ruling {
  #push; #change; #isIn; #tokenLevel; #onFree;
  #timers = new Map(); // room -> what wakes us when a mute or slow mode is over

  /**
   * `push(room, event, payload)` is a channel's; `change(room, mutate)` the store's; `isIn(room)`:
   * whether it is still joined; `tokenLevel(room)`: what the token says; `onFree(room)` hears that
   * one may speak again.
   */
  constructor({ push, change, isIn, tokenLevel, onFree }) {
    this.#push = push;
    this.#change = change;
    this.#isIn = isIn;
    this.#tokenLevel = tokenLevel;
    this.#onFree = onFree;
  }

  /** Folds what a join's answer says of the room and of oneself. */
  joined(room, { room: info, you }) {
    rights.described(room, info, Date.now());
    this.you(room, you);
  }

  described(room, info) {
    rights.described(room, info, Date.now());
    this.#judge(room);
  }

  you(room, you) {
    rights.told(room, you, this.#tokenLevel(room));
    this.#judge(room);
    if (rights.moderates(room)) this.#findRoles(room);
  }

  removed(room, payload) {
    rights.removed(room, payload, nameOf(room, payload.by));
    this.#judge(room);
  }

  /** A message of ours was taken. */
  spoke(room) {
    rights.spoke(room, Date.now());
    this.#judge(room);
  }

  /** A message of ours has to wait that long. */
  slowed(room, retryMs) {
    room.slowUntil = Date.now() + retryMs;
    this.#judge(room);
  }

  /** A message of ours was not taken, for we are muted. */
  muted(room, until) {
    room.you = { ...room.you, mutedUntil: until };
    this.#judge(room);
  }

  /** Changes the room's settings: any of the fields of `room_set`. Throws the server's error. */
  async set(room, settings) {
    const info = await this.#ask(room, "room_set", settings);
    this.#change(room, () => this.described(room, info));
  }

  /**
   * Changes what a user is in the room: any of the fields of `room_member`. A purge goes on until
   * nothing is left of it. Throws the error.
   */
  async setMember(room, user, fields) {
    const { role, ...answer } = await this.#ask(room, "room_member", { user, ...fields });
    this.#change(room, () => setRole(room, user, role));
    const { purge_s } = fields;
    for (let { more, before } = answer; more;) {
      const rest = { user, purge_s, purge_before: before };
      ({ more, before } = await this.#ask(room, "room_member", rest));
    }
  }

  /** An invite that is good for so many seconds. Throws the server's error. */
  async invite(room, forS) {
    const { invite } = await this.#ask(room, "room_invite", { for_s: forS });
    return invite;
  }

  /** Tells those who look after the room of a message. Throws the server's error. */
  async report(room, offset, text) {
    await this.#ask(room, "msg_report", { offset, ...(text && { text }) });
  }

  /**
   * What was done to the room, and what was reported, the newest first: `{acts, more}`. `wanted` is
   * the payload of `room_audit`. Throws the server's error.
   */
  async audit(room, wanted) {
    return this.#ask(room, "room_audit", wanted);
  }

  /** Who has a role, or with `state` who is in it: `[{user, role?, muted_until?, ...}]`. */
  async list(room, state) {
    const all = [];
    for (let page = 0, from = null; page < PAGES_MAX; page += 1) {
      const asked = { limit: PAGE_MEMBERS, ...(from && { after: from }), ...(state && { state }) };
      const { members = [], more = false, after } = await this.#ask(room, "room_members", asked);
      all.push(...members);
      // A page may be empty, where many had to be passed over.
      const next = after ?? members.at(-1)?.user;
      if (!more || !next || next === from) break;
      from = next;
    }
    if (!state && this.#isIn(room)) {
      const known = all.filter(({ role }) => role).map(({ user, role }) => [user, role]);
      this.#change(room, () => { room.roles = new Map(known); });
    }
    return all;
  }

  /** What cannot be asked now is not kept for later: by then the user may not want it any more. */
  async #ask(room, event, payload) {
    if (room.status !== "joined") throw Object.assign(new Error("away"), { reason: "away" });
    return this.#push(room, event, payload);
  }

  /** Whom one may do something to depends on their role. Without an answer the server says so. */
  async #findRoles(room) {
    try {
      await this.list(room);
    } catch (error) {
      const retryMs = error.response?.retry_ms;
      if (typeof retryMs !== "number") return;
      await pause(retryMs);
      if (this.#isIn(room)) this.#findRoles(room);
    }
  }

  #judge(room) {
    clearTimeout(this.#timers.get(room));
    this.#timers.delete(room);
    const now = Date.now();
    rights.judge(room, now);
    const at = rights.nextTurn(room, now);
    if (room.slowUntil === null) this.#onFree(room);
    if (at === null) return;
    const wake = () => { if (this.#isIn(room)) this.#change(room, () => this.#judge(room)); };
    this.#timers.set(room, setTimeout(wake, Math.min(at - now, TIMER_MS_MAX)));
  }
}

function setRole(room, user, role) {
  const roles = new Map(room.roles);
  if (role) roles.set(user, role);
  else roles.delete(user);
  room.roles = roles;
}
