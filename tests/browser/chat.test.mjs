/** The page in Chromium against the real server: what a person would see. */
import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { test } from "node:test";
import { assertAccessible, freePort, launch, Person, Server, setUp } from "./harness.mjs";

const { browser, server, people, aRoom, arrive, aWire } = await setUp();

/** A server whose rooms are in memory only, and end with it. */
async function startForgetful(t) {
  const forgetful = new Server(await freePort(), { "store.path": "" });
  t.after(() => forgetful.stop());
  await forgetful.start();
  return forgetful;
}

/** A token for `user` as an application would sign it. */
function tokenFor(user, secret) {
  const part = (claims) => Buffer.from(JSON.stringify(claims)).toString("base64url");
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, exp: 4_000_000_000 })}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

test("two people talk, see each other, and see when the other is typing", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", { room });
  const bob = await arrive("Bob", { room });
  await ann.sees("Ann", "Bob");
  await bob.sees("Ann", "Bob");

  await bob.page.getByRole("textbox", { name: /^Message to/ }).pressSequentially("He");
  await ann.page.getByText("Bob is typing").waitFor();
  await bob.say("Hello, Ann");
  await ann.hears("Hello, Ann");
  await ann.say("Hello, Bob", "How are you?");
  for (const person of [ann, bob]) await person.hears("How are you?");
  assert.deepEqual(await bob.said(), ["Hello, Ann", "Hello, Bob", "How are you?"]);
  assert.deepEqual(await ann.said(), await bob.said());
  assert.equal(await bob.page.locator("#log .own").count(), 1);
  assert.equal(await ann.page.locator("#log .own").count(), 2);
  assert.equal(await ann.page.locator("#log .lead").count(), 2, "one name above two messages");
  await bob.page.getByRole("log").getByText("Ann: How are you?").waitFor({ state: "attached" });

  await bob.leave();
  await ann.sees("Ann");
  await ann.screenshot("talk");
  assert.deepEqual(ann.complaints, []);
});

test("a room is started from the page, and everybody's list shows it with its head count", async () => {
  const ann = await arrive("Ann");
  const bob = await arrive("Bob");
  await ann.page.getByRole("button", { name: "Start a room" }).first().click();
  await ann.page.getByLabel("Name", { exact: true }).fill("orchard");
  await ann.page.getByLabel(/^Title/).fill("The orchard");
  await ann.page.getByRole("button", { name: "Start it" }).click();
  await ann.page.getByRole("heading", { name: "The orchard", level: 1 }).waitFor();
  await bob.page.getByRole("main").getByRole("link", { name: "The orchard 1 person there" }).waitFor();
  await bob.screenshot("welcome");
  await bob.page.getByRole("navigation").getByRole("link", { name: "The orchard 1 person" }).click();
  await ann.page.getByRole("link", { name: "The orchard 2 people" }).waitFor();
  await ann.page.getByRole("button", { name: "Leave this room" }).click();
  await bob.sees("Bob");
});

test("messages in other rooms are marked unread, counted in the title, and set apart by a line when one gets there", async () => {
  const [here, there] = [aRoom(), aRoom()];
  const ann = await arrive("Ann", { room: there });
  await ann.sees("Ann");
  await ann.goTo(here);
  const bob = await arrive("Bob", { room: there });
  await bob.say("one", "two");
  await ann.page.getByRole("link", { name: `${there} 2 unread 2 people` }).waitFor();
  assert.equal(await ann.page.title(), `(2) ${here} · Chinwag`);
  await ann.screenshot("unread");

  await ann.page.reload();
  await ann.page.getByRole("link", { name: `${there} 2 unread 2 people` }).waitFor();

  await ann.page.getByRole("link", { name: new RegExp(`^${there} `) }).click();
  await ann.hears("two");
  await ann.until((title) => document.title === title, `${there} · Chinwag`);
  assert.deepEqual(await ann.page.locator("#log li.fresh").allTextContents(), ["New"]);
});

test("what is said in one room stands in no other, though it is the first thing said in both", async () => {
  const [room, other] = [aRoom(), aRoom()];
  const ann = await arrive("Ann", { room });
  const long = (name) => Array.from({ length: 30 }, (_, line) => `${name} ${line}`).join("\n");
  await ann.say(long("here"));
  await ann.hears(long("here"));
  await ann.page.getByRole("button", { name: "Show all" }).click();
  await ann.goTo(other);
  await ann.say(long("there"));
  await ann.hears(long("there"));
  await ann.page.getByRole("button", { name: "Show all" }).waitFor();
  for (const [name, text, fold] of [[room, "here", "Show less"], [other, "there", "Show all"]]) {
    await ann.page.getByRole("link", { name: new RegExp(`^${name} `) }).click();
    await ann.hears(long(text));
    assert.deepEqual(await ann.said(), [long(text)]);
    await ann.page.getByRole("button", { name: fold }).waitFor();
  }
});

test("older history comes in while scrolling up, and what one reads stays where it is", async () => {
  const room = aRoom();
  let bob;
  let count = 0;
  for (const name of ["Ann", "Cid", "Bob"]) { // three, so that none of them is too fast for the server
    bob = await arrive(name, { room });
    await bob.say(...Array.from({ length: 20 }, () => `line ${(count += 1)}\nof several\nlines`));
    await bob.hears(`line ${count}\nof several\nlines`);
  }
  const eve = await arrive("Eve", { room, viewport: { width: 1280, height: 500 } });
  await eve.hears("line 60\nof several\nlines");
  assert.equal((await eve.said()).length, 50);
  const place = () => eve.page.evaluate(() => {
    const row = [...document.querySelectorAll("#log .said")].find(({ textContent }) => textContent.includes("line 13"));
    return Math.round(row.getBoundingClientRect().top);
  });
  await eve.page.evaluate(() => {
    const row = [...document.querySelectorAll("#log .said")].find(({ textContent }) => textContent.includes("line 13"));
    row.scrollIntoView();
  });
  const before = await place();
  await eve.until(() => document.querySelectorAll("#log .said").length === 60);
  assert.ok(Math.abs((await place()) - before) <= 1, `${before} -> ${await place()}`);
  assert.equal((await eve.said())[0], "line 1\nof several\nlines");
  await eve.page.getByText("This is where it began.").waitFor();

  // Somebody speaks below: it is announced, and nothing moves.
  await bob.say("down here");
  await eve.page.getByRole("button", { name: "1 new message" }).waitFor();
  assert.ok(Math.abs((await place()) - before) <= 1);
  await eve.screenshot("history");
  await eve.page.getByRole("button", { name: "1 new message" }).click();
  await eve.until(() => document.title.startsWith("room"));
});

