/**
 * Writes `recorded.json`: what stock clients are sent by a server of which nothing but `new_msg` can be asked. To be run
 * with such a server, the last of which is that of commit c40ebd2:
 *
 *     CHINWAG_BIN=.../chinwag node record.js
 */

import "./support/polling.js";

import { writeFileSync } from "node:fs";

import { VERSIONS } from "./support/client.js";
import { recorded, transportsOf } from "./support/recording.js";
import { Server } from "./support/server.js";

const all = {};
for (const client of VERSIONS) {
  for (const [transport, options] of Object.entries(transportsOf(client))) {
    const ends = [];
    const t = { after: (end) => ends.push(end) };
    const server = await Server.start({ settings: { "store.path": "", "limits.search_per_s": 0 } });
    const { frames } = await recorded(t, server, { client, options });
    all[`phoenix ${client.version} over ${transport}`] = frames;
    for (const end of ends) end();
    await server.stop();
  }
}
writeFileSync(new URL("recorded.json", import.meta.url), `${JSON.stringify(all, null, 1)}\n`);
