/**
 * What the page's test needs around it: the real server on a port of its own with a store of its own, a wire that can be
 * cut, and Chromium.
 *
 * `CHINWAG_BIN` names the server (default: the release build), `CHROMIUM` the browser. With
 * `CHINWAG_WEB` the page's files come from this folder, with the server's headers: work on the page
 * then needs no build of the server, whose files they are otherwise.
 */
import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { connect, createServer } from "node:net";
import { extname, join } from "node:path";
import { after, afterEach } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { newFolder } from "../clients/support/folder.js";

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const BINARY = process.env.CHINWAG_BIN ?? here("../../target/release/chinwag");
const WEB = process.env.CHINWAG_WEB;
const SCREENSHOTS = here("screenshots/");
/** The server reads its configuration from CHINWAG_* too, and would take our own variable for a mistake. */
const SERVER_ENV = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("CHINWAG_")));
const READY_WITHIN_MS = 10_000;
const MEDIA_TYPES = {
  ".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
  ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
};
const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

export async function freePort() {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address();
  server.close();
  await once(server, "close");
  return port;
}

/** The server, listening on `port` once `start` is done. */
export class Server {
  #process = null;
  #settings;

  /** `settings` as for `--set`: `{"history.messages": 10}`. */
  constructor(port, settings = {}) {
    const all = { "store.path": newFolder(), ...settings };
    this.#settings = Object.entries(all).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
    this.port = port;
    this.url = `http://127.0.0.1:${port}`;
    this.socket = `ws://127.0.0.1:${port}/socket`;
  }