test("scrolling back reaches the first message of a large room, and back again, and no message is passed over", async (t) => {
  const count = Number(process.env.LARGE_ROOM ?? 4_000);
  const far = count - 5;
  const id = (offset) => `0000000000000001-${offset}`;
  const large = new Server(await freePort());
  large.import([
    { kind: "chinwag", format: 1 },
    { kind: "room", room: "large", title: "", founded: 0, created_at: 1, floor: 0, last: count, last_change: 0, changed_floor: 0 },
    { kind: "era", room: "large", first: 1, first_change: 1, epoch: id(0).split("-")[0], life: 1 },
    ...Array.from({ length: count }, (_, i) => ({
      kind: "message", room: "large", offset: i + 1, id: id(i + 1), at: 1_700_000_000_000 + i, user: "u", name: "Cid", body: `m${i + 1}`,
      ...(i === 0 && { reply_to: far }),
    })),
    { kind: "end", rooms: 1, messages: count },
  ].map((line) => JSON.stringify(line)));
  await large.start();
  t.after(() => large.stop());
  const ann = await arrive("Ann", { room: "large", url: large.url });
  ann.page.setDefaultTimeout(count * 10 + 30_000);
  await ann.hears(`m${count}`);
  // At each turn of the screen: which messages have elements. Scrolls as far as it goes while `window.goal` is a number.
  await ann.page.evaluate(() => {
    const scroller = document.getElementById("scroller");
    Object.assign(window, { goal: 0, passed: new Set(), most: 0 });
    const look = () => {
      if (window.goal !== null) scroller.scrollTop = window.goal;
      const rows = document.querySelectorAll("#log .said");
      window.most = Math.max(window.most, rows.length);
      for (const row of rows) window.passed.add(row.dataset.key);
      requestAnimationFrame(look);
    };
    look();
  });
  await ann.page.getByText("This is where it began.").waitFor();
  assert.equal((await ann.said())[0], "m1");
  assert.equal(await ann.page.evaluate(() => window.passed.size), count);
  const most = await ann.page.evaluate(() => window.most);
  assert.ok(most <= 2_000, `${most} have elements at once`);

  // Down again by hand, through what is here by now.
  await ann.page.evaluate(() => Object.assign(window, { goal: 1e9, passed: new Set() }));
  await ann.hears(`m${count}`);
  assert.equal(await ann.page.evaluate(() => window.passed.size), count);
  // From the beginning to a message that is far away, and to the end, at once.
  await ann.page.evaluate(() => { window.goal = 0; });
  await ann.page.getByText("This is where it began.").waitFor();
  await ann.page.evaluate(() => { window.goal = null; });
  await ann.message("m1").locator(".answered").click();
  await ann.until((text) => document.activeElement.querySelector(".body")?.textContent === text, `m${far}`);
  await ann.page.evaluate(() => { document.getElementById("scroller").scrollTop = 0; });
  await ann.page.getByRole("button", { name: "To the newest" }).click();
  await ann.say("after all");
  await ann.hears("after all");
  await ann.until(() => document.getElementById("jump").hidden);
  assert.deepEqual(ann.complaints, []);
});

test("markup in names, rooms and messages is text, and addresses are safe links", async () => {
  const probe = "<img src=x onerror=document.title='!'>"; // as long as a name may be
  const room = `${probe} ${aRoom()}`;
  const ann = await arrive(probe, { room });
  const bob = await arrive("Bob", { room });
  await ann.say(`<script>document.title='!'</script>${probe}`, "https://example.org/a_(b)?c=d#e and javascript:alert(1)");
  await bob.hears("https://example.org/a_(b)?c=d#e and javascript:alert(1)");
  assert.equal(await bob.page.locator("main img, nav img, aside img, #log script").count(), 0);
  assert.match(await bob.page.title(), /<img src=x/);
  await bob.sees(probe, "Bob");
  await bob.page.getByRole("heading", { name: room, level: 1 }).waitFor();

  const links = bob.page.locator("#log a");
  assert.deepEqual(await links.allTextContents(), ["https://example.org/a_(b)?c=d#e"]);
  assert.equal(await links.getAttribute("rel"), "noopener noreferrer");
  assert.equal(await links.getAttribute("href"), "https://example.org/a_(b)?c=d#e");
  assert.deepEqual([...ann.complaints, ...bob.complaints], []);
  await bob.screenshot("markup");
});

test("a name that turns letters around or shows none stands for nobody else, nor breaks the sentences it is in", async () => {
  const room = `\u202e${aRoom()}`;
  const window = await (await browser.newContext()).newPage();
  await window.goto(`${server.url}/#room=${encodeURIComponent(room)}`);
  await window.getByText(`You are on your way to “${room.slice(1)}”.`).waitFor();
  await window.context().close();

  const ann = await arrive("Ann", { room });
  const turned = await arrive("\u202ennA", { room });
  const unseen = await arrive("\u200b", { room });
  const { user } = await unseen.page.evaluate(() => JSON.parse(localStorage["chinwag.session"]));
  await ann.sees("Ann", "nnA", user);
  await unseen.say("who am I?");
  await ann.hears("who am I?");
  assert.equal(await ann.page.locator("#log .who").textContent(), user);
  await turned.page.getByRole("textbox", { name: /^Message to/ }).pressSequentially("He");
  await ann.page.getByText("nnA is typing", { exact: true }).waitFor();
  await ann.page.getByRole("heading", { name: room.slice(1), level: 1, exact: true }).waitFor();
});

test("names written from right to left stand where all names do", async () => {
  const room = aRoom();
  for (const viewport of [{ width: 1280, height: 800 }, { width: 375, height: 667 }]) {
    const person = await arrive("محمد", { room, viewport });
    await person.say("hello");
    const cid = await arrive("Cid", { room, viewport });
    await cid.say(`hello at ${viewport.width}`);
    await cid.hears(`hello at ${viewport.width}`);
    const edges = await cid.page.locator("#log .lead .who").evaluateAll((names, side) => names.map((name) => {
      const text = new Range();
      text.selectNodeContents(name);
      return Math.round(text.getBoundingClientRect()[side]);
    }), viewport.width > 760 ? "right" : "left");
    assert.equal(new Set(edges).size, 1, String(edges));
  }
});

test("the way to the newest message is never on top of what one writes", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", { room, viewport: { width: 375, height: 667 } });
  const { page } = ann;
  await ann.say(...Array.from({ length: 6 }, (_, i) => `${"long\n".repeat(15)}${i + 1}`));
  await ann.hears(`${"long\n".repeat(15)}6`);
  await page.getByRole("textbox", { name: /^Message to/ }).fill("line\n".repeat(12));
  await page.evaluate(() => { document.getElementById("scroller").scrollTop = 0; });
  const jump = page.getByRole("button", { name: "To the newest" });
  await jump.waitFor();
  const bottom = await jump.evaluate((button) => button.getBoundingClientRect().bottom);
  const top = await page.getByRole("textbox", { name: /^Message to/ }).evaluate((field) => field.getBoundingClientRect().top);
  assert.ok(bottom <= top, `${bottom} > ${top}`);
  await ann.screenshot("draft");
});

