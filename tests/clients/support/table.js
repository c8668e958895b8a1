/**
 * What it takes to try a table of pushes: who pushes, where, with what, and what that is answered.
 *
 *     host ── joins, says what a row needs, decides how the actor stands ──┐
 *     actor ─ joins, pushes the rows ── one letter for each answer         │ one room
 *                                                                        ──┘
 *
 * All pushes go by a stock client's socket and not by its channels: these neither push where they are not joined, nor
 * take a refusal of a join as the last word.
 */

import assert from "node:assert/strict";

import { patiently, tab } from "./client.js";

/** Rooms that are for members, and in which only those who look after them speak. */
const PRIVATE = { title: "Tea", join: "members" };
const ANNOUNCED = { ...PRIVATE, speak: "moderators" };

/**
 * Who pushes, in the order of a row's letters. `token` is the level of the token, `standing` what is decided of the
 * user, `room` what is decided of the room; `topic` is one that is no room.
 */
export const ACTORS = [
  // Outside.
  { name: "whose token says none", token: "none" },
  { name: "who is banned", standing: { banned_s: -1 } },
  { name: "who has no role in a private room", room: PRIVATE },
  // Readers.
  { name: "whose token says join", token: "join" },
  { name: "a moderator whose token says join", token: "join", standing: { role: "moderator" }, room: PRIVATE },
  { name: "who has no role where members speak", room: { title: "Tea", speak: "members" } },
  { name: "a member where moderators speak", standing: { role: "member" }, room: ANNOUNCED },
  { name: "who is muted", standing: { muted_s: -1 } },
  { name: "a moderator who is muted", standing: { role: "moderator", muted_s: -1 } },
  // Speakers.
  { name: "who has no role where nothing was decided" },
  { name: "a member where members speak", standing: { role: "member" }, room: { ...PRIVATE, speak: "members" } },
  // Moderators.
  { name: "a moderator where moderators speak", standing: { role: "moderator" }, room: ANNOUNCED },
  { name: "whose token says moderate", token: "moderate", room: ANNOUNCED },
  // Owners.
  { name: "the only owner", standing: { role: "owner" }, room: ANNOUNCED },
  { name: "whose token says own", token: "own", room: PRIVATE },
  // Not in a room.
  { name: "in the lobby", topic: () => "lobby" },
  { name: "in the own topic", topic: (user) => `user:${user}` },
].map((actor, index) => ({ token: "speak", ...actor, user: `actor-${index}` }));

/** What a letter stands for that stands for the same in all rows. */
export const OUTCOMES = {
  "-": { reason: "unmatched topic" },
  u: { reason: "unauthorized" },
  b: { reason: "banned", until: 0 },
  m: { reason: "muted", until: 0 },
  n: { reason: "not_yours" },
  r: { reason: "read_only" },
  e: { reason: "invalid", field: "event" },
  l: { reason: "too_large", field: "payload", max_bytes: 16_384 },
};

/** What is said of a refusal for people, or is a time that nobody can foresee. */
const UNFORESEEN = { invalid: "message", rejected: "text", slow_mode: "retry_ms", rate_limited: "retry_ms" };

/** The letter of an answer in a row that may be refused with `refusal`, or what it is if it has none. */
function letterOf({ status, response, isHeard }, refusal) {
  if (status === "ok") return "+";
  if (status === "phx_error") return "#";
  if (status === "room_removed") return "o";
  if (status === "silence") return isHeard ? "~" : ".";
  const { [UNFORESEEN[response.reason]]: unforeseen, ...foreseen } = response;
  if (response.reason in UNFORESEEN) assert.ok(unforeseen, JSON.stringify(response));
  const isIt = (expected) => JSON.stringify(sorted(expected)) === JSON.stringify(sorted(foreseen));
  if (refusal && isIt(refusal)) return "!";
  const found = Object.entries(OUTCOMES).find(([, expected]) => isIt(expected));
  return found ? found[0] : JSON.stringify(response);
}

const sorted = (object) => Object.fromEntries(Object.entries(object).sort());

/** Something that a payload names, and that is made for it before; outside of rooms it may be `otherwise`. */
class Given {
  constructor(make, otherwise) {
    Object.assign(this, { make, otherwise });
  }

  toJSON() {
    return Object.keys(GIVEN).find((name) => GIVEN[name] === this);
  }
}

/** Decides that `user` stands so. */
async function stands(room, user, standing) {
  await room.host.ok(room.topic, "room_member", { user, ...standing });
  return user;
}

const aMessage = (make) => new Given(make, 1);
const aUser = (make) => new Given(make, "zoe");
const inRole = (role) => aUser((room) => stands(room, room.newUser(), { role }));

