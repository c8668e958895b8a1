import assert from "node:assert/strict";
import { test } from "node:test";
import { Session } from "../../../src/web/session.js";
import { FakeStorage } from "./fake.mjs";

/** A server that makes tokens t1, t2, ... and takes those in `accepted`. */
function server({ guests = true } = {}) {
  const state = { accepted: new Set(), users: new Map(), made: 0, down: false, requests: [] };
  state.fetch = async (path, { method, headers, body }) => {
    if (state.down) throw new TypeError("network");
    state.requests.push(`${method} ${path}`);
    const answer = (status, result) => ({ ok: status < 400, status, json: async () => result, headers: new Headers() });
    const token = headers.Authorization?.replace("Bearer ", "");
    if (path === "api/session" && !guests) return answer(403, { error: { reason: "guests_disabled", message: "No guests." } });
    if (path === "api/session" && (!token || state.accepted.has(token))) {
      const made = `t${(state.made += 1)}`;
      state.accepted.add(made);
      const user = state.users.get(token) ?? `g_${made}`;
      state.users.set(made, user);
      return answer(201, { token: made, user, name: JSON.parse(body).name });
    }
    const isKnown = token ? state.accepted.has(token) : guests;
    return isKnown ? answer(200, { rooms: [] }) : answer(401, { error: { reason: "unauthorized", message: "No." } });
  };
  return state;
}

async function entered(options) {
  const host = server(options);
  const storage = new FakeStorage();
  const session = new Session({ storage, fetch: host.fetch });
  await session.enter("Ann");
  return { host, storage, session };
}

test("a name becomes a token that outlives the page", async () => {
  const { host, storage, session } = await entered();
  assert.equal(await session.token(0), "t1");
  const later = new Session({ storage, fetch: host.fetch });
  assert.deepEqual(later.current, session.current);
});

test("what is no session in the storage is none", () => {
  for (const text of ["", "{", "null", "[]", "{}", "7"]) {
    const storage = new FakeStorage();
    storage.setItem("chinwag.session", text);
    assert.equal(new Session({ storage, fetch: null }).current, null, text);
  }
});

test("a guest whose token the server refuses gets a new one under the same name, and stays the author of what was said", async () => {
  const { host, session } = await entered();
  host.accepted.clear();
  assert.equal(await session.token(0), "t1", "not before an attempt failed");
  assert.equal(await session.token(1), "t2");
  assert.equal(session.current.name, "Ann");
  assert.deepEqual(session.current.former, ["g_t1"]);
});

test("a guest who takes another name stays the same user, and becomes another only where the server does not know it any more", async () => {
  const { host, session } = await entered();
  await session.enter("Anna");
  const { user, name, token, former } = session.current;
  assert.deepEqual([user, name, token, former], ["g_t1", "Anna", "t2", []]);
  host.accepted.clear();
  await session.enter("Anne");
  assert.deepEqual([session.current.user, session.current.name, session.current.former], ["g_t3", "Anne", ["g_t1"]]);
});

test("an attempt that failed for another reason costs no token", async () => {
  const { host, session } = await entered();
  assert.equal(await session.token(3), "t1");
  host.down = true;
  assert.equal(await session.token(4), "t1");
});

test("a tab takes over the session that another one made", async () => {
  const { host, storage, session } = await entered();
  const other = new Session({ storage, fetch: host.fetch });
  host.accepted.clear();
  await other.token(1);
  assert.equal(await session.token(1), "t2");
  assert.equal(host.made, 2);
});

test("where guests are not admitted the reason is told, and a token from elsewhere is taken", async () => {
  const host = server({ guests: false });
  const session = new Session({ storage: new FakeStorage(), fetch: host.fetch });
  await assert.rejects(session.enter("Ann"), { reason: "guests_disabled", message: "No guests." });

  const claims = Buffer.from(JSON.stringify({ sub: "u1", name: "Åsa" })).toString("base64url");
  const token = `h.${claims}.s`;
  await assert.rejects(session.enterWith(token), { reason: "unauthorized" });
  host.accepted.add(token);
  await session.enterWith(token);
  assert.deepEqual([session.current.user, session.current.name], ["u1", "Åsa"]);

  host.accepted.clear();
  await assert.rejects(session.token(1), { reason: "unauthorized" });
});

test("whether guests are admitted is asked without becoming one, and a server that cannot be asked may admit some", async () => {
  for (const guests of [true, false]) {
    const host = server({ guests });
    const session = new Session({ storage: new FakeStorage(), fetch: host.fetch });
    assert.equal(await session.takesGuests(), guests);
    assert.deepEqual([host.made, session.current], [0, null]);
    host.down = true;
    assert.equal(await session.takesGuests(), true);
  }
});

test("a server that cannot be reached is named as such", async () => {
  const { host, session } = await entered();
  host.down = true;
  await assert.rejects(session.enter("Bob"), { reason: "unreachable" });
  assert.equal(session.current.name, "Ann");
});

test("a guest whose token is no longer good starts a room all the same", async () => {
  const { host, session } = await entered();
  host.accepted.clear();
  host.requests.length = 0;
  await session.createRoom("tea", "Tea");
  assert.deepEqual(host.requests, ["POST api/rooms", "GET api/rooms?limit=1", "POST api/session", "POST api/rooms"]);
  assert.equal(session.current.token, "t2");
});

test("of several tabs that need a new token at once each takes that of the first", async () => {
  const { host, storage, session } = await entered();
  const changes = [];
  const other = new Session({ storage, fetch: host.fetch, onChange: ({ token }) => changes.push(token) });
  host.accepted.clear();
  const tokens = await Promise.all([session.token(1), other.token(1)]);
  assert.deepEqual(tokens, ["t2", "t2"]);
  assert.deepEqual(changes, ["t2"]);
  assert.deepEqual([session.refresh(), other.refresh()], [false, false]);
});

test("a name that was given in another tab is taken over", async () => {
  const { host, storage, session } = await entered();
  const other = new Session({ storage, fetch: host.fetch });
  await other.enter("Anna");
  assert.equal(session.refresh(), true);
  assert.deepEqual([session.current.name, session.current.user, session.current.former], ["Anna", "g_t1", []]);
  assert.equal(session.refresh(), false);
});

test("what one was in another tab meanwhile is still oneself", async () => {
  const { host, storage, session } = await entered();
  const other = new Session({ storage, fetch: host.fetch });
  host.accepted.clear();
  await other.enter("Anna");
  host.accepted.clear();
  await session.enter("Anne");
  assert.deepEqual([...session.current.former].sort(), ["g_t1", "g_t2"]);
  assert.equal(session.current.user, "g_t3");
});

test("what the token says of a room is its most exact word", async () => {
  const { session } = await entered();
  const claims = (rooms) => `x.${Buffer.from(JSON.stringify({ rooms })).toString("base64url")}.x`;
  const levels = (rooms, ...names) => {
    session.current = { ...session.current, token: claims(rooms) };
    return names.map((name) => session.levelIn(name));
  };
  assert.deepEqual(levels({ "*": "moderate" }, "tea"), ["moderate"]);
  assert.deepEqual(levels({ "te*": "join", "*": "speak", "tea": "own", "teap*": "none" }, "tea", "ten", "teapot", "x"), ["own", "join", "none", "speak"]);
  assert.deepEqual(levels({ "te*": "join" }, "x"), [null]);
  assert.deepEqual(levels(undefined, "x"), [null]);
  session.current = { ...session.current, token: "t1" };
  assert.equal(session.levelIn("tea"), null);
});