test("a message that would fill the screen is shown in part until one asks for all of it", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", { room });
  const bob = await arrive("Bob", { room });
  const { page } = bob;
  await ann.say("a wall\n".repeat(400) + "its end", "after it");
  await bob.hears("after it");
  const height = () => page.locator("#log .body").first().evaluate((body) => body.getBoundingClientRect().height);
  assert.ok(await height() < 300);
  await bob.screenshot("folded");
  await page.getByRole("button", { name: "Show all" }).press("Enter");
  assert.ok(await height() > 5_000);
  const less = page.getByRole("button", { name: "Show less", expanded: true });
  assert.ok(await less.evaluate((button) => button === document.activeElement), "the focus stays");
  await page.getByRole("button", { name: "To the newest" }).waitFor();

  await less.scrollIntoViewIfNeeded();
  const place = (button) => button.evaluate((button) => Math.round(button.getBoundingClientRect().top));
  const before = await place(less);
  await less.press("Enter");
  const more = page.getByRole("button", { name: "Show all", expanded: false });
  assert.ok(Math.abs(await place(more) - before) <= 1 || await bob.page.getByText("after it").isVisible());
  assert.ok(await more.isVisible() && await height() < 300);
});

test("what one was writing is still there after a reload, in its room", async () => {
  const [here, there] = [aRoom(), aRoom()];
  const ann = await arrive("Ann", { room: there });
  const { page } = ann;
  const field = page.getByRole("textbox", { name: /^Message to/ });
  await field.fill("for there");
  await ann.goTo(here);
  await field.fill("for here");
  await page.reload();
  await ann.connected();
  assert.equal(await field.inputValue(), "for here");
  await ann.goTo(there);
  await ann.until(() => document.getElementById("write").value === "for there");
  await ann.say("said");
  await page.reload();
  await ann.hears("said");
  assert.equal(await field.inputValue(), "");
});

test("letters are as large as one has told the browser, and the page makes place for them", async () => {
  const large = await launch("--blink-settings=defaultFontSize=32");
  try {
    const ann = await Person.arrive(large, server.url, "Ann", { room: aRoom() });
    await ann.say("hello");
    await ann.hears("hello");
    assert.equal(await ann.page.locator("#log .body").evaluate((body) => getComputedStyle(body).fontSize), "32px");
    await ann.page.getByRole("button", { name: "1 person here" }).click(); // as on a narrow screen the people come in from the side
    await ann.page.getByRole("button", { name: "Close the list of people" }).waitFor();
    await ann.screenshot("large");
  } finally {
    await large.close();
  }
});

test("on a screen that is wide and low a long draft leaves the conversation in sight", async () => {
  const ann = await arrive("Ann", { room: aRoom(), viewport: { width: 667, height: 300 } });
  await ann.say("hello");
  await ann.hears("hello");
  await ann.page.getByRole("textbox", { name: /^Message to/ }).fill("line\n".repeat(12));
  assert.ok(await ann.page.locator("#scroller").evaluate((scroller) => scroller.clientHeight) >= 80);
  await ann.page.getByText("hello", { exact: true }).waitFor();
});

test("the page runs under a policy that allows no inline script or style and nothing from elsewhere", async () => {
  const { headers } = await fetch(server.url);
  const policy = headers.get("content-security-policy");
  assert.match(policy, /default-src 'self'/);
  assert.doesNotMatch(policy, /unsafe|https?:|\*/);
  assert.equal(headers.get("x-content-type-options"), "nosniff");
});

test("after a break of the network nothing is missing and nothing is there twice", async () => {
  const room = aRoom();
  const wire = await aWire();
  const ann = await arrive("Ann", { room, url: wire.url });
  const bob = await arrive("Bob", { room });
  await bob.say("before");
  await ann.hears("before");

  wire.cut();
  await ann.page.getByText(/^Connection lost/).first().waitFor();
  await bob.sees("Bob");
  await bob.say("missed 1", "missed 2", "missed 3");
  await ann.say("written offline 1", "written offline 2");
  await ann.until(() => document.querySelectorAll("#log .pending").length === 2);
  await ann.screenshot("offline");
  await ann.page.emulateMedia({ colorScheme: "dark" });
  await ann.screenshot("offline-dark");

  wire.mend();
  await ann.connected();
  await bob.hears("written offline 2");
  await ann.hears("written offline 2");
  const expected = ["before", "missed 1", "missed 2", "missed 3", "written offline 1", "written offline 2"];
  assert.deepEqual(await ann.said(), expected);
  assert.deepEqual(await bob.said(), expected);
  await ann.sees("Ann", "Bob");
  assert.equal(await ann.page.locator("#log .broke").count(), 0, "a recovery leaves no mark");
});

test("a message that arrived, but whose answer was lost, is sent again and is there once", async () => {
  const room = aRoom();
  const wire = await aWire();
  const ann = await arrive("Ann", { room, url: wire.url });
  const bob = await arrive("Bob", { room });
  await bob.sees("Ann", "Bob");
  wire.swallowAnswers();
  await ann.say("did you get this?");
  await bob.hears("did you get this?");
  await ann.until(() => document.querySelectorAll("#log .pending").length === 1);
  wire.cut();
  wire.mend();
  await ann.hears("did you get this?");
  await ann.until(() => document.querySelectorAll("#log .pending").length === 0);
  await bob.say("yes");
  // Whoever says something may see it a moment later than who hears it: a page draws once for many changes.
  for (const person of [ann, bob]) await person.hears("yes");
  for (const person of [ann, bob]) assert.deepEqual(await person.said(), ["did you get this?", "yes"]);
});

test("a wire that is cut again and again while both sides talk loses and doubles nothing", async () => {
  const room = aRoom();
  const wire = await aWire();
  const ann = await arrive("Ann", { room, url: wire.url });
  const bob = await arrive("Bob", { room });
  const expected = [];
  for (let round = 1; round <= 5; round += 1) {
    await ann.say(`a${round}`);
    wire.cut(); // with the message on its way, delivered, or answered: whatever it had come to
    await ann.say(`b${round}`);
    await bob.say(`c${round}`);
    wire.mend();
    await ann.page.evaluate(() => dispatchEvent(new Event("online")));
    for (const text of [`a${round}`, `b${round}`, `c${round}`]) await bob.hears(text);
    await ann.hears(`c${round}`);
    expected.push(`a${round}`, `b${round}`, `c${round}`);
  }
  const said = await bob.said();
  assert.deepEqual([...said].sort(), expected.sort());
  await ann.until((count) => document.querySelectorAll("#log .said:not(.pending)").length === count, expected.length);
  assert.deepEqual(await ann.said(), said);
});

