/** Folders that go when the process ends. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folders = [];
process.on("exit", () => {
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

/** A new one, in which a server may keep what is said. */
export function newFolder() {
  const folder = mkdtempSync(join(tmpdir(), "chinwag-test-"));
  folders.push(folder);
  return folder;
}
