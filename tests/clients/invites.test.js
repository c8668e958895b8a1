/** Invites: who makes them, and who comes in by them; by every stock client, over each transport, in each log. */

import "./support/polling.js";

import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { OWNS, V1, VERSIONS, join, ok, refused, roomOfEachShard, tab } from "./support/client.js";
import { LOGS, started } from "./support/server.js";

const TOPIC = "room:tea";
const WEEK_MS = 7 * 86_400_000;

for (const client of VERSIONS) {
  const transports = { websocket: {}, "version 1": V1, polling: { transport: client.LongPoll } };
  for (const [transport, options] of Object.entries(transports)) {
    test(`phoenix ${client.version} over ${transport}: comes into a private room by an invite`, async (t) => {
      const server = await started(t);
      const ann = tab(t, server, "ann", { client, claims: OWNS, ...options });
      for (const [index, topic] of (await roomOfEachShard(server, 2)).entries()) {
        const { channel } = await join(ann, topic);
        await ok(channel.push("room_set", { join: "members" }));
        const { invite, expires_at: expiresAt } = await ok(channel.push("room_invite", {}));
        assert.ok(Math.abs(expiresAt - Date.now() - WEEK_MS) < 60_000, expiresAt);
        const bob = tab(t, server, `bob-${index}`, { client, ...options });
        // A stock client tries again by itself, and then leaves what it has joined by the topic meanwhile.
        const outside = bob.channel(topic, {});
        assert.equal((await refused(outside.join())).reason, "unauthorized");
        outside.leave();
        const { response } = await join(bob, topic, { invite });
        assert.equal(response.you.role, "member");
        const { acts: [line] } = await ok(channel.push("room_audit", { limit: 1 }));
        const { at, n, ...rest } = line;
        const set = { role: "member", invite: true };
        assert.deepEqual(rest, { by: "ann", act: "room_member", user: `bob-${index}`, set });
      }
    });
  }
}

for (const [name, settings] of Object.entries(LOGS)) {
  describe(name, () => {
    test("an invite is good until it is taken back, over a restart where rooms are kept", async (t) => {
      const server = await started(t, settings);
      const { channel } = await join(tab(t, server, "ann", { claims: OWNS }), TOPIC);
      await ok(channel.push("room_set", { join: "members", invite: "members" }));
      const { invite } = await ok(channel.push("room_invite", { for_s: 3_600 }));
      const { channel: bob } = await join(tab(t, server, "bob"), TOPIC, { invite });
      const { invite: again } = await ok(bob.push("room_invite", {}));
      await join(tab(t, server, "cat"), TOPIC, { invite: again });
      if (settings["store.path"] !== "") {
        await server.stop();
        await server.start();
        await join(tab(t, server, "dan"), TOPIC, { invite });
        await join(tab(t, server, "cat"), TOPIC);
      }
      const { channel: owner } = await join(tab(t, server, "ann", { claims: OWNS }), TOPIC);
      const room = await ok(owner.push("room_set", { revoke_invites: true }));
      assert.equal(room.invites, 1);
      for (const none of [invite, again, "inv_x", ""]) {
        const eve = tab(t, server, "eve").channel(TOPIC, { invite: none });
        assert.equal((await refused(eve.join())).reason, "unauthorized", none);
      }
      const { response } = await join(tab(t, server, "bob"), TOPIC, { invite });
      assert.equal(response.you.role, "member", "whoever is in needs none");
    });
  });
}