test("where a break was too long for a server that keeps nothing the page says how much is missing", async () => {
  const small = new Server(await freePort(), { "store.path": "", "history.messages": 10, "limits.publish_burst": 1000 });
  await small.start();
  try {
    const room = aRoom();
    const wire = await aWire(small.port);
    const ann = await arrive("Ann", { room, url: wire.url });
    const bob = await arrive("Bob", { room, url: small.url });
    await bob.say("before");
    await ann.hears("before");
    wire.cut();
    await bob.sees("Bob");
    await bob.say(...Array.from({ length: 25 }, (_, i) => `while away ${i + 1}`));
    await bob.hears("while away 25");
    wire.mend();
    await ann.hears("while away 25");
    await ann.page.getByText("15 messages are missing here: the server no longer keeps them.").waitFor();
    assert.deepEqual(await ann.said(), ["before", ...Array.from({ length: 10 }, (_, i) => `while away ${i + 16}`)]);
    await ann.screenshot("gap");
  } finally {
    await small.stop();
  }
});

test("in a room too big to list everybody the true number stands beside a choice", async () => {
  const small = new Server(await freePort(), { "presence.full_max": 2, "presence.listed": 2 });
  await small.start();
  try {
    const room = aRoom();
    const ann = await arrive("Ann", { room, url: small.url });
    for (const name of ["Bob", "Cid", "Dee"]) await arrive(name, { room, url: small.url });
    const dee = people.at(-1);
    for (const person of [ann, dee]) {
      await person.page.getByRole("button", { name: "4 people here" }).waitFor();
      const listed = (await person.people()).length;
      assert.ok(listed < 4);
      await person.page.getByText(`and ${4 - listed} more`).waitFor();
    }
    assert.ok((await dee.people()).includes("Dee"), "one sees oneself");
    for (const person of people.slice(1)) await person.leave();
    await ann.page.getByRole("button", { name: "1 person here" }).waitFor();
    await ann.sees("Ann");
  } finally {
    await small.stop();
  }
});

test("two windows of one person are one person, and what one says is their own in the other", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", { room });
  const bob = await arrive("Bob", { room });
  const again = await ann.secondWindow(room);
  await again.say("from the second window");
  await ann.hears("from the second window");
  assert.equal(await ann.page.locator("#log .own").count(), 1);
  await bob.sees("Ann", "Bob");
  await bob.page.getByTitle("2 connections").waitFor();
  await again.page.close();
  await bob.page.getByTitle("2 connections").waitFor({ state: "detached" });
  await bob.sees("Ann", "Bob");
});

test("a room that is joined, read or left in one window is so in all, and after a reload", async () => {
  const [here, there] = [aRoom(), aRoom()];
  const ann = await arrive("Ann", { room: here });
  const mine = (window) => window.page.locator("#mine .label").allTextContents();
  const owns = (window, names) => window.until((names) => {
    const labels = [...document.querySelectorAll("#mine .label")].map(({ textContent }) => textContent);
    return JSON.stringify(labels) === names;
  }, JSON.stringify(names));
  const again = await ann.secondWindow(there);
  await owns(ann, [here, there]);
  const bob = await arrive("Bob", { room: there });
  await bob.say("read once");
  await again.hears("read once");
  await ann.page.getByRole("link", { name: `${there} 2 people`, exact: true }).waitFor();

  await ann.page.evaluate(() => dispatchEvent(new Event("pagehide")));
  await again.page.close();
  await ann.page.reload();
  await owns(ann, [here, there]);

  const third = await ann.secondWindow(here);
  await ann.goTo(there);
  await third.goTo(there);
  await third.goTo(here);
  await ann.goTo(here);
  await third.page.getByRole("button", { name: "Leave this room" }).click();
  assert.deepEqual(await mine(ann), [here, there], "nobody is put out of the room before their eyes");
  await ann.goTo(there);
  await third.page.getByRole("button", { name: "Leave this room" }).click();
  await owns(third, []);
  await ann.page.reload();
  await owns(ann, [there]);
});

test("a new name in one window is one's name in all", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", { room });
  const again = await ann.secondWindow(room);
  await again.sees("Ann");
  await ann.page.getByRole("button", { name: "Ann", exact: true }).click();
  await ann.page.getByLabel("What shall we call you?").fill("Anna");
  await ann.page.keyboard.press("Enter");
  await again.page.getByRole("button", { name: "Anna", exact: true }).waitFor();
  for (const window of [ann, again]) await window.sees("Anna");
  await ann.say("from the first window");
  await again.hears("from the first window");
  assert.equal(await again.page.locator("#log .own").count(), 1);
});

test("after a restart of the server the windows of one person are one person again", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", { room });
  const windows = [ann, await ann.secondWindow(room), await ann.secondWindow(room)];
  await ann.page.getByTitle("3 connections").waitFor();
  await server.stop();
  for (const { page } of windows) await page.getByText(/^Connection lost/).first().waitFor();
  await server.start();
  for (const { page } of windows) await page.evaluate(() => dispatchEvent(new Event("online"))); // all at once: each asks for a name anew
  for (const window of windows) await window.page.getByTitle("3 connections").waitFor();
  for (const window of windows) await window.sees("Ann");
});

test("after a restart of a server that keeps nothing a room in which nothing was said promises nothing above", async (t) => {
  const room = aRoom();
  const forgetful = await startForgetful(t);
  const ann = await arrive("Ann", { room, url: forgetful.url });
  await ann.sees("Ann");
  await forgetful.stop();
  await ann.page.getByText(/^Connection lost/).first().waitFor();
  await forgetful.start();
  await ann.connected();
  await ann.say("anybody?");
  await ann.hears("anybody?");
  assert.match(await ann.page.locator("#log .broke").textContent(), /could not be recovered\.$/);
});

test("after a restart of a server that keeps nothing the page says so, and a guest goes on under the same name", async (t) => {
  const room = aRoom();
  const forgetful = await startForgetful(t);
  const ann = await arrive("Ann", { room, url: forgetful.url });
  await ann.say("before the restart");
  await ann.hears("before the restart");
  const before = await ann.page.evaluate(() => JSON.parse(localStorage["chinwag.session"]));

  await forgetful.stop();
  await ann.page.getByText(/^Connection lost/).first().waitFor();
  await ann.say("written in between");
  await forgetful.start();
  await ann.connected();
  await ann.hears("written in between");

  assert.deepEqual(await ann.said(), ["before the restart", "written in between"]);
  assert.equal(await ann.page.locator("#log .own").count(), 2, "what one said under the old token is still one's own");
  assert.match(await ann.page.locator("#log .broke").textContent(), /could not be recovered/);
  const now = await ann.page.evaluate(() => JSON.parse(localStorage["chinwag.session"]));
  assert.equal(now.name, "Ann");
  assert.notEqual(now.token, before.token);
  await ann.sees("Ann");
  await ann.screenshot("restart-forgetful");

  const bob = await arrive("Bob", { room, url: forgetful.url });
  await bob.say("still there?");
  await ann.hears("still there?");
});

