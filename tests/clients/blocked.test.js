/** Phrases that messages may not have: by every stock client, over each transport, in memory and in a store. */

import "./support/polling.js";

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join as within } from "node:path";
import { test } from "node:test";

import { MODERATES, V1, VERSIONS, inboxOf, join, ok, refused, tab } from "./support/client.js";
import { newFolder } from "./support/folder.js";
import { Server, started } from "./support/server.js";

const TOPIC = "room:tea";
const REJECTED = { reason: "rejected", text: "the message has words that are not taken here" };
const LOGS = { "in memory": { "store.path": "" }, "in a store": {} };

const TAKEN = ["concat", "Käsebrot", "free-money", "$money free", "\u{1f600}"];
const NOT_TAKEN = ["CAT", "a cat.", "\u00abk\u00c4SE\u00bb", "free \n money", "_cat_", 'a "cat" \\ dog'];

/** A file of phrases. */
function phrases(text) {
  const path = within(newFolder(), "blocked.txt");
  writeFileSync(path, text);
  return { "chat.blocked_file": path };
}

for (const [log, settings] of Object.entries(LOGS)) {
  for (const client of VERSIONS) {
    const transports = { websocket: {}, "version 1": V1, polling: { transport: client.LongPoll } };
    for (const [transport, options] of Object.entries(transports)) {
      test(`phoenix ${client.version} over ${transport}, ${log}: what is not taken is not heard`, async (t) => {
        const server = await started(t, { ...settings, ...phrases("# animals\ncat\n\nkäse\r\nFree Money\n") });
        const moderator = tab(t, server, "mod", { claims: MODERATES, client, ...options });
        const { channel: mod } = await join(moderator, TOPIC);
        const { channel: bob } = await join(tab(t, server, "bob", { client, ...options }), TOPIC);
        const heard = inboxOf(mod, "new_msg", "msg_changed");
        for (const body of NOT_TAKEN) assert.deepEqual(await refused(bob.push("new_msg", { body })), REJECTED, body);
        for (const body of TAKEN) await ok(bob.push("new_msg", { body }));
        for (const body of NOT_TAKEN) {
          assert.deepEqual(await refused(bob.push("msg_edit", { offset: 1, body })), REJECTED, body);
        }
        await ok(bob.push("msg_edit", { offset: 1, body: "cats" }));
        // What an application says is its own matter, and so is what is beside a text.
        await ok(bob.push("drawing", { body: "cat" }));
        await ok(bob.push("new_msg", { body: "x", data: { text: "cat" } }));
        await ok(mod.push("new_msg", { body: "cat" }));
        const bodies = [];
        while (bodies.at(-1) !== "cat") bodies.push((await heard.next())[1].body);
        assert.deepEqual(bodies, [...TAKEN, "cats", "x", "cat"]);
      });
    }
  }
}

test("an owner is as free as a moderator, and who is none any more is not", async (t) => {
  const server = await started(t, phrases("cat\n"));
  const headers = { authorization: `Bearer ${server.token("ann")}` };
  const body = JSON.stringify({ room: "tea" });
  assert.equal((await fetch(`${server.http}/api/rooms`, { method: "POST", headers, body })).status, 201);
  const { channel: ann } = await join(tab(t, server, "ann"), TOPIC);
  const { channel: bob } = await join(tab(t, server, "bob"), TOPIC);
  await ok(ann.push("new_msg", { body: "a cat" }));
  await ok(ann.push("room_member", { user: "bob", role: "moderator" }));
  const { offset } = await ok(bob.push("new_msg", { body: "a cat" }));
  await ok(ann.push("room_member", { user: "bob", role: "member" }));
  assert.deepEqual(await refused(bob.push("new_msg", { body: "a cat" })), REJECTED);
  assert.deepEqual(await refused(bob.push("msg_edit", { offset, body: "the cat" })), REJECTED);
  await ok(bob.push("msg_edit", { offset, body: "a dog" }));
});

test("without a file, and with one that has only comments, all is taken", async (t) => {
  for (const settings of [{}, phrases("# cat\n\n")]) {
    const server = await started(t, settings);
    const { channel } = await join(tab(t, server, "ann"), TOPIC);
    await ok(channel.push("new_msg", { body: "# cat" }));
  }
});

test("a file that is not good keeps the server from starting, and is said by its lines", async () => {
  const good = "cat\n";
  const bad = `${good}\ndo\u0007g\n${"x".repeat(257)}\n`;
  const { "chat.blocked_file": path } = phrases(bad);
  const error = await Server.start({ settings: { "chat.blocked_file": path } }).then(
    () => assert.fail("it starts"),
    ({ message }) => message,
  );
  assert.match(error, /ended with 78/);
  assert.ok(error.includes(`${path}:3: has a control character`), error);
  assert.ok(error.includes(`${path}:4: has 257 bytes, and may have 256`), error);
  const settings = { "chat.blocked_file": `${path}.none` };
  const none = await Server.start({ settings }).catch(({ message }) => message);
  assert.match(none, /chat\.blocked_file: .*blocked\.txt\.none: No such file/);
});