/** What a payload may name: the offset of a message, a user, a token, an invite. */
export const GIVEN = {
  OWN: aMessage((room) => room.says("author")),
  OWN_OLDER: aMessage((room) => room.saysEarlier("author")),
  OWN_DELETED: aMessage((room) => room.deleted("author")),
  OWN_GROWING: aMessage((room) => room.says("author", { stream: true })),
  OTHERS: aMessage((room) => room.says("host")),
  OTHERS_DELETED: aMessage((room) => room.deleted("host")),
  OTHERS_GROWING: aMessage((room) => room.says("host", { stream: true })),
  OTHERS_PINNED: aMessage(async (room) => {
    const offset = await room.says("host");
    await room.host.ok(room.topic, "msg_pin", { offset });
    return offset;
  }),
  // With as many emoji as a message may have.
  OTHERS_FULL: aMessage(async (room) => {
    const offset = await room.says("host");
    for (const emoji of ["a", "b"]) await room.host.ok(room.topic, "msg_react", { offset, emoji });
    return offset;
  }),
  // Where as many others are pinned as may be.
  BEYOND_PINS: aMessage(async (room) => {
    for (let count = 0; count < 2; count += 1) await GIVEN.OTHERS_PINNED.make(room);
    return room.says("host");
  }),
  NEVER_GIVEN: aMessage(() => 1_000_000),
  ONESELF: new Given((room) => room.actor.user),
  STRANGER: aUser((room) => room.newUser()),
  MEMBER: inRole("member"),
  MODERATOR: inRole("moderator"),
  OWNER: inRole("owner"),
  MUTED: aUser((room) => stands(room, room.newUser(), { muted_s: -1 })),
  BANNED: aUser((room) => stands(room, room.newUser(), { banned_s: -1 })),
  PRESENT_MODERATOR: aUser((room) => room.present("moderate")),
  ITS_TOKEN: new Given((room) => room.world.token(room.actor)),
  OTHERS_TOKEN: new Given((room) => room.world.server.token("zoe")),
  INVITE: new Given(async (room) => (await room.host.ok(room.topic, "room_invite", {})).invite, "inv_x"),
};

/** A payload in which everything that has to be made has been made. */
async function made(payload, room) {
  if (Array.isArray(payload) || payload instanceof ArrayBuffer) return payload;
  const entries = Object.entries(payload).map(async ([name, value]) => {
    if (!(value instanceof Given)) return [name, value];
    const isMade = room.isRoom || value.otherwise === undefined;
    return [name, isMade ? await value.make(room) : value.otherwise];
  });
  return Object.fromEntries(await Promise.all(entries));
}

/** A socket on which anything may be asked, also where nothing was joined. */
class Line {
  #socket;
  #asked = new Map();
  #joins = new Map();
  /** The topics in which somebody was heard to type. */
  typing = new Set();

  constructor(socket) {
    this.#socket = socket;
    socket.onMessage(({ topic, event, payload, ref }) => {
      if (event === "phx_reply") this.#answer(ref, payload);
      if (event === "typing") this.typing.add(topic);
      if (event === "phx_error" || event === "room_removed") {
        for (const [ref, asked] of this.#asked) if (asked.topic === topic) this.#answer(ref, { status: event });
      }
    });
  }

  #answer(ref, answer) {
    this.#asked.get(ref)?.resolve(answer);
    this.#asked.delete(ref);
  }

  /** Resolves with `{status, response}`. */
  ask(topic, event, payload) {
    const ref = this.#socket.makeRef();
    if (event === "phx_join") this.#joins.set(topic, ref);
    return new Promise((resolve) => {
      this.#asked.set(ref, { topic, resolve });
      this.#socket.push({ topic, event, payload, ref, join_ref: this.#joins.get(topic) ?? ref });
    });
  }

  async ok(topic, event, payload) {
    const { status, response } = await this.ask(topic, event, payload);
    assert.equal(status, "ok", `${event} ${JSON.stringify(payload)}: ${JSON.stringify(response)}`);
    return response;
  }

  join(topic) {
    return this.ask(topic, "phx_join", { presence: false });
  }
}

/** A room for one actor, and what is made in it before that pushes. */
class Room {
  #users = 0;
  #author;

  constructor(world, actor, name) {
    this.world = world;
    this.actor = actor;
    this.isRoom = !actor.topic;
    this.topic = this.isRoom ? `room:${name}` : actor.topic(actor.user);
    this.host = world.host;
    this.line = world.lineOf(actor);
  }

  newUser() {
    this.#users += 1;
    return `user-${this.#users}`;
  }

  /** Has the host, or the actor on another device and before anything is decided of it, say a message: its offset. */
  async says(who, more = {}) {
    const line = who === "host" ? this.host : await this.#joinedAuthor();
    return (await line.ok(this.topic, "new_msg", { body: "a message", ...more })).offset;
  }

  /** As `says`, and returns when another millisecond has begun. */
  async saysEarlier(who) {
    const offset = await this.says(who);
    const said = Date.now();
    while (Date.now() === said) await this.host.ok(this.topic, "echo", {});
    return offset;
  }

