/**
 * A real engine, which keeps rooms for nodes: Valkey or Redis, on a port of its own, with nothing on disk.
 *
 * It is `CHINWAG_VALKEY`, as `tests/engine/valkey` prints it, or `CHINWAG_REDIS`, or else the installed `redis-server`.
 */

import { spawn } from "node:child_process";
import { createServer } from "node:net";

import { newFolder } from "./folder.js";

const PROGRAM = process.env.CHINWAG_VALKEY ?? process.env.CHINWAG_REDIS ?? "redis-server";

/** What is still running when a test file ends in the middle. */
const running = new Set();
// Before their folders go.
process.prependListener("exit", () => {
  for (const child of running) child.kill("SIGKILL");
});

async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Starts one. Resolves with `{url, stop}`. */
export async function engine() {
  const port = await freePort();
  const settings = ["--port", `${port}`, "--bind", "127.0.0.1", "--save", "", "--dir", newFolder()];
  const child = spawn(PROGRAM, settings, { stdio: ["ignore", "pipe", "inherit"] });
  running.add(child);
  child.once("exit", () => running.delete(child));
  await new Promise((resolve, reject) => {
    let said = "";
    // It must not wait for a reader, so all is read.
    child.stdout.on("data", (text) => {
      if (said !== null) said += text;
      if (!said?.includes("Ready to accept connections")) return;
      said = null;
      resolve();
    });
    child.once("error", (error) => reject(new Error(`no engine, see docs/testing.md: ${error.message}`)));
    child.once("exit", (code) => reject(new Error(`the engine ended with ${code}: ${said}`)));
  });
  return { url: `redis://127.0.0.1:${port}`, stop: () => child.kill("SIGKILL") };
}