for (const [signal, how] of [["SIGTERM", "a restart of the server"], ["SIGKILL", "kill -9 of the server"]]) {
  test(`after ${how} nothing is missing, and nobody is asked for a name again`, async () => {
    const room = aRoom();
    const ann = await arrive("Ann", { room });
    await ann.say("before the end", "and a second one");
    await ann.hears("and a second one");
    await ann.sees("Ann");
    const before = await ann.page.evaluate(() => JSON.parse(localStorage["chinwag.session"]));

    await server.stop(signal);
    await ann.page.getByText(/^Connection lost/).first().waitFor();
    await ann.say("written in between");
    await server.start();
    await ann.connected();
    await ann.hears("written in between");

    const all = ["before the end", "and a second one", "written in between"];
    assert.deepEqual(await ann.said(), all);
    assert.equal(await ann.page.locator("#log .broke").count(), 0, "nothing was lost");
    const now = await ann.page.evaluate(() => JSON.parse(localStorage["chinwag.session"]));
    assert.deepEqual([now.user, now.token], [before.user, before.token]);

    // A window that opens now, and one that was closed in the meantime.
    const again = await ann.secondWindow(room);
    await again.hears("written in between");
    const bob = await arrive("Bob", { room });
    await bob.hears("written in between");
    for (const window of [again, bob]) assert.deepEqual(await window.said(), all);
    await ann.screenshot(`restart-${signal}`);
  });
}

test("where there are no guests one comes in with a token, and with another when it is no longer good", async () => {
  const port = await freePort();
  const secrets = ["first", "second"].map((seed) => createHash("sha256").update(seed).digest("hex"));
  const [first, second] = secrets.map((secret) => new Server(port, { "auth.guests": false, "auth.secret": secret }));
  const page = await (await browser.newContext()).newPage();
  const enter = async (text) => {
    await page.locator("#name").fill(text);
    await page.getByRole("button", { name: "Come in" }).click();
  };
  const connected = () => page.getByText("Connected", { exact: true }).first().waitFor();
  try {
    await first.start();
    await page.goto(`${first.url}/#room=tea`);
    // Nobody is asked for a name that would not do.
    const field = page.getByLabel("This server takes no guests. Your access token:");
    await field.waitFor();
    await enter(tokenFor("ann", secrets[1]));
    await page.getByText("The server does not accept this token.").waitFor();
    await enter(tokenFor("ann", secrets[0]));
    await connected();

    // One's name is the token's: there is no other to be had without another token.
    await page.getByRole("button", { name: "ann", exact: true }).click();
    await field.waitFor();
    assert.equal(await field.inputValue(), "");
    await page.getByRole("button", { name: "Cancel" }).click();

    await first.stop();
    await second.start();
    await page.getByText("The access token is no longer accepted.").waitFor();
    await field.waitFor();
    await enter(tokenFor("anna", secrets[1]));
    await page.getByRole("dialog").waitFor({ state: "hidden" });
    await connected();
    await page.getByRole("button", { name: "anna", exact: true }).waitFor();
  } finally {
    await page.context().close();
    await first.stop();
    await second.stop();
  }
});

test("one can type at once, and nothing is lost when a slow server says that it takes no guests", async () => {
  const secret = createHash("sha256").update("slow").digest("hex");
  const closed = new Server(await freePort(), { "auth.guests": false, "auth.secret": secret });
  await closed.start();
  const page = await (await browser.newContext()).newPage();
  const token = tokenFor("ann", secret);
  let answer;
  const asked = new Promise((resolve) => {
    // The first question is whether there are guests; it is answered when the test says so.
    page.route("**/api/rooms?limit=1", (route) => { answer = () => route.continue(); resolve(); }, { times: 1 });
  });
  try {
    await page.goto(`${closed.url}/#room=tea`);
    const name = page.getByLabel("What shall we call you?");
    await name.waitFor();
    await asked;
    assert.equal(await name.evaluate((input) => input === document.activeElement), true);
    await page.keyboard.insertText(token);
    await page.keyboard.press("Home");
    await page.keyboard.type("x");

    await answer();
    const field = page.getByLabel("This server takes no guests. Your access token:");
    await field.waitFor();
    assert.equal(await field.inputValue(), `x${token}`);
    assert.deepEqual(
      await field.evaluate((input) => [input === document.activeElement, input.selectionStart, input.selectionEnd]),
      [true, 1, 1], "one types on where one was",
    );
    await page.keyboard.press("Backspace");
    await page.keyboard.press("Enter");
    await page.getByText("Connected", { exact: true }).first().waitFor();
    await page.getByRole("button", { name: "ann", exact: true }).waitFor();
  } finally {
    await page.context().close();
    await closed.stop();
  }
});

test("a name that is said before a slow server answers stays in the field, selected, when a token is asked for", async () => {
  const closed = new Server(await freePort(), { "auth.guests": false });
  await closed.start();
  const page = await (await browser.newContext()).newPage();
  let answer;
  await page.route("**/api/rooms?limit=1", (route) => { answer = () => route.continue(); }, { times: 1 });
  try {
    await page.goto(`${closed.url}/#room=tea`);
    await page.getByLabel("What shall we call you?").fill("Ann");
    await page.keyboard.press("Enter");
    const field = page.getByLabel("This server takes no guests. Your access token:");
    await field.waitFor();
    assert.equal(await page.evaluate(() => getSelection().toString()), "Ann");
    await page.keyboard.type("no token");
    await page.keyboard.press("Enter");
    await page.getByText("That does not look like an access token.").or(page.getByText("The server does not accept this token.")).waitFor();
    assert.equal(await field.inputValue(), "no token");
    await answer();
  } finally {
    await page.context().close();
    await closed.stop();
  }
});

test("a guest whom the server takes no longer is asked for a token, and not for a name", async () => {
  const port = await freePort();
  const secrets = ["first", "second"].map((seed) => createHash("sha256").update(seed).digest("hex"));
  const [open, closed] = secrets.map((secret, at) => new Server(port, { "auth.guests": at === 0, "auth.secret": secret }));
  await open.start();
  const ann = await arrive("Ann", { room: aRoom(), url: open.url });
  try {
    await open.stop();
    await closed.start();
    await ann.page.getByText("this server asks for a token of its operator").waitFor();
    await ann.page.getByLabel("This server takes no guests. Your access token:").fill(tokenFor("ann", secrets[1]));
    await ann.page.getByRole("button", { name: "Come in" }).click();
    await ann.connected();
    ann.complaints = [];
  } finally {
    await open.stop();
    await closed.stop();
  }
});

