/**
 * What becomes of messages, by every stock client, whatever its version, its transport and the number of shards.
 *
 * A `View` merges what it is told as a client should: a patch or a whole message, only if its change is later than the
 * one that it has. How often a message was answered it counts as docs/protocol.md says.
 */

import assert from "node:assert/strict";
import { test } from "node:test";

import { Inbox, MODERATES, inboxOf, join, leave, ok, roomName, roomOfEachShard, tab as tabOf } from "./client.js";

/** What a client knows of a room. */
export class View {
  messages = new Map();
  cursor = null;
  changes = new Inbox("changes");

  constructor(channel) {
    channel.on("new_msg", (message) => this.said(message));
    channel.on("msg_changed", (patch) => this.patch(patch));
  }

  joined(response) {
    for (const message of response.messages) {
      if (response.recovered) this.said(message);
      else this.whole(message);
    }
    for (const message of response.changed ?? []) this.whole(message);
    this.cursor = { epoch: response.epoch, offset: response.offset, change: response.change };
  }

  said(message) {
    const root = this.messages.get(message.thread);
    const { count = 0, last = 0 } = root?.replies ?? {};
    if (root && message.offset > last) root.replies = { count: count + 1, last: message.offset };
    this.whole(message);
  }

  whole(message) {
    const mine = this.messages.get(message.offset);
    const counted = (mine?.replies?.last ?? 0) > (message.replies?.last ?? 0) ? mine : message;
    const newest = !mine || (message.change ?? 0) > (mine.change ?? 0) ? message : mine;
    this.messages.set(message.offset, counted.replies ? { ...newest, replies: counted.replies } : newest);
    if (this.cursor) this.cursor.offset = Math.max(this.cursor.offset, message.offset);
  }

  patch(patch) {
    assert.equal(patch.change, this.cursor.change + 1, "changes come without a gap");
    this.cursor.change = patch.change;
    const mine = this.messages.get(patch.offset);
    const { prev, append, by, ...fields } = patch;
    if (mine && patch.change > (mine.change ?? 0)) {
      if (append !== undefined) {
        assert.equal(prev, mine.change ?? 0, "what is appended belongs behind what was there");
        mine.body += append;
      }
      for (const [name, value] of Object.entries(fields)) {
        if (value === null) delete mine[name];
        else mine[name] = value;
      }
    }
    this.changes.put(patch);
  }

  get list() {
    return [...this.messages.values()].sort((one, other) => one.offset - other.offset);
  }
}

/** Joins, with a view of the room. */
export async function look(socket, topic, params = {}) {
  const channel = socket.channel(topic, params);
  const view = new View(channel);
  const response = await ok(channel.join());
  view.joined(response);
  return { channel, view, response };
}

/** All that is in a room, as a newcomer sees it. */
export async function page(socket, topic) {
  const { channel, response } = await join(socket, topic);
  await leave(channel);
  return response.messages;
}

