/** Who makes rooms: by joining them, or on purpose only. By every stock client, in memory, in a store, over a restart. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { VERSIONS, inboxOf, join, ok, refused, tab } from "./support/client.js";
import { newFolder } from "./support/folder.js";
import { started } from "./support/server.js";

const LOGS = {
  "in memory": () => ({ "store.path": "" }),
  "in a store": () => ({ "store.path": newFolder() }),
};
const ON_PURPOSE = { "chat.implicit_rooms": false };

/** Asks for a room to be made: the status, and the body. */
async function made(server, user, room) {
  const response = await fetch(`${server.http}/api/rooms`, {
    method: "POST",
    headers: { authorization: `Bearer ${server.token(user)}` },
    body: JSON.stringify({ room }),
  });
  return [response.status, await response.json()];
}

/** The names in the list of rooms. */
async function listed(server, user) {
  const headers = { authorization: `Bearer ${server.token(user)}` };
  const { rooms } = await (await fetch(`${server.http}/api/rooms`, { headers })).json();
  return rooms.map(({ room }) => room);
}

/** Waits until something is so: lists and counts are told after a moment. */
async function until(what, isSo) {
  for (let tries = 0; !(await isSo()); tries += 1) assert.ok(tries < 1_000, what);
}

/** How many rooms are in memory, as the server counts them. */
async function counted(server) {
  const text = await (await fetch(`${server.http}/metrics`)).text();
  return Number(/^chinwag_rooms (\d+)$/m.exec(text)[1]);
}

for (const [log, settings] of Object.entries(LOGS)) {
  for (const shards of [1, 2]) {
    describe(`${log}, ${shards} shards`, () => {
      for (const client of VERSIONS) {
        test(`phoenix ${client.version}: a room that is not there is as one that is private`, async (t) => {
          const rates = { "limits.rooms_per_s": 1, "limits.rooms_burst": 2, "http.metrics": true };
          const server = await started(t, { ...settings(), ...ON_PURPOSE, ...rates }, shards);
          for (const room of ["private", "open"]) assert.equal((await made(server, "ann", room))[0], 201);
          const { channel } = await join(tab(t, server, "ann", { client }), "room:private");
          await ok(channel.push("room_set", { join: "members" }));
          const lobby = tab(t, server, "cat").channel("lobby", {});
          const news = inboxOf(lobby, "rooms");
          await ok(lobby.join());
          const socket = tab(t, server, "bob", { client });
          // Of each shard some are at home there.
          const names = ["private", "a", "b", "c", "d", "e", "f", "private"];
          for (const name of names) {
            // A stock client asks again by itself: it is told the same.
            const asked = socket.channel(`room:${name}`, {});
            assert.deepEqual(await refused(asked.join()), { reason: "unauthorized" }, name);
            asked.leave();
          }
          const { channel: open } = await join(socket, "room:open");
          assert.equal((await ok(open.push("new_msg", { body: "hi" }))).offset, 1);
          await until("no room is left of it", async () => (await counted(server)) === 2);
          assert.ok(!news.items.some(([, told]) => /"[a-f]"/.test(JSON.stringify(told))), "nobody was told of it");
          await until("one is open", async () => `${await listed(server, "bob")}` === "open");
          assert.equal((await made(server, "bob", "mine"))[0], 201, "and nothing was taken from what bob may make");
          await join(socket, "room:mine");
        });
      }
    });
  }
}

test("what was said in a room that was made by joining it is there when rooms are made on purpose", async (t) => {
  for (const shards of [1, 2]) {
    const store = { "store.path": newFolder() };
    const before = await started(t, store, shards);
    const ann = tab(t, before, "ann");
    const { channel: said } = await join(ann, "room:said");
    await ok(said.push("new_msg", { body: "hi" }));
    await join(ann, "room:silent");
    assert.equal((await made(before, "ann", "made"))[0], 201);
    ann.disconnect();
    assert.equal(await before.stop(), 0);

    const server = await started(t, { ...store, ...ON_PURPOSE }, shards);
    const bob = tab(t, server, "bob");
    const { response } = await join(bob, "room:said");
    assert.deepEqual(response.messages.map(({ body }) => body), ["hi"]);
    await join(bob, "room:made");
    assert.equal((await refused(bob.channel("room:silent", {}).join())).reason, "unauthorized");
    await join(bob, "user:bob");
    await server.stop();
  }
});

test("where only keys make rooms no token does, and joining one is another matter", async (t) => {
  for (const implicit of [true, false]) {
    const only = { "chat.create_rooms": "keys", "chat.implicit_rooms": implicit };
    const server = await started(t, only);
    const forbidden = { error: { message: "no user's token makes rooms here", reason: "forbidden" } };
    assert.deepEqual(await made(server, "ann", "tea"), [403, forbidden]);
    const tea = tab(t, server, "ann").channel("room:tea", {});
    if (implicit) {
      const { you } = await ok(tea.join());
      assert.equal(you.role, undefined, "and nobody owns it");
      assert.deepEqual(await made(server, "ann", "tea"), [403, forbidden], "whether it is there or not");
    } else {
      assert.deepEqual(await refused(tea.join()), { reason: "unauthorized" });
    }
    const anonymous = await fetch(`${server.http}/api/rooms`, { method: "POST", body: "{}" });
    assert.equal(anonymous.status, 401);
  }
});