test("what the server refuses is told at the message, and can be tried again", async () => {
  const small = new Server(await freePort(), { "limits.body_bytes": 20 });
  await small.start();
  try {
    const ann = await arrive("Ann", { room: aRoom(), url: small.url });
    await ann.say("longer than it may be", "much longer than it may be", "short");
    await ann.hears("short");
    const failed = ann.page.locator("#log .failed");
    await ann.until(() => document.querySelectorAll("#log .failed").length === 2);
    assert.match(await failed.first().textContent(), /Not sent: it is longer than the 20 bytes that fit/);
    await ann.screenshot("refused");

    await failed.last().getByRole("button", { name: "Discard" }).click();
    await ann.until(() => document.querySelectorAll("#log .failed").length === 1);
    await failed.getByRole("button", { name: "Try again" }).click();
    await failed.getByText(/Not sent/).waitFor();
    await failed.getByRole("button", { name: "Edit" }).click();
    await ann.until(() => document.getElementById("write").value === "longer than it may be");
    await ann.say("shorter");
    await ann.hears("shorter");
    assert.equal(await failed.count(), 0);
  } finally {
    await small.stop();
  }
});

test("what is written faster than the server takes it arrives all the same, in order", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", { room });
  const bob = await arrive("Bob", { room });
  await ann.until(() => !document.getElementById("write").disabled);
  // Past what the server takes at once from one connection.
  const written = await ann.page.evaluate(() => {
    const input = document.getElementById("write");
    return Array.from({ length: 90 }, (_, i) => {
      input.value = `m${i}`;
      input.form.requestSubmit();
      return `m${i}`;
    });
  });
  await bob.hears("m89");
  assert.deepEqual(await bob.said(), written);
  await ann.until(() => document.querySelectorAll("#log .pending").length === 0);
  assert.equal(await ann.page.locator("#log .failed").count(), 0);
  assert.deepEqual(await ann.said(), written);
});

test("who is in as many rooms as one can be still sees the list of rooms, and comes in once another is left", async () => {
  const small = new Server(await freePort(), { "limits.channels_per_conn": 3 });
  await small.start();
  try {
    const [first, second, third] = [aRoom(), aRoom(), aRoom()];
    await arrive("Bob", { url: small.url, room: "elsewhere" });
    const ann = await arrive("Ann", { url: small.url, room: first });
    const { page } = ann;
    await ann.goTo(second);
    await ann.goTo(third);
    await page.getByText("You are in as many rooms as one can be.").waitFor();
    await page.reload();
    await page.getByText("You are in as many rooms as one can be.").waitFor();
    await page.getByRole("link", { name: "elsewhere 1 person" }).waitFor();
    await ann.screenshot("too-many");

    await ann.goTo(second);
    await page.getByRole("button", { name: "Leave this room" }).click();
    await ann.sees("Ann");
    await page.getByRole("heading", { name: third, level: 1 }).waitFor();
    await page.getByText("You are in as many rooms").waitFor({ state: "hidden" });

    await ann.goTo(second);
    await page.getByText("You are in as many rooms as one can be.").waitFor();
    await page.getByRole("button", { name: "Try now" }).click();
    await page.getByText("Going in…").waitFor({ state: "hidden" });
    await page.getByText("You are in as many rooms as one can be.").waitFor();
  } finally {
    await small.stop();
  }
});

test("why a room cannot be started, or entered, is said in words of this page", async () => {
  const small = new Server(await freePort(), { "limits.join_per_s": 1, "limits.join_burst": 4, "limits.rooms": 1 });
  await small.start();
  try {
    // Each shard has a place; that of tea is where juice would be too, however many there are up to two.
    const ann = await arrive("Ann", { url: small.url, room: "tea" });
    const { page } = ann;
    const start = async (name) => {
      await page.getByLabel("Name", { exact: true }).fill(name);
      await page.getByRole("button", { name: "Start it" }).click();
    };
    await page.getByRole("button", { name: "Start a room" }).first().click();
    await start("茶".repeat(60));
    await page.getByText("That name is too long.").waitFor();
    await start("juice");
    await page.getByText("The server has no place for another room.").waitFor();
    await page.route("**/api/rooms", (route) => route.fulfill({
      status: 429, headers: { "retry-after": "7" }, json: { error: { reason: "rate_limited", message: "see limits.join_per_s" } },
    }));
    await start("juice");
    await page.getByText("That was too much at once. Try again in 7 seconds.").waitFor();
    await ann.screenshot("start-refused");
    await page.keyboard.press("Escape");
    await page.goto(`${small.url}/#room=${"y".repeat(200)}`);
    await page.getByText("A room cannot have this name.").waitFor();
    assert.equal(await page.getByRole("button", { name: "Try now" }).isVisible(), false);
  } finally {
    await small.stop();
  }
});

test("a browser whose store is full keeps nobody from talking", async () => {
  const room = aRoom();
  const bob = await arrive("Bob", { room });
  const ann = await arrive("Ann", { room });
  await ann.page.evaluate(() => { Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError"); }; });
  await ann.say("still heard");
  await bob.hears("still heard");
  await ann.page.getByRole("button", { name: "Theme: as the system" }).click();
  await ann.page.getByRole("button", { name: "Theme: light" }).waitFor();
  assert.deepEqual(ann.complaints, []);
});

test("Enter in the search goes to the room that is called just so, and ends the search", async () => {
  const ann = await arrive("Ann", { room: "orangery" });
  const bob = await arrive("Bob", { room: "orange" });
  await bob.sees("Bob");
  const { page } = ann;
  await page.getByRole("link", { name: "orange 1 person" }).waitFor();
  await page.keyboard.press("Control+k");
  await page.keyboard.type("orange");
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: "orange", level: 1, exact: true }).waitFor();
  assert.equal(await page.inputValue("#filter"), "");
  await page.getByRole("link", { name: "orangery 1 person" }).waitFor();
});

test("Enter in the search goes to a room in which that occurs rather than to a new one", async () => {
  const name = aRoom();
  const bob = await arrive("Bob", { room: `${name} garden` });
  await bob.sees("Bob");
  const { page } = await arrive("Ann");
  await page.getByRole("navigation").getByRole("link", { name: `${name} garden 1 person` }).waitFor();
  // All at once: what is shown still is as it was before.
  await page.evaluate((text) => {
    const filter = document.getElementById("filter");
    filter.focus();
    filter.value = text;
    filter.dispatchEvent(new InputEvent("input", { bubbles: true }));
    filter.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
  }, `${name} gar`);
  await page.getByRole("heading", { name: `${name} garden`, level: 1, exact: true }).waitFor();
});

