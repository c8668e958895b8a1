/**
 * Blocks of code in README and the pages below `docs` parse, by the program that each is for. That they do what a page
 * says is for others: tests/readme, and for the clients of `docs/clients.md` tests/clients.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";

import { blocks } from "./blocks.mjs";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));

const folder = mkdtempSync(join(tmpdir(), "chinwag-pages-"));
after(() => rmSync(folder, { recursive: true, force: true }));

/** By language: what reads a block from its file, and does nothing else; and how the file's name ends. */
const PARSERS = {
  sh: { ending: "sh", command: ["bash", "-n"] },
  js: { ending: "mjs", command: [process.execPath, "--check"] },
  python: { ending: "py", command: ["python3", "-c", "import ast, sys; ast.parse(open(sys.argv[1]).read())"] },
};

/** The blocks of a page that somebody parses. */
const parsed = (page) => blocks(page).filter(({ language }) => language in PARSERS);

/** What is wrong with a block; an empty text, if nothing is. */
function fault({ language, text }) {
  const { ending, command } = PARSERS[language];
  const file = join(folder, `block.${ending}`);
  writeFileSync(file, text);
  const [program, ...args] = [...command, file];
  const { status, stderr, error } = spawnSync(program, args, { encoding: "utf8" });
  if (error) throw error;
  return status === 0 ? "" : stderr || `it ends with ${status}`;
}

const docs = readdirSync(join(ROOT, "docs"), { recursive: true }).filter((name) => name.endsWith(".md"));
const pages = ["README.md", ...docs.map((name) => `docs/${name}`)];
for (const name of pages) {
  for (const block of parsed(readFileSync(join(ROOT, name), "utf8"))) {
    test(`${name}:${block.line}, ${block.language}`, () => assert.equal(fault(block), ""));
  }
}

test("a block that does not parse is seen, and one that does is not", () => {
  const page = (language, text) => `# A page\n\n  \`\`\`${language}\n  ${text}\n  \`\`\`\n`;
  for (const [language, good, bad] of [
    ["sh", "for a in b; do c; done", "for a in b; do c"],
    ["js", 'import a from "a";', 'import a frm "a";'],
    ["python", "print(f'{a}')", "print(f'{a'"],
  ]) {
    const [right, wrong] = [good, bad].map((text) => parsed(page(language, text)));
    assert.deepEqual(right, [{ language, text: `${good}\n`, line: 4 }]);
    assert.equal(fault(right[0]), "");
    assert.notEqual(fault(wrong[0]), "");
  }
  assert.deepEqual(parsed(page("text", "a")), []);
});