  /** A token as an operator makes one; `options` as for `chinwag token`. */
  token(user, ...options) {
    const args = ["token", "--user", user, ...options, ...this.#settings];
    return execFileSync(BINARY, args, { env: SERVER_ENV, encoding: "utf8" }).trim();
  }

  /** Takes in what an export has, before the first start. */
  import(lines) {
    const input = `${lines.join("\n")}\n`;
    execFileSync(BINARY, ["import", ...this.#settings], { env: SERVER_ENV, input, stdio: ["pipe", "ignore", "inherit"] });
  }

  async start() {
    this.#process = spawn(BINARY, ["--listen", `127.0.0.1:${this.port}`, ...this.#settings], {
      stdio: ["ignore", "ignore", "inherit"], env: SERVER_ENV,
    });
    const failed = once(this.#process, "exit").then(([code]) => { throw new Error(`${BINARY} ended with ${code}`); });
    failed.catch(() => {});
    await once(this.#process, "spawn");
    const deadline = Date.now() + READY_WITHIN_MS;
    while (!(await fetch(`${this.url}/readyz`).then(({ ok }) => ok, () => false))) {
      if (Date.now() > deadline) throw new Error("the server is not ready");
      await Promise.race([failed, new Promise((resolve) => setTimeout(resolve, 20))]);
    }
  }

  async stop(signal = "SIGTERM") {
    if (!this.#process || this.#process.exitCode !== null || this.#process.signalCode !== null) return;
    const exit = once(this.#process, "exit");
    this.#process.kill(signal);
    await exit;
  }
}

/** A wire between page and server that the test can cut: connections break at once, and new ones are not accepted. */
export class Wire {
  #server; #sockets = new Set(); #answers = new Set(); #cut = false;

  constructor(targetPort) {
    this.#server = createServer((near) => {
      if (this.#cut) return near.destroy();
      const far = connect(targetPort, "127.0.0.1");
      for (const [socket, other] of [[near, far], [far, near]]) {
        this.#sockets.add(socket);
        socket.on("error", () => {});
        socket.on("close", () => {
          this.#sockets.delete(socket);
          other.destroy();
        });
      }
      near.pipe(far).pipe(near);
      this.#answers.add(far);
      far.on("close", () => this.#answers.delete(far));
    });
  }

  async open() {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server, "listening");
    this.url = `http://127.0.0.1:${this.#server.address().port}`;
  }

  cut() {
    this.#cut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  /** Until the cut, what the server says does not arrive; what is said to it does. */
  swallowAnswers() {
    for (const far of this.#answers) far.unpipe().resume();
  }

  mend() { this.#cut = false; }

  close() {
    this.cut();
    this.#server.close();
  }
}

/** Chromium, with `more` arguments. */
export function launch(...more) {
  mkdirSync(SCREENSHOTS, { recursive: true });
  return chromium.launch({
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
    args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run", ...more],
  });
}

/**
 * What the tests of one file share: a browser, and a server with these `settings`, until the last
 * of them is done. Who came and which wires were laid during a test is gone when it ends.
 */
export async function setUp(settings) {
  const browser = await launch();
  after(() => browser.close());
  const server = new Server(await freePort(), settings);
  after(() => server.stop());
  await server.start();

  const people = [];
  const wires = [];
  afterEach(async () => {
    await Promise.all(people.splice(0).map((person) => person.leave()));
    for (const wire of wires.splice(0)) wire.close();
  });
  let rooms = 0;

  return {
    browser, server, people,

    /** A room that no other test uses. */
    aRoom: () => `room ${(rooms += 1)}`,

    async aWire(port = server.port) {
      const wire = new Wire(port);
      wires.push(wire);
      await wire.open();
      return wire;
    },

    async arrive(name, { url = server.url, ...options } = {}) {
      const person = await Person.arrive(browser, url, name, options);
      people.push(person);
      return person;
    },
  };
}

/** Gives the page its files from `WEB`, where the server's own would else come. */
async function serveFrom(context, url) {
  const headers = Object.fromEntries((await fetch(url)).headers);
  for (const name of ["content-length", "content-encoding", "etag"]) delete headers[name];
  // To Chromium such a page comes from nowhere, and so may not reach a server on this machine.
  await context.grantPermissions(["local-network-access"]);
  await context.route((at) => at.origin === new URL(url).origin, (route) => {
    const { pathname } = new URL(route.request().url());
    const path = join(WEB, pathname === "/" ? "index.html" : pathname);
    if (!existsSync(path) || !MEDIA_TYPES[extname(path)]) return route.continue();
    const type = MEDIA_TYPES[extname(path)];
    return route.fulfill({ path, headers: { ...headers, "content-type": type } });
  });
}

/** The field in which one writes. */
export const write = ({ page }) => page.getByRole("textbox", { name: /^Message to/ });

/** One person with a browser window of their own. What the console says about errors is collected in `person.complaints`. */
export class Person {
  complaints = [];

  /** With a `token`, on a server that takes no guests, the name is the token's, and nobody is asked for it. */
  static async arrive(browser, url, name, { room = null, token = null, ...options } = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, reducedMotion: "reduce", ...options });
    if (WEB) await serveFrom(context, url);
    const person = await Person.#inWindow(context, url);
    await person.page.goto(room ? `${url}/#room=${encodeURIComponent(room)}` : url);
    const label = token ? "This server takes no guests. Your access token:" : "What shall we call you?";
    await person.page.getByLabel(label).fill(token ?? name);
    await person.page.getByRole("button", { name: "Come in" }).click();
    await person.connected();
    if (token) person.complaints = []; // of the list of rooms, for which a token was needed
    return person;
  }

  static async #inWindow(context, url) {
    const page = await context.newPage();
    const person = Object.assign(new Person(), { context, page, url });
    page.setDefaultTimeout(10_000);
    page.on("pageerror", (error) => person.complaints.push(String(error)));
    page.on("console", (message) => { if (message.type() === "error") person.complaints.push(message.text()); });
    return person;
  }

  /** The same person, with the same storage, in another window. */
  async secondWindow(room) {
    const second = await Person.#inWindow(this.context, this.url);
    await second.goTo(room);
    return second;
  }

  connected() { return this.until(() => document.getElementById("connection").textContent === "Connected"); }
  until(condition, argument) { return this.page.waitForFunction(condition, argument); }

  /** Shows a room, in the way a link to it does. */
  async goTo(room) {
    await this.page.goto(`${this.url}/#room=${encodeURIComponent(room)}`);
    await write(this).waitFor();
  }

  async say(...texts) {
    const input = write(this);
    for (const text of texts) {
      await input.fill(text);
      await input.press("Enter");
    }
  }

  /** All that the conversation shows as said, in its order. */
  said() { return this.page.locator("#log .said .body").allTextContents(); }

  hears(text) {
    return this.until((text) => [...document.querySelectorAll("#log .said:not(.pending) .body")].some((body) => body.textContent === text), text);
  }

  /** The message that says so, edited or not. */
  message(text) {
    const escaped = text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    return this.page.locator("#log .said", { has: this.page.locator(".body", { hasText: new RegExp(`^${escaped}( \\(edited\\))?$`) }) });
  }

  /** Points at a message, opens its menu, and chooses. */
  async choose(text, item) {
    await this.message(text).hover();
    await this.message(text).getByRole("button", { name: "More", exact: true }).click();
    await this.page.getByRole("menuitem", { name: item, exact: true }).click();
    // With the next frame: what was written before that would be overwritten.
    if (item === "Edit") await this.page.getByText(/^Editing: /).waitFor();
  }

  /** Points at a message, and chooses an emoji from what its toolbar opens. */
  async react(text, emoji) {
    await this.message(text).hover();
    await this.message(text).getByRole("button", { name: "React (+)", exact: true }).click();
    await this.page.getByRole("menuitemcheckbox", { name: `React with ${emoji}` }).click();
  }

  people() { return this.page.locator("#people .person").allTextContents(); }
  sees(...names) {
    return this.until((names) => {
      const shown = [...document.querySelectorAll("#people .person")].map(({ textContent }) => textContent);
      return shown.length === names.length && names.every((name) => shown.includes(name));
    }, names);
  }

  screenshot(name) { return this.page.screenshot({ path: `${SCREENSHOTS}${name}.png` }); }
  leave() { return this.context.close(); }
}

/** Fails with what axe-core finds, in the sense of WCAG 2.2 A and AA and the usual good practice. */
export async function assertAccessible(person, what) {
  // Through the debugger's own world: a script element would, rightly, be blocked by the page's policy.
  await person.page.evaluate(AXE);
  const { violations } = await person.page.evaluate(() => globalThis.axe.run(document));
  const found = violations.map(({ id, help, nodes }) => `${id}: ${help}\n  ${nodes.map(({ html, failureSummary }) => `${html}\n  ${failureSummary}`).join("\n  ")}`);
  assert.deepEqual(found, [], what);
}