test("a key that an input method takes for itself does nothing else, in any field", async () => {
  const [first, second] = [aRoom(), aRoom()];
  const ann = await arrive("Ann", { room: first });
  await ann.goTo(second);
  const { page } = ann;
  const press = (id, text, key, keyCode, isComposing) => page.evaluate(([id, text, init]) => {
    const field = document.getElementById(id);
    field.focus();
    field.value = text;
    field.dispatchEvent(new InputEvent("input", { bubbles: true }));
    field.dispatchEvent(new KeyboardEvent("keydown", { ...init, bubbles: true, cancelable: true }));
    return field.value;
  }, [id, text, { key, keyCode, isComposing }]);
  for (const [keyCode, isComposing] of [[229, false], [13, true], [229, true]]) {
    assert.equal(await press("write", "にほん", "Enter", keyCode, isComposing), "にほん");
    assert.equal(await press("filter", first, "Enter", keyCode, isComposing), first);
    assert.equal(await press("filter", first, "Escape", keyCode, isComposing), first);
    assert.equal(await page.evaluate(() => document.activeElement.id), "filter");
  }
  await page.getByRole("heading", { name: second, level: 1, exact: true }).waitFor();
  assert.equal(await press("write", "にほん", "Enter", 13, false), "");
  await ann.hears("にほん");
  assert.deepEqual(await ann.said(), ["にほん"]);
  assert.equal(await press("filter", first, "Enter", 13, false), "");
  await page.getByRole("heading", { name: first, level: 1, exact: true }).waitFor();
});

test("letters under a pile of combining marks paint over nothing around them", async () => {
  const room = aRoom();
  const pile = `Z${"\u0301".repeat(300)}y${"\u0323".repeat(300)}`;
  const bob = await arrive(`B${"\u0301".repeat(39)}`, { room });
  const ann = await arrive(`A${"\u0323".repeat(39)}`, { room });
  await bob.say("above", "beside", "below");
  await ann.hears("below");
  const { page } = ann;
  // What stands around the body in the middle, without the margins between the lines.
  const around = async () => {
    const boxes = await page.locator("#log .said").evaluateAll((rows) => [rows[0], rows[2]].map((row) => {
      const { left, top, width, height } = row.getBoundingClientRect();
      return { x: left, y: top + 5, width, height: height - 10 };
    }));
    return Promise.all(boxes.map(async (clip) => (await page.screenshot({ clip })).toString("base64")));
  };
  const write = (text) => page.locator("#log .body").nth(1).evaluate((body, text) => { body.textContent = text; }, text);
  await write("Zy");
  const before = await around();
  await write(pile);
  assert.deepEqual(await around(), before);
  await ann.screenshot("marks");

  // Names, wherever they stand.
  const open = await page.evaluate(() => [...document.querySelectorAll(".body, .who, .person, .label, .name, .typing, h1, .subtitle, .where")]
    .filter((element) => element.checkVisibility() && getComputedStyle(element).overflowY === "visible")
    .map(({ className, id }) => className || id));
  assert.deepEqual(open, []);
});

test("a message of which nothing can be seen is not sent, and named as such where it comes from elsewhere", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", { room });
  const bob = await arrive("Bob", { room });
  await ann.say("\u200b", "\u2800", " \n ");
  assert.equal(await ann.page.getByRole("textbox", { name: /^Message to/ }).inputValue(), " \n ");
  await ann.page.evaluate(async (room) => {
    const { Socket } = await import("./channel.js");
    const { token } = JSON.parse(localStorage["chinwag.session"]);
    const socket = new Socket(`${location.origin.replace("http", "ws")}/socket/websocket`, { token: () => token });
    socket.connect();
    await socket.channel(`room:${room}`).join().push("new_msg", { body: "\u200b" });
    socket.disconnect();
  }, room);
  await bob.hears("(blank)");
  assert.deepEqual(await bob.said(), ["(blank)"]);
  await bob.page.getByRole("log").getByText("Ann: (blank)").waitFor({ state: "attached" });
});

test("pasted code keeps its indentation", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", { room });
  const bob = await arrive("Bob", { room });
  await ann.say("\n  if a:\n    b\n");
  await bob.hears("  if a:\n    b");
});

test("a room is found by its name however the letters were typed", async () => {
  const [composed, decomposed] = ["orange\u00e9", "orangee\u0301"];
  const bob = await arrive("Bob", { room: decomposed });
  await bob.sees("Bob");
  await bob.goTo(`${composed} 2`);
  const ann = await arrive("Ann");
  await ann.page.getByRole("navigation").getByRole("link", { name: `${composed} 1 person`, exact: true }).waitFor();
  await ann.page.fill("#filter", decomposed);
  assert.equal(await ann.page.getByRole("link", { name: /^Start/ }).count(), 0);
  await ann.page.press("#filter", "Enter");
  await ann.page.getByRole("heading", { name: composed, level: 1, exact: true }).waitFor();
  await ann.sees("Ann", "Bob");
});

test("a page that is open past midnight does not call two days today", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", { room });
  await ann.say("today");
  await ann.hears("today");
  await ann.page.getByText("Today", { exact: true }).waitFor();
  await ann.page.clock.setFixedTime(Date.now() + 86_400_000);
  await ann.say("a day later");
  await ann.hears("a day later");
  await ann.page.getByText("Yesterday", { exact: true }).waitFor();
});

test("everything can be done by keyboard, and the focus is always visible", async () => {
  const [first, second] = [aRoom(), aRoom()];
  const page = (await arrive("Ann", { room: first })).page;
  const ann = people.at(-1);
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.getAttribute("aria-label") || document.activeElement.textContent);
  const heading = (name) => page.getByRole("heading", { name, level: 1, exact: true }).waitFor();

  await ann.until(() => document.activeElement.id === "write");
  await page.keyboard.type("one");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("two");
  await page.keyboard.press("Enter");
  await ann.hears("one\ntwo");

  await page.keyboard.press("Control+k");
  assert.equal(await focused(), "filter");
  await page.keyboard.type(second);
  await page.getByRole("link", { name: `Start “${second}”` }).waitFor();
  await page.keyboard.press("Enter");
  await heading(second);
  await ann.until(() => document.activeElement.id === "write");
  await page.keyboard.press("Control+k");
  await page.keyboard.press("Escape");
  assert.equal(await page.inputValue("#filter"), "");
  await page.keyboard.press("Alt+ArrowUp");
  await heading(first);
  await page.keyboard.press("Alt+ArrowDown");
  await heading(second);
  await page.keyboard.press("Alt+ArrowDown");
  await heading(first);

  await page.keyboard.press("Control+/");
  await page.getByRole("dialog", { name: "By keyboard" }).waitFor();
  await ann.screenshot("keyboard");
  await page.keyboard.press("Escape");
  await page.getByRole("dialog").waitFor({ state: "hidden" });

  // Once around by Tab: each control shows that it has the focus, and the walk comes back to where it began.
  await page.locator("#skip").focus();
  const visited = [];
  for (let i = 0; i < 60; i += 1) {
    const { name, visible } = await page.evaluate(() => {
      const { outlineStyle, outlineWidth } = getComputedStyle(document.activeElement);
      const box = document.activeElement.getBoundingClientRect();
      return {
        name: document.activeElement.id || document.activeElement.textContent.trim(),
        visible: outlineStyle !== "none" && parseFloat(outlineWidth) >= 2 && box.width > 0 && box.right > 0,
      };
    });
    assert.ok(visible, `no visible focus on ${name}`);
    visited.push(name);
    if (name === "write") break;
    await page.keyboard.press("Tab");
  }
  for (const name of ["skip", "filter", "new-room", "me", "theme", "help", "leave", "open-members", "scroller", "write"]) {
    assert.ok(visited.includes(name), `${name} is not reached: ${visited.join(", ")}`);
  }
  await page.locator("#skip").focus();
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "write");
});

