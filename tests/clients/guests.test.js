/** Guests: who stays the same user under another name, and who does not. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { MODERATES, VERSIONS, WebSocket, join, ok, tab } from "./support/client.js";
import { started } from "./support/server.js";

const guests = { "auth.guests": true };

async function session(server, name, token, scheme = "Bearer") {
  const headers = { "Content-Type": "application/json", ...(token && { Authorization: `${scheme} ${token}` }) };
  const answer = await fetch(`${server.http}/api/session`, { method: "POST", headers, body: JSON.stringify({ name }) });
  return { status: answer.status, ...(await answer.json()) };
}

test("a guest under another name is the same user, with its role and its messages", async (t) => {
  const server = await started(t, guests);
  const ann = await session(server, "Ann");
  const as = ({ token }) => tab(t, server, "", { client: VERSIONS.at(-1), params: { token }, transport: WebSocket });
  const { channel: before } = await join(as(ann), "room:tea");
  await ok(before.push("new_msg", { body: "hi" }));
  const { channel: mod } = await join(tab(t, server, "mod", { claims: MODERATES }), "room:tea");
  await ok(mod.push("room_member", { user: ann.user, role: "member" }));

  const anna = await session(server, "Anna", ann.token);
  assert.deepEqual([anna.status, anna.user, anna.name], [201, ann.user, "Anna"]);
  assert.notEqual(anna.token, ann.token);
  const { channel, response } = await join(as(anna), "room:tea");
  const { user, name, role } = response.you;
  assert.deepEqual([user, name, role], [ann.user, "Anna", "member"]);
  assert.deepEqual(await ok(channel.push("msg_edit", { offset: 1, body: "hello" })), { change: 1 });
  // Again, and on the connection that there is.
  const anne = await session(server, "Anne", anna.token);
  assert.equal(anne.user, ann.user);
  assert.equal((await ok(before.push("access_token", { token: anne.token }))).user, ann.user);
});

test("only a guest's token keeps its user", async (t) => {
  const server = await started(t, guests);
  const ann = await session(server, "Ann");
  for (const token of [
    server.token("bob"),
    server.token(ann.user),
    server.token("bob", { guest: "true" }),
    server.token("bob", { guest: true, rooms: { "*": "join" } }),
    server.token("bob", { guest: true, exp: 1 }),
    `${ann.token}x`,
    "x",
  ]) {
    const { status, error } = await session(server, "Eve", token);
    assert.deepEqual([status, error.reason], [401, "unauthorized"], token);
  }
  assert.equal((await session(server, "Eve", ann.token, "Basic")).status, 401);
  const eve = await session(server, "Eve");
  assert.equal(eve.status, 201);
  assert.notEqual(eve.user, ann.user);
  assert.equal((await session(server, "a\nb", ann.token)).status, 400);
});
