/**
 * Fetches and builds the clients in other languages, for `others.test.js`. That may take minutes, and there is no limit to it: what a test
 * waits for must not depend on how fast the machine compiles.
 */

import { execFileSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";

import { TARGET, path, rustExample } from "./examples.js";

const run = (command, ...args) => execFileSync(command, args, { stdio: ["ignore", "ignore", "inherit"] });

mkdirSync(TARGET, { recursive: true });

run("npm", "--prefix", path("."), "ci", "--ignore-scripts", "--silent", "--no-audit", "--no-fund");

run("python3", "-m", "venv", `${TARGET}/python`);
run(`${TARGET}/python/bin/pip`, "install", "--quiet", "--disable-pip-version-check", "-r", path("requirements.txt"));

writeFileSync(`${TARGET}/example.rs`, rustExample());
run("cargo", "build", "--quiet", "--locked", "--manifest-path", path("rust/Cargo.toml"), "--target-dir", TARGET);