test("on a phone the rooms and the people come in from the side, and nothing is wider than the screen", async (t) => {
  const room = aRoom();
  // axe-core takes the first link above a list that goes on below the screen for a skip link.
  const empty = new Server(await freePort());
  t.after(() => empty.stop());
  await empty.start();
  const ann = await arrive("Ann", {
    room, url: empty.url, viewport: { width: 320, height: 568 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2,
  });
  const { page } = ann;
  await ann.say("a".repeat(300), "سلام دنیا", "https://example.org/" + "path/".repeat(30));
  await ann.hears("سلام دنیا");
  const overflow = () => page.evaluate(() => document.documentElement.scrollWidth - innerWidth
    + document.getElementById("scroller").scrollWidth - document.getElementById("scroller").clientWidth);
  assert.equal(await overflow(), 0);
  await ann.screenshot("phone");

  await page.getByRole("button", { name: "Rooms" }).tap();
  await page.getByRole("navigation", { name: "Rooms" }).waitFor();
  await assertAccessible(ann, "phone, rooms open");
  await ann.screenshot("phone-rooms");
  await page.keyboard.press("Escape");
  await page.getByRole("navigation", { name: "Rooms" }).waitFor({ state: "hidden" });
  await page.getByRole("button", { name: "1 person here" }).tap();
  await page.getByRole("complementary", { name: "Here now" }).waitFor();
  await page.getByRole("button", { name: "Close the list of people" }).tap();
  await page.getByRole("complementary", { name: "Here now" }).waitFor({ state: "hidden" });
  assert.equal(await overflow(), 0);
  const small = await page.evaluate(() => [...document.querySelectorAll("button, a, textarea")]
    .filter((element) => element.checkVisibility({ visibilityProperty: true }) && !element.closest("#log, .skip"))
    .map((element) => [element.id || element.textContent, element.getBoundingClientRect()])
    .filter(([, { width, height }]) => width > 0 && Math.min(width, height) < 36).map(([name]) => name));
  assert.deepEqual(small, [], "too small for a finger");
});

test("a list of people that is longer than the screen can be scrolled by keyboard, and what lies under it is out of reach", async () => {
  const room = aRoom();
  for (const name of ["Ann", "Bob", "Cid", "Dee", "Eve"]) await arrive(name, { room, viewport: { width: 900, height: 220 } });
  const [ann] = people;
  const { page } = ann;
  await ann.sees("Ann", "Bob", "Cid", "Dee", "Eve");
  await page.getByRole("button", { name: "5 people here" }).press("Enter");
  await page.getByRole("complementary", { name: "Here now" }).waitFor();
  await assertAccessible(ann, "a low screen, people open");
  await page.keyboard.press("Tab");
  assert.equal(await page.evaluate(() => document.activeElement.id), "people");
  await page.keyboard.press("End");
  await ann.until(() => document.getElementById("people").scrollTop > 0);
  for (let i = 0; i < 5; i += 1) {
    await page.keyboard.press("Tab");
    assert.ok(await page.evaluate(() => document.activeElement === document.body || document.activeElement.closest("#members")));
  }
  await page.keyboard.press("Escape");
  assert.equal(await page.evaluate(() => document.activeElement.id), "open-members");
});

test("the theme follows the system until one chooses, and the choice is remembered", async () => {
  const ann = await arrive("Ann", { room: aRoom(), colorScheme: "dark" });
  const { page } = ann;
  const isDark = () => page.evaluate(() => {
    const [r, g, b] = getComputedStyle(document.body).backgroundColor.match(/[\d.]+/g).map(Number);
    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    canvas.fillStyle = getComputedStyle(document.body).backgroundColor;
    canvas.fillRect(0, 0, 1, 1);
    return canvas.getImageData(0, 0, 1, 1).data[0] < 128 && [r, g, b].length === 3;
  });
  assert.equal(await isDark(), true);
  await page.getByRole("button", { name: "Theme: as the system" }).click();
  await page.getByRole("button", { name: "Theme: light" }).waitFor();
  assert.equal(await isDark(), false);
  await page.reload();
  await ann.connected();
  assert.equal(await isDark(), false);
  await page.getByRole("button", { name: "Theme: light" }).click();
  await page.getByRole("button", { name: "Theme: dark" }).click();
  await page.emulateMedia({ colorScheme: "light" });
  assert.equal(await isDark(), false);
});

test("nothing that axe-core knows of stands in anybody's way, in light and in dark", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", { room });
  const bob = await arrive("Bob", { room });
  await bob.say("See https://example.org", "😀");
  await ann.say("Yes, I saw it");
  await bob.hears("Yes, I saw it");
  await ann.sees("Ann", "Bob");
  for (const colorScheme of ["light", "dark"]) {
    await ann.page.emulateMedia({ colorScheme });
    await assertAccessible(ann, colorScheme);
    await ann.screenshot(colorScheme);
  }
  await ann.page.getByRole("button", { name: "Start a room" }).first().click();
  await assertAccessible(ann, "start a room");
  await ann.page.keyboard.press("Escape");
  await ann.page.getByRole("button", { name: "Ann", exact: true }).click();
  await assertAccessible(ann, "one's name");
});

test("a new name is taken on without losing one's place", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", { room });
  const bob = await arrive("Bob", { room });
  await ann.say("I am Ann");
  await bob.hears("I am Ann");
  await ann.page.getByRole("button", { name: "Ann", exact: true }).click();
  await ann.page.getByLabel("What shall we call you?").fill("Anna");
  await ann.page.keyboard.press("Enter");
  await bob.sees("Anna", "Bob");
  await ann.say("Now I am Anna");
  for (const person of [ann, bob]) await person.hears("Now I am Anna");
  assert.equal(await ann.page.locator("#log .own").count(), 2);
});
