/**
 * Who knows only `new_msg` is sent what it was sent before messages could become anything, byte for byte: by every stock
 * client, over each transport, in each log, while others use every verb in its room.
 */

import "./support/polling.js";

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";

import { OWNS, VERSIONS, join, ok, tab } from "./support/client.js";
import { pushes } from "./support/protocol.js";
import { TOPIC, recorded, transportsOf } from "./support/recording.js";
import { LOGS, started } from "./support/server.js";

const RECORDED = JSON.parse(readFileSync(new URL("recorded.json", import.meta.url), "utf8"));

/** What the client itself pushes. */
const OWN = ["new_msg", "history", "msg_search", "echo", "typing"];

/** What it may be told of besides, and does not know. */
const UNKNOWN = ["msg_changed", "room_changed", "presence_diff", "presence_state"];

/** Others who use every verb, in each pause of the one who is recorded. */
async function inventive(t, server) {
  const used = new Set();
  const push = (channel, event, payload) => {
    used.add(event);
    return ok(channel.push(event, payload));
  };
  const { channel: mod } = await join(tab(t, server, "mod", { claims: OWNS }), TOPIC, { presence: false });
  const others = {
    used,
    seven: { stream: true, data: { a: 1 }, mentions: ["ann"], reply_to: 2 },

    async talk(kim) {
      await push(kim, "msg_edit", { offset: 3, body: "tres", data: { a: [1.5] }, mentions: ["ann"] });
      await push(mod, "msg_react", { offset: 3, emoji: "\u{1f44d}" });
      await push(mod, "msg_pin", { offset: 3 });
      await push(mod, "room_set", { topic: "x", slow_s: 0, react: "all", links: false, data: { a: 1 } });
      await push(kim, "room_meta", { meta: { status: "busy" } });
      await push(mod, "access_token", { token: server.token("mod", OWNS) });
    },

    async ask(kim, bob) {
      for (const more of [{ muted_s: 60 }, { banned_s: 60 }, { muted_s: 0, banned_s: 0 }, { kick: true, purge_s: 60 }]) {
        await push(mod, "room_member", { user: "zoe", ...more });
      }
      await push(mod, "room_member", { user: "bob", role: "moderator" });
      await push(bob, "room_member", { user: "bob", role: null });
      await push(mod, "room_members", {});
      await push(mod, "msg_report", { offset: 1 });
      await push(mod, "room_audit", {});
    },

    async go(kim) {
      await push(mod, "msg_pin", { offset: 3, on: false });
      await push(kim, "msg_delete", { offset: 3 });
      await push(mod, "room_set", { topic: null, react: "speakers", links: true, data: null });
    },

    async end(kim) {
      kim.push("typing", { thread: 2 });
      await push(kim, "msg_append", { offset: 7, text: " of nine", done: true });
      await push(mod, "room_invite", {});
    },
  };
  return others;
}

for (const log of ["in memory", "in a store", "in a store that shows what it has kept"]) {
  describe(log, { concurrency: 3 }, () => {
    for (const client of VERSIONS) {
      for (const [transport, options] of Object.entries(transportsOf(client))) {
        const name = `phoenix ${client.version} over ${transport}`;
        test(`${name}: all that it knows is as it was`, async (t) => {
          const server = await started(t, { ...LOGS[log], "limits.search_per_s": 0 });
          const others = await inventive(t, server);
          const { frames, unknown } = await recorded(t, server, { client, options, others });
          assert.deepEqual(frames, RECORDED[name]);
          const told = unknown.map((frame) => UNKNOWN.find((event) => frame.includes(`"${event}"`)));
          assert.ok(!told.includes(undefined), "nothing else");
          for (const event of ["msg_changed", "room_changed"]) assert.ok(told.includes(event), event);
          assert.deepEqual(pushes().filter((verb) => !OWN.includes(verb) && !others.used.has(verb)), [], "verbs unused");
        });
      }
    }
  });
}
