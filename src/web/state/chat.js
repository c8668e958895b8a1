/**
 * Between the protocol and the store: hears the channels and changes the state, and is told what the user wants.
 *
 * Knows the socket, the session and the store; knows nothing of the DOM. `remember` is what should
 * outlive a reload: the joined rooms with what has been read in them, what was being written, and
 * the messages that were not acknowledged yet.
 *
 * The joined rooms belong to all tabs of a person. So a tab changes single entries of what is
 * stored, as it is stored at that moment, and `storageChanged` follows what the others change.
 */
import { Presence } from "../presence.js";
import { Acting, pause } from "./acting.js";
import { Delivery } from "./delivery.js";
import * as lobbyOf from "./lobby.js";
import { roomName } from "./name.js";
import { REACT } from "./reactions.js";
import { isOut } from "./rights.js";
import * as roomOf from "./room.js";
import { Ruling } from "./ruling.js";

const ROOMS_KEY = "chinwag.rooms";
const OUTBOX_KEY = "chinwag.outbox";
const DRAFTS_KEY = "chinwag.drafts";
const TYPING_EVERY_MS = 3_000;
const TYPING_SHOWN_MS = 5_000;
const REMEMBER_AFTER_MS = 300;
const PAGE_MESSAGES = 100; // as many as a server gives at once: each page counts against a rate

export const initialState = () => ({
  /** The session's person, or null before a name was given. */
  me: null,
  connection: { state: "closed", retryAt: null, rttMs: null, lostAt: null },
  lobby: lobbyOf.createLobby(),
  /** name -> room, in the order of joining */
  rooms: new Map(),
  /** The name of the room on the screen. */
  active: null,
  /** Whether the user can see the end of the conversation right now: what arrives then counts as read. */
  watching: false,
  filter: "",
});

export class Chat {
  #socket; #session; #store; #local; #tab; #onMessage; #onGone; #acting; #delivery; #ruling;
  #channels = new Map();
  #drafts; // of the page before this one
  #typedAt = -Infinity;
  #typingTimer = null;
  #rememberTimer = null;
  #readStored = new Map(); // name of a room -> what was read, as this tab last stored or found it