/** The tests that hold over any transport; `options` are those of the client's socket. */
export function verbs({ client, server, shards, options }) {
  const tab = (t, user, claims) => tabOf(t, server(), user, { claims, client, ...options });

  test("edits, deletes and pins, and everybody is told what has changed", async (t) => {
    const [ann, bob, mod, zoe] = [tab(t, "ann"), tab(t, "bob"), tab(t, "mod", MODERATES), tab(t, "zoe")];
    for (const topic of await roomOfEachShard(server(), shards)) {
      const { channel, view } = await look(ann, topic);
      const { view: other } = await look(bob, topic);
      const { channel: moderator } = await join(mod, topic);
      const data = { file: "cat.png", n: 1 };
      for (const body of ["one", "two", "three"]) await ok(channel.push("new_msg", { body, data, mentions: ["bob"] }));
      assert.deepEqual(await ok(channel.push("msg_edit", { offset: 1, body: "uno", data: null })), { change: 1 });
      assert.deepEqual(await ok(moderator.push("msg_pin", { offset: 1 })), { change: 2 });
      assert.deepEqual(await ok(moderator.push("msg_delete", { offset: 2 })), { change: 3 });
      const [edit, pin, gone] = [await other.changes.next(), await other.changes.next(), await other.changes.next()];
      const { at } = edit.edited;
      assert.deepEqual(edit, { change: 1, offset: 1, body: "uno", data: null, edited: { at } });
      assert.deepEqual(pin, { change: 2, offset: 1, pinned: { at: pin.pinned.at, by: "mod" } });
      const deleted = { at: gone.deleted.at, by: "mod" };
      assert.deepEqual(gone, { change: 3, offset: 2, body: "", data: null, mentions: null, deleted });

      for (let count = 0; count < 3; count += 1) await view.changes.next();
      assert.deepEqual(view.list, other.list);
      assert.deepEqual(await page(zoe, topic), other.list, "and a newcomer sees the same");
      const [first, second, third] = other.list;
      assert.deepEqual([first.body, first.change, first.data, first.mentions], ["uno", 2, undefined, ["bob"]]);
      assert.deepEqual(Object.keys(second).sort(), ["at", "body", "change", "deleted", "id", "name", "offset", "user"]);
      assert.deepEqual([third.body, third.data, third.change], ["three", data, undefined]);
    }
  });

  test("does once what it asks for twice", async (t) => {
    const { channel, view } = await look(tab(t, "ann"), roomName());
    await ok(channel.push("new_msg", { body: "one" }));
    assert.deepEqual(await ok(channel.push("msg_edit", { offset: 1, body: "one" })), { change: 0 }, "it is so already");
    assert.deepEqual(await ok(channel.push("msg_delete", { offset: 1 })), { change: 1 });
    assert.deepEqual(await ok(channel.push("msg_delete", { offset: 1 })), { change: 1 });
    await view.changes.next();
    assert.equal(view.changes.items.length, 0);
  });

  test("answers, and is in the thread of what it answers", async (t) => {
    const topic = roomName();
    const { channel, view } = await look(tab(t, "ann"), topic);
    await ok(channel.push("new_msg", { body: "root" }));
    await ok(channel.push("new_msg", { body: "answer", reply_to: 1 }));
    await ok(channel.push("new_msg", { body: "answer to that", reply_to: 2 }));
    assert.deepEqual(view.list.map(({ reply_to, thread }) => [reply_to, thread]), [
      [undefined, undefined],
      [1, 1],
      [2, 1],
    ]);
    const { channel: other } = await join(tab(t, "bob"), topic);
    const typing = inboxOf(other, "typing");
    channel.push("typing", { thread: 1 });
    assert.deepEqual((await typing.next())[1], { name: "ann", thread: 1, user: "ann" });
  });

  test("comes back and is told exactly what has become of what it has", async (t) => {
    const [ann, bob, zoe] = [tab(t, "ann"), tab(t, "bob"), tab(t, "zoe")];
    for (const topic of await roomOfEachShard(server(), shards)) {
      const { channel } = await look(ann, topic);
      const { channel: gone, view } = await look(bob, topic);
      for (const body of ["one", "two", "three"]) await ok(channel.push("new_msg", { body }));
      await ok(channel.push("msg_edit", { offset: 3, body: "tres" }));
      await view.changes.next();
      await leave(gone);
      await ok(channel.push("msg_edit", { offset: 1, body: "uno" }));
      await ok(channel.push("msg_edit", { offset: 1, body: "eins" }));
      await ok(channel.push("msg_delete", { offset: 2 }));
      await ok(channel.push("new_msg", { body: "four" }));
      await ok(channel.push("msg_edit", { offset: 4, body: "cuatro" }));
      const { epoch, offset, change } = view.cursor;
      const { channel: back, response } = await look(bob, topic, { since: { epoch, offset, change } });
      assert.equal(response.recovered, true);
      assert.deepEqual(response.messages.map(({ body, change }) => [body, change]), [["cuatro", 5]]);
      assert.deepEqual(response.changed.map(({ offset, body, change }) => [offset, body, change]), [
        [1, "eins", 3],
        [2, "", 4],
      ]);
      view.joined(response);
      assert.deepEqual(view.list, await page(zoe, topic));
      await leave(back);
      // A client that knows of no changes is told none.
      const { channel: old, response: plain } = await look(bob, topic, { since: { epoch, offset } });
      assert.deepEqual([plain.recovered, plain.messages.length, plain.changed], [true, 1, undefined]);
      await leave(old);
    }
  });
}
