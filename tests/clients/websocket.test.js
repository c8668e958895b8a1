/** The stock JavaScript clients over WebSocket, against the real server. */

import { after, before, describe } from "node:test";

import { V1, VERSIONS } from "./support/client.js";
import { Server } from "./support/server.js";
import { channels } from "./support/suite.js";

for (const shards of [1, 2]) {
  describe(`with ${shards} shard${shards === 1 ? "" : "s"}`, () => {
    let server;
    before(async () => {
      server = await Server.start({ shards });
    });
    after(() => server.stop());

    for (const client of VERSIONS) {
      describe(`phoenix ${client.version}`, () => channels({ client, server: () => server, shards, options: {} }));
      describe(`phoenix ${client.version} speaking V1`, () =>
        channels({ client, server: () => server, shards, options: V1 }));
    }
  });
}