  #joinedAuthor() {
    const line = this.world.lineBy(this.actor.user, "speak");
    this.#author ??= line.join(this.topic).then(() => line);
    return this.#author;
  }

  async deleted(who) {
    const offset = await this.says(who);
    await this.host.ok(this.topic, "msg_delete", { offset });
    return offset;
  }

  /** Somebody who is there by a token of this level. */
  async present(level) {
    const user = this.newUser();
    await this.world.lineBy(user, level).ok(this.topic, "phx_join", {});
    return user;
  }

  /** What each of some rows is answered: its letter, and the answer. */
  async tries(rows) {
    const { actor, host, topic, line } = this;
    if (this.isRoom) await host.join(topic);
    const payloads = await Promise.all(rows.map(({ payload }) => made(payload, this)));
    if (this.isRoom) {
      for (const [verb, payload] of rows.flatMap(({ decided = [] }) => decided)) await host.ok(topic, verb, payload);
      if (actor.standing) await stands(this, actor.user, actor.standing);
      if (actor.room) await host.ok(topic, "room_set", actor.room);
    }
    await line.join(topic);
    return Promise.all(rows.map((row, index) => this.#pushes(row, payloads[index])));
  }

  async #pushes({ verb, before, refusal }, payload) {
    const { line, topic } = this;
    if (before) line.ask(topic, ...before);
    let answer = await this.#answerTo(verb, payload);
    // An index of words is whole a while after its room is there.
    while (verb === "msg_search" && answer.response?.reason === "busy") answer = await this.#answerTo(verb, payload);
    return { letter: letterOf(answer, refusal), answer };
  }

  /** An answer, or that there was none to something before an answer came to what was asked behind it. */
  async #answerTo(verb, payload) {
    const { line, topic } = this;
    const answer = line.ask(topic, verb, payload);
    if (verb !== "typing") return answer;
    // It goes the same way, also where that leads through an engine.
    const behind = line.ask(topic, "drawing", {});
    const silence = behind.then(() => ({ status: "silence", isHeard: line.typing.has(topic) }));
    return Promise.race([answer, silence]);
  }
}

/** How many rows share a room, and how many rooms are looked at at once. */
const AT_ONCE = 16;

const inPieces = (list, size = AT_ONCE) =>
  Array.from({ length: Math.ceil(list.length / size) }, (_, index) => list.slice(index * size, (index + 1) * size));

/** A server, and everybody's sockets. `options` are those of the actors', and `name` is in those of their rooms. */
export class World {
  #lines = new Map();
  #rooms = 0;
  #name;
  #tab;
  #options;

  constructor(t, server, name, options) {
    this.server = server;
    this.#name = name;
    this.#options = options;
    this.#tab = (user, level, more) => new Line(tab(t, server, user, { claims: { rooms: { "*": level } }, ...more }));
    this.host = this.lineBy("host", "own");
  }

  token({ user, token }) {
    return this.server.token(user, { rooms: { "*": token } });
  }

  #line(name, make) {
    if (!this.#lines.has(name)) this.#lines.set(name, make());
    return this.#lines.get(name);
  }

  lineOf({ user, token }) {
    return this.#line(`${user} itself`, () => this.#tab(user, token, this.#options));
  }

  lineBy(user, level) {
    return this.#line(`${user} ${level}`, () => this.#tab(user, level));
  }

  /**
   * What an actor is answered to each of some rows: its letter, and what it was. Those after which the actor or the
   * room may stand otherwise have a room of their own; the others share some, each with its own messages and users.
   */
  async tries(actor, rows) {
    const alone = rows.filter(({ isAlone }) => isAlone).map((row) => [row]);
    const told = new Map();
    const groups = [...alone, ...inPieces(rows.filter(({ isAlone }) => !isAlone))];
    // What is no room there is once.
    for (const some of inPieces(groups, actor.topic ? 1 : AT_ONCE)) {
      const tried = some.map(async (rows) => {
        this.#rooms += 1;
        const outcomes = await new Room(this, actor, `${this.#name} ${this.#rooms}`).tries(rows);
        rows.forEach((row, index) => told.set(row, outcomes[index]));
      });
      await patiently(`what ${actor.name} is answered`, Promise.all(tried));
    }
    return rows.map((row) => told.get(row));
  }

  /** What the last of some pushes, all by one who owns everything, is answered: its letter. `USER` is its id. */
  async meets(pushes, refusal) {
    this.#rooms += 1;
    const actor = { user: `busy-${this.#rooms}`, token: "own" };
    const line = this.lineOf(actor);
    let answer;
    for (const [topic, verb, payload = {}] of pushes) {
      answer = line.ask(topic.replace("USER", actor.user), verb, payload);
      // Only of one topic all is in order, and what is said has its place when it is answered. Others come at once:
      // rates are by the second.
      if (verb === "phx_join" || verb === "new_msg") await answer;
    }
    return letterOf(await patiently("what is too much", answer), refusal);
  }
}
