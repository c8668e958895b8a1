/** What is noted of a room, and what is reported: by every stock client, over each transport, in each log, over a restart. */

import "./support/polling.js";

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { MODERATES, OWNS, READS, V1, VERSIONS, inboxOf, join, ok, refused, roomOfEachShard, tab } from "./support/client.js";
import { LOGS, started } from "./support/server.js";

const TOPIC = "room:tea";

/** The lines of a trail, without their times, which must be there and never go back. */
function lines({ acts }) {
  const times = acts.map(({ at }) => at);
  assert.deepEqual(times, times.toSorted((one, other) => other - one));
  assert.ok(times.every((at) => Math.abs(at - Date.now()) < 600_000));
  return acts.map(({ at, ...line }) => line);
}

for (const client of VERSIONS) {
  const transports = { websocket: {}, "version 1": V1, polling: { transport: client.LongPoll } };
  for (const [transport, options] of Object.entries(transports)) {
    test(`phoenix ${client.version} over ${transport}: reports, and reads what was done`, async (t) => {
      const server = await started(t);
      const [mod, ann, zoe] = [["mod", MODERATES], ["ann"], ["zoe", READS]].map(([user, claims]) =>
        tab(t, server, user, { client, claims, ...options }));
      for (const topic of await roomOfEachShard(server, 2)) {
        const { channel } = await join(mod, topic);
        const { channel: author } = await join(ann, topic);
        const { channel: reader } = await join(zoe, topic);
        await ok(author.push("new_msg", { body: "spam" }));
        const heard = inboxOf(author, "msg_report", "msg_changed", "room_you");
        assert.deepEqual(await ok(reader.push("msg_report", { offset: 1, text: "sp\u00e4m" })), {});
        assert.deepEqual(await ok(reader.push("msg_report", { offset: 1 })), {}, "once");
        await ok(channel.push("msg_delete", { offset: 1 }));
        assert.equal((await heard.next())[0], "msg_changed", "nobody hears of a report");
        const trail = await ok(channel.push("room_audit", {}));
        assert.equal(trail.more, false);
        assert.deepEqual(lines(trail), [
          { n: 2, by: "mod", act: "msg_delete", user: "ann", offset: 1 },
          { n: 1, by: "zoe", act: "msg_report", user: "ann", offset: 1, text: "sp\u00e4m" },
        ]);
        assert.equal((await refused(author.push("room_audit", {}))).reason, "unauthorized");
      }
    });
  }
}

for (const [name, settings] of Object.entries(LOGS)) {
  describe(name, () => {
    test("what was done is there after a restart, line by line", async (t) => {
      const server = await started(t, { ...settings, "limits.search_per_s": 0 });
      const { channel } = await join(tab(t, server, "ann", { claims: OWNS }), TOPIC);
      const { channel: bob } = await join(tab(t, server, "bob"), TOPIC);
      await ok(bob.push("new_msg", { body: "one" }));
      const data = { a: [1.5, "\u{1f375}"] };
      await ok(channel.push("room_set", { title: "Tea", topic: null, slow_s: 0, data }));
      await ok(channel.push("room_set", { title: "Tea" }));
      await ok(channel.push("msg_pin", { offset: 1 }));
      await ok(bob.push("room_member", { user: "bob", role: "member" }));
      await ok(bob.push("msg_report", { offset: 1, text: "mine" }));
      await ok(channel.push("room_member", { user: "bob", muted_s: 60, reason: "loud" }));
      await ok(channel.push("room_member", { user: "cat", banned_s: -1, purge_s: 60 }));
      await ok(channel.push("room_member", { user: "bob", kick: true }));
      const expected = [
        { n: 6, by: "ann", act: "room_member", user: "bob", set: { kick: true } },
        { n: 5, by: "ann", act: "room_member", user: "cat", set: { banned_s: -1, purge_s: 60 } },
        { n: 4, by: "ann", act: "room_member", user: "bob", text: "loud", set: { muted_s: 60 } },
        { n: 3, by: "bob", act: "msg_report", user: "bob", offset: 1, text: "mine" },
        { n: 2, by: "ann", act: "msg_pin", user: "bob", offset: 1, set: { on: true } },
        { n: 1, by: "ann", act: "room_set", set: { title: "Tea", topic: null, slow_s: 0, data } },
      ];
      const look = async (channel) => {
        assert.deepEqual(lines(await ok(channel.push("room_audit", {}))), expected);
        const first = await ok(channel.push("room_audit", { limit: 2 }));
        assert.deepEqual([lines(first), first.more], [expected.slice(0, 2), true]);
        const next = await ok(channel.push("room_audit", { limit: 4, before: 5 }));
        assert.deepEqual([lines(next), next.more], [expected.slice(2), false]);
        const reports = await ok(channel.push("room_audit", { act: "msg_report" }));
        assert.deepEqual([lines(reports), reports.more], [[expected[3]], false]);
      };
      await look(channel);
      if (settings["store.path"] === "") return;
      await server.stop();
      await server.start();
      const { channel: again } = await join(tab(t, server, "ann", { claims: OWNS }), TOPIC);
      await look(again);
      await ok(again.push("room_member", { user: "cat", banned_s: 0 }));
      const [last] = lines(await ok(again.push("room_audit", { limit: 1 })));
      assert.deepEqual(last, { n: 7, by: "ann", act: "room_member", user: "cat", set: { banned_s: 0 } });
    });
  });
}