  /**
   * `local` outlives the tab, `tab` a reload; `onMessage(room, message)` hears each live message of somebody else,
   * `onGone(room, offset)` that one does not say any more what it said; with null, that any of them may not.
   */
  constructor({ socket, session, store, local, tab, onMessage = () => {}, onGone = () => {} }) {
    this.#socket = socket;
    this.#session = session;
    this.#store = store;
    this.#local = local;
    this.#tab = tab;
    this.#onMessage = onMessage;
    this.#onGone = onGone;
    const means = {
      push: (room, ...push) => this.#channels.get(room.name).push(...push),
      change: (room, mutate) => this.#changeRoom(room.name, mutate),
      isIn: (room) => this.#isIn(room),
    };
    this.#acting = new Acting(means);
    this.#ruling = new Ruling({
      ...means,
      tokenLevel: ({ name }) => session.levelIn?.(name),
      onFree: (room) => this.#delivery.deliver(room),
    });
    this.#delivery = new Delivery({
      ...means,
      ruling: this.#ruling,
      change: (room, mutate) => {
        means.change(room, mutate);
        this.#rememberOutbox();
        this.#remember();
      },
    });
    this.#drafts = new Map(entriesIn(tab.getItem(DRAFTS_KEY)));
    socket.on("state", (change) => this.#connectionChanged(change));
    socket.on("rtt", (rttMs) => this.#change((state) => { state.connection.rttMs = rttMs; }));
  }

  get #state() { return this.#store.state; }

  /** Whether this user id is ours, or was. */
  isOwn = (user) => user === this.#session.current?.user || (this.#session.current?.former.includes(user) ?? false);

  get me() { return this.#state.me; }

  /** The user's id of now: messages of an earlier one are ours to see, and not to change. */
  get self() { return this.#session.current?.user; }

  retryNow() { this.#socket.retryNow(); }

  start() {
    this.#change((state) => { state.me = this.#session.current; });
    // A room first: the server keeps a connection where the first room lives that it joins. The list of rooms next: of
    // as many rooms as one may be in, the last is refused then, and can say so.
    const [first, ...others] = entriesIn(this.#local.getItem(ROOMS_KEY));
    if (first) this.#join(...first);
    this.#joinLobby();
    for (const [name, read] of others) this.#join(name, read);
    this.#restoreOutbox();
    this.#socket.connect();
  }

  /**
   * Shows the room, joining it if need be, once more if it was refused; null shows none. A room
   * that one was put out of is only shown. `invite` is what one brings, or null.
   */
  open(wanted, invite = null) {
    const name = wanted === null ? null : this.#nameOf(wanted);
    if (name !== null) {
      this.#join(name, null, invite);
      const room = this.#state.rooms.get(name);
      if (!isOut(room)) this.#keep(room);
    }
    this.#change((state) => {
      const before = state.rooms.get(state.active);
      if (before && before.unread === 0) roomOf.clearNewLine(before);
      state.active = name;
    });
    this.#remember();
  }

  /** Asks to be let into a room again that one was put out of. */
  comeBack(name) {
    this.#keep(this.#state.rooms.get(name));
    this.#joinAgain(name);
  }

  leave(name) {
    this.#changeStored((entries) => entries.delete(name));
    this.#forget(name);
  }

  /**
   * Follows what another tab stored: rooms that were joined or left there, and what was read. A
   * room that the user looks at here, or has written something for, is kept until it is left here.
   */
  storageChanged({ key, oldValue, newValue }) {
    if (key !== ROOMS_KEY || newValue === null || this.#state.me === null) return;
    const [before, after] = [oldValue, newValue].map((text) => new Map(entriesIn(text)));
    for (const [name, read] of after) {
      if (!this.#state.rooms.has(name) && !before.has(name)) this.#join(name, read);
      else this.#readElsewhere(name, read);
    }
    for (const name of before.keys()) {
      const room = this.#state.rooms.get(name);
      if (!room || after.has(name)) continue;
      // Of a room that one was put out of it is still to be read why.
      const isNeeded = name === this.#state.active || room.draft || room.outbox.length || isOut(room);
      if (!isNeeded) this.#forget(name);
    }
  }

  /** Makes a room with a title, then shows it. Throws the API's error. */
  async create(wanted, title) {
    const name = this.#nameOf(wanted);
    await this.#session.createRoom(name, title);
    this.open(name);
  }

  /** Says it in the room, as an answer if one is being written; false if nothing of it could be seen. `mentions` are user ids. */
  send(name, written, mentions = []) {
    const body = roomOf.bodyOf(written);
    if (!body) return false;
    const item = { key: randomKey(), body, at: Date.now(), error: null };
    if (mentions.length) item.mentions = mentions;
    this.#changeRoom(name, (room) => {
      if (room.writing?.kind === "answer") item.reply_to = room.writing.offset;
      room.writing = null;
      roomOf.clearNewLine(room);
      room.outbox.push(item);
    });
    this.#typedAt = -Infinity;
    this.#rememberOutbox();
    this.#delivery.deliver(this.#state.rooms.get(name));
    return true;
  }

  retry(name, key) {
    const room = this.#state.rooms.get(name);
    const item = room.outbox.find((item) => item.key === key);
    this.#changeRoom(name, () => { item.error = null; });
    this.#rememberOutbox();
    this.#delivery.deliver(room);
  }

  discard(name, key) {
    this.#changeRoom(name, (room) => roomOf.discarded(room, key));
    this.#rememberOutbox();
  }

  /** What was not sent is written on. */
  reclaim(name, key) {
    const item = this.#state.rooms.get(name).outbox.find((item) => item.key === key);
    this.#changeRoom(name, (room) => roomOf.reclaimed(room, item));
    this.#rememberOutbox();
    this.#remember();
  }

  /** Changes the room's settings. Throws the server's error. */
  async setRoom(name, settings) {
    await this.#ruling.set(this.#state.rooms.get(name), settings);
  }

  /** Changes what a user is in the room. Throws the server's error. */
  async setMember(name, user, fields) {
    await this.#ruling.setMember(this.#state.rooms.get(name), user, fields);
  }

  /** An invite to the room that is good for so many seconds. Throws the server's error. */
  async invite(name, forS) {
    return this.#ruling.invite(this.#state.rooms.get(name), forS);
  }

  /** Tells those who look after the room of a message. Throws the error. */
  async report(name, offset, text) {
    await this.#ruling.report(this.#state.rooms.get(name), offset, text);
  }

  /** What was done to the room, and what was reported: see `Ruling`. Throws the error. */
  async audit(name, wanted) {
    return this.#ruling.audit(this.#state.rooms.get(name), wanted);
  }

  /** Who has a role in the room, or is in this `state`: "muted" or "banned". Throws the error. */
  async listMembers(name, state) {
    return this.#ruling.list(this.#state.rooms.get(name), state);
  }

  /** What is written from now on answers this message. */
  answer(name, offset) {
    this.#changeRoom(name, (room) => { room.writing = { kind: "answer", offset }; });
  }

  /** What is written from now on takes the place of what this message of the user's says; `text`: where to begin. */
  rewrite(name, offset, text = roomOf.messageAt(this.#state.rooms.get(name), offset)?.body) {
    if (text === undefined) return;
    this.#changeRoom(name, (room) => { room.writing = { kind: "edit", offset, text }; });
  }

  /** What is written is a new message again. */
  stopWriting(name) {
    this.#changeRoom(name, (room) => { room.writing = null; });
  }

  /** Ends the edit that is being written; false if nothing of it could be seen. */
  edit(name, written, mentions = []) {
    const body = roomOf.bodyOf(written);
    const room = this.#state.rooms.get(name);
    if (!body || room?.writing?.kind !== "edit") return false;
    const { offset } = room.writing;
    const message = roomOf.messageAt(room, offset);
    this.stopWriting(name);
    if (!message || message.deleted) return true;
    const payload = {};
    if (body !== message.body) payload.body = body;
    if (mentions.join() !== (message.mentions ?? []).join()) payload.mentions = mentions.length ? mentions : null;
    if (Object.keys(payload).length) this.#act(name, "msg_edit", offset, payload);
    return true;
  }

  remove(name, offset) { this.#act(name, "msg_delete", offset, {}); }

  pin(name, offset, on) { this.#act(name, "msg_pin", offset, { on }); }

  /** Reacts to a message with an emoji, or takes that back. */
  react(name, offset, emoji, on) { this.#act(name, REACT, offset, { emoji, on }); }

  /** The user has read why something was refused. */
  dismiss(name, id) {
    this.#changeRoom(name, (room) => { room.acts = room.acts.filter((act) => act.id !== id); });
  }

  /** What was written for an act that was refused is written on, as a new message. */
  writeAnew(name, { id, payload }) {
    this.#changeRoom(name, (room) => {
      room.acts = room.acts.filter((act) => act.id !== id);
      room.writing = null;
      roomOf.drafted(room, payload.body);
    });
    this.#remember();
  }

  /** Fetches what is pinned and is not here. What the server does not tell now it may tell when it is asked again. */
  async findPins(name) {
    const room = this.#state.rooms.get(name);
    if (room?.status !== "joined") return;
    try {
      const answer = await this.#channels.get(name).push("history", { pinned: true, limit: PAGE_MESSAGES });
      if (this.#isIn(room)) this.#changeRoom(name, () => roomOf.pinsFound(room, answer));
    } catch {
      // The list says how many are missing.
    }
  }

  /** Loads what came before the first message of `segment`. What the server cannot give for now is no failure: it says when it can. */
  async older(name, segment) {
    const room = this.#state.rooms.get(name);
    if (segment.fetching === "now" || room?.status !== "joined") return;
    this.#changeRoom(name, () => { segment.fetching = "now"; });
    try {
      const answer = await this.#channels.get(name).push("history", { before: segment.from, limit: PAGE_MESSAGES });
      this.#changeRoom(name, () => roomOf.older(room, segment, answer));
    } catch (error) {
      const retryMs = error.response?.retry_ms;
      if (typeof retryMs === "number") await pause(retryMs);
      if (!this.#isIn(room)) return;
      this.#changeRoom(name, () => { segment.fetching = "failed"; });
      if (typeof retryMs === "number") return this.older(name, segment);
    }
  }

  /** The user changed the draft, or the edit that is being written. */
  typed(name, draft) {
    const room = this.#state.rooms.get(name);
    if (room.writing?.kind === "edit") {
      room.writing.text = draft;
      return;
    }
    room.draft = draft;
    this.#remember();
    const now = Date.now();
    if (!draft || now - this.#typedAt < TYPING_EVERY_MS) return;
    this.#typedAt = now;
    this.#channels.get(name).cast("typing", {});
  }

  /** Whether the user sees the end of the conversation. Views tell it at each turn, so it changes nothing unless something did. */
  watch(watching) {
    const room = this.#state.rooms.get(this.#state.active);
    const news = watching && room !== undefined && room.unread > 0;
    if (watching === this.#state.watching && !news) return;
    this.#change((state) => {
      state.watching = watching;
      if (news) roomOf.markRead(room);
    });
    if (news) this.#remember();
  }

  filter(filter) {
    this.#change((state) => { state.filter = filter; });
  }

  /** Goes on under the session's new name, on a new connection. */
  reconnect() {
    this.#socket.disconnect();
    this.#socket.connect();
  }

  sessionChanged(session) {
    this.#change((state) => {
      state.me = session;
      for (const room of state.rooms.values()) room.version += 1;
    });
  }

  /** Writes down what should outlive this page; also to be called when it is about to end. */
  remember() {
    clearTimeout(this.#rememberTimer);
    this.#rememberTimer = null;
    this.#rememberRead();
    const drafts = [...this.#state.rooms.values()].filter(({ draft }) => draft).map(({ name, draft }) => [name, draft]);
    this.#tab.setItem(DRAFTS_KEY, JSON.stringify(drafts));
  }

  /** Stores what was read here since it was last stored, unless another tab has read further. */
  #rememberRead() {
    const news = [...this.#state.rooms.values()]
      .filter(({ name, read }) => read !== null && read !== this.#readStored.get(name));
    if (news.length === 0) return;
    this.#changeStored((entries) => {
      for (const { name, read } of news) {
        this.#readStored.set(name, read);
        if (!entries.has(name) || roomOf.isFurther(entries.get(name), read)) continue;
        entries.set(name, read);
      }
    });
  }

  /** Changes the rooms that all tabs share, as they are stored now, not as this tab knows them. */
  #changeStored(mutate) {
    const before = this.#local.getItem(ROOMS_KEY);
    const entries = new Map(entriesIn(before));
    mutate(entries);
    const after = JSON.stringify([...entries]);
    if (after !== before) this.#local.setItem(ROOMS_KEY, after);
  }

  /** The room is one of those that all tabs share, and a later visit finds again. */
  #keep({ name, read }) {
    this.#changeStored((entries) => { if (!entries.has(name)) entries.set(name, read); });
  }

  #readElsewhere(name, read) {
    const room = this.#state.rooms.get(name);
    if (!room || !roomOf.isFurther(read, room.read)) return;
    this.#change(() => roomOf.readElsewhere(room, read, this.isOwn));
    this.#readStored.set(name, room.read);
  }

  /**
   * The name of the room that is meant. Of two that only a program can tell apart it is the one
   * that is there; names that are not there yet are in NFC.
   */
  #nameOf(wanted) {
    const { rooms, lobby } = this.#state;
    const name = roomName(wanted);
    for (const known of [wanted, name]) {
      if (rooms.has(known) || lobby.rooms.has(known)) return known;
    }
    const isMeant = (known) => roomName(known) === name;
    return [...rooms.keys(), ...lobby.rooms.keys()].find(isMeant) ?? name;
  }

  /** Leaves the room; whether it stays among those that are stored is for the caller to say. */
  #forget(name) {
    this.#channels.get(name)?.leave();
    this.#channels.delete(name);
    this.#readStored.delete(name);
    this.#change((state) => {
      state.rooms.delete(name);
      if (state.active === name) state.active = null;
    });
    this.#remember();
    this.#rememberOutbox();
  }

  #remember() {
    this.#rememberTimer ??= setTimeout(() => this.remember(), REMEMBER_AFTER_MS);
  }

  #rememberOutbox() {
    const waiting = [...this.#state.rooms.values()].filter(({ outbox }) => outbox.length);
    this.#tab.setItem(OUTBOX_KEY, JSON.stringify(waiting.map(({ name, outbox }) => [name, outbox])));
  }

  #restoreOutbox() {
    for (const [name, outbox] of entriesIn(this.#tab.getItem(OUTBOX_KEY))) {
      this.#join(name); // another tab may have left the room since
      const room = this.#state.rooms.get(name);
      this.#changeRoom(name, () => { room.outbox = outbox; });
      this.#delivery.deliver(room);
    }
  }

  #act(name, event, offset, payload) {
    const act = { id: randomKey(), event, offset, payload, at: Date.now(), by: this.self, change: null, error: null };
    this.#acting.ask(this.#state.rooms.get(name), act);
  }

  /** Whether the user is in this room still, and not in one that was joined later by its name. */
  #isIn(room) {
    return this.#state.rooms.get(room.name) === room;
  }

  #joinLobby() {
    const channel = this.#socket.channel("lobby");
    channel.on("phx_join", (answer) => this.#change((state) => lobbyOf.listed(state.lobby, answer)));
    channel.on("rooms", (payload) => this.#change((state) => lobbyOf.changed(state.lobby, payload)));
    channel.join();
  }

  #join(name, lastRead = null, invite = null) {
    const known = this.#state.rooms.get(name);
    if (known && invite !== null) return this.#bring(known, invite);
    // What was refused may be granted by now: another room was left, or the server has place.
    if (known?.status === "refused" && !isOut(known)) this.#joinAgain(name);
    if (known) return;
    const room = roomOf.createRoom(name);
    room.read = lastRead;
    room.invite = invite;
    this.#readStored.set(name, lastRead);
    room.draft = this.#drafts.get(name) ?? "";
    this.#drafts.delete(name);
    this.#change((state) => state.rooms.set(name, room));

    const channel = this.#socket.channel(`room:${name}`, () => roomOf.joinParams(room));
    const presence = new Presence();
    const people = () => { room.members = roomOf.membersOf(presence.members, this.isOwn); };
    const watched = () => this.#state.watching && this.#state.active === name;
    const on = (event, fold) => channel.on(event, (payload) => this.#changeRoom(name, () => fold(payload)));

    on("phx_join", (answer) => {
      const known = room.offset;
      presence.reset();
      roomOf.joined(room, answer, this.isOwn, watched());
      this.#ruling.joined(room, answer);
      if (!answer.recovered) this.#onGone(room, null);
      for (const { offset } of answer.changed ?? []) this.#onGone(room, offset);
      if (known && answer.recovered) answer.messages.forEach((message) => this.#heard(room, message));
      this.#remember();
      this.#rememberOutbox();
    });
    on("phx_refused", (error) => {
      if (error.retry_ms !== undefined) return;
      room.status = "refused";
      room.refusal = error;
    });
    on("phx_down", () => {
      room.status = "away";
      room.typing.clear();
    });
    on("phx_close", () => { if (!isOut(room)) room.status = "away"; });
    on("room_changed", (info) => this.#ruling.described(room, info));
    on("room_you", (you) => this.#ruling.you(room, you));
    on("room_removed", (payload) => {
      this.#ruling.removed(room, payload);
      // A later visit does not come back by itself either.
      this.#changeStored((entries) => entries.delete(name));
    });
    on("new_msg", (message) => {
      if (!roomOf.received(room, message, this.isOwn, watched())) return;
      this.#remember();
      this.#heard(room, message);
      if (watched()) room.fetched = 0;
      roomOf.trim(room);
    });
    on("msg_changed", (patch) => {
      if (!roomOf.changed(room, patch, this.isOwn)) return channel.rejoin();
      if (patch.body !== undefined) this.#onGone(room, patch.offset);
    });
    on("room_epoch", (payload) => {
      roomOf.turned(room, payload);
      this.#remember();
    });
    on("typing", ({ user, name }) => {
      if (this.isOwn(user)) return;
      room.typing.set(user, { name, until: Date.now() + TYPING_SHOWN_MS });
      this.#expireTyping();
    });
    on("presence_state", (payload) => { presence.state(payload); people(); });
    on("presence_diff", (payload) => { presence.diff(payload); people(); });
    on("presence_count", ({ count, listed }) => { room.count = count > listed ? count : null; });

    this.#channels.set(name, channel);
    channel.join();
  }

  /** Brings an invite to a room that is open, or was, if one is not a member already. */
  #bring(room, invite) {
    room.invite = invite;
    if (room.status === "refused") this.#joinAgain(room.name);
    else if (!room.you?.role) this.#channels.get(room.name).rejoin();
  }

  #joinAgain(name) {
    this.#changeRoom(name, (room) => Object.assign(room, { status: "joining", refusal: null }));
    this.#channels.get(name).join();
  }

  #heard(room, message) {
    if (!this.isOwn(message.user)) this.#onMessage(room, message);
  }

  #expireTyping() {
    this.#typingTimer ??= setTimeout(() => {
      this.#typingTimer = null;
      let left = 0;
      this.#change((state) => {
        for (const { typing } of state.rooms.values()) {
          for (const [user, { until }] of typing) {
            if (until <= Date.now()) typing.delete(user);
            else left += 1;
          }
        }
      });
      if (left) this.#expireTyping();
    }, 1_000);
  }

  #connectionChanged({ state: name, retryMs }) {
    this.#change(({ connection }) => {
      if (name === "open") connection.lostAt = null;
      else if (connection.state === "open") connection.lostAt = Date.now();
      connection.state = name;
      connection.retryAt = retryMs === undefined ? null : Date.now() + retryMs;
      connection.rttMs = null;
    });
  }

  #changeRoom(name, mutate) {
    const room = this.#state.rooms.get(name);
    if (!room) return;
    this.#change(() => {
      mutate(room);
      room.version += 1;
    });
  }

  #change(mutate) {
    this.#store.change(mutate);
  }
}

/** `crypto.randomUUID` exists in secure contexts only, and this page is also served to a phone by http in one's own network. */
function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The `[name, value]` pairs in a text from a store; what is nothing of the kind is none. */
function entriesIn(text) {
  try {
    return JSON.parse(text).filter((entry) => Array.isArray(entry) && typeof entry[0] === "string");
  } catch {
    return [];
  }
}
