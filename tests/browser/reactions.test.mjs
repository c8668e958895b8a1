/** Reactions, in Chromium against the real server: who has reacted with what, who may, and how. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { connect, inboxOf, join, ok, VERSIONS } from "../clients/support/client.js";
import { assertAccessible, freePort, Server, setUp, write } from "./harness.mjs";
import { decide, forTime, found, set, settings } from "./settings.mjs";

const SETTINGS = { "auth.guests": true, "auth.secret": "aEQYTpD+4wEPCQEcH206uMvn2CwlK1Y9EWjSjA7hz6AdyfTIG1cl/SN1bYkQPh7L" };
const { server, aRoom, aWire, arrive } = await setUp(SETTINGS);

/** The chip of an emoji under a message that says so. */
const chip = (person, text, emoji, options) =>
  person.message(text).getByRole("button", { name: new RegExp(`^${emoji} \\d`), ...options });

/** Waits until a chip has this number, and is one's own or not. */
async function shows(person, text, emoji, count, isOwn) {
  const name = new RegExp(`^${emoji} ${count}: `);
  await person.message(text).getByRole("button", { name, pressed: isOwn }).waitFor();
}

/** What the chips under a message say, in their order. */
const chips = (person, text) =>
  person.message(text).locator(".reaction:not(.add)").evaluateAll((all) => all.map((chip) =>
    [...chip.querySelectorAll("bdi, .number")].map(({ textContent }) => textContent).join(" ")));

const isGone = (person, text) =>
  person.message(text).locator(".reaction").first().waitFor({ state: "detached" });

const title = (person, text, emoji) => chip(person, text, emoji).getAttribute("title");

/** How many ways there are to react to a message that says so, once one points at it. */
async function waysToReact(person, text) {
  await person.message(text).hover();
  const ways = person.message(text).locator("[data-act=react], button.reaction");
  return ways.count();
}

/** A program in the room, which may send what the page does not. */
async function aProgram(t, room, user) {
  const client = VERSIONS.find(({ version }) => version.startsWith("1.8"));
  const { channel } = await join(connect(t, client, server, user), `room:${room}`);
  const news = inboxOf(channel, "msg_changed");
  return {
    react: (offset, emoji) => ok(channel.push("msg_react", { offset, emoji })),
    hears: (emoji, count) => news.until(([, { reactions }]) => reactions?.[emoji]?.count === count),
  };
}

test("the other sees what one reacts with, and a reload keeps whose is whose", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", { room });
  const bob = await arrive("Bob", { room });
  await ann.say("tea?");
  await bob.hears("tea?");
  await ann.sees("Ann", "Bob");

  await ann.react("tea?", "👍");
  await shows(ann, "tea?", "👍", 1, true);
  await shows(bob, "tea?", "👍", 1, false);
  assert.equal(await title(bob, "tea?", "👍"), "👍 1: Ann. Click to react too.");
  await chip(bob, "tea?", "👍").click();
  await shows(bob, "tea?", "👍", 2, true);
  await shows(ann, "tea?", "👍", 2, true);
  for (const [person, other] of [[ann, "Bob"], [bob, "Ann"]]) {
    const expected = `👍 2: You and ${other}. Click to take yours back.`;
    assert.equal(await title(person, "tea?", "👍"), expected);
  }
  await ann.screenshot("reactions");

  await chip(ann, "tea?", "👍").click();
  await shows(ann, "tea?", "👍", 1, false);
  await shows(bob, "tea?", "👍", 1, true);
  await bob.react("tea?", "🎉");
  await shows(ann, "tea?", "🎉", 1, false);
  for (const { page } of [ann, bob]) await page.reload();
  for (const [person, isOwn] of [[ann, false], [bob, true]]) {
    await shows(person, "tea?", "👍", 1, isOwn);
    await shows(person, "tea?", "🎉", 1, isOwn);
    assert.deepEqual(await chips(person, "tea?"), ["👍 1", "🎉 1"]);
  }
  // Who is in the room is told after what was said in it.
  await ann.message("tea?").locator("[title='👍 1: Bob. Click to react too.']").waitFor();

  await bob.message("tea?").hover();
  await bob.react("tea?", "🎉");
  await chip(ann, "tea?", "🎉").waitFor({ state: "detached" });
  await ann.choose("tea?", "Delete");
  await ann.page.getByRole("button", { name: "Delete", exact: true }).click();
  for (const person of [ann, bob]) {
    await person.page.getByText("Deleted by its author").waitFor();
    assert.equal(await person.page.locator(".reaction").count(), 0);
  }
  await bob.page.reload();
  await bob.page.getByText("Deleted by its author").waitFor();
  assert.equal(await bob.page.locator(".reaction").count(), 0);
  for (const { complaints } of [ann, bob]) assert.deepEqual(complaints, []);
});

test("who may not react sees reactions and has no button; readers may if it is set", async () => {
  const room = aRoom();
  const ann = await found(await arrive("Ann"), room);
  const bob = await arrive("Bob", { room });
  await ann.sees("Ann", "Bob");
  await ann.say("hear, hear");
  await bob.hears("hear, hear");
  await set(ann, ["Who may speak", "Moderators"]);
  await bob.page.locator("#write-hint", { hasText: "You can read." }).waitFor();
  await ann.react("hear, hear", "👍");
  await bob.message("hear, hear").locator(".reaction", { hasText: "👍" }).waitFor();
  assert.equal(await waysToReact(bob, "hear, hear"), 0);
  await bob.message("hear, hear").locator("[title='👍 1: Ann']").waitFor();
  await assertAccessible(bob, "a reader");
  assert.ok(await waysToReact(ann, "hear, hear") > 0);

  await set(ann, ["Who may react", "All who may read"]);
  await bob.page.locator("#write-hint", { hasText: "You can read and react." }).waitFor();
  await chip(bob, "hear, hear", "👍").click();
  await bob.react("hear, hear", "🎉");
  await shows(ann, "hear, hear", "👍", 2, true);
  await shows(ann, "hear, hear", "🎉", 1, false);
  await bob.page.reload();
  await shows(bob, "hear, hear", "👍", 2, true);
  await ann.page.getByRole("button", { name: "Room settings" }).click();
  const group = settings(ann).getByRole("group", { name: "Who may react" });
  assert.equal(await group.getByRole("radio", { name: "All who may read" }).isChecked(), true);
  await ann.page.keyboard.press("Escape");

  await set(ann, ["Who may speak", "Everybody"]);
  await bob.say("noise");
  await ann.hears("noise");
  await ann.choose("noise", "Mute…");
  await decide(ann, "Mute Bob", "Mute", forTime("10 minutes"));
  await bob.page.locator("#write-hint", { hasText: "You are muted" }).waitFor();
  assert.equal(await waysToReact(bob, "hear, hear"), 0);
  assert.deepEqual(await chips(bob, "hear, hear"), ["👍 2", "🎉 1"]);
});

test("what the server refuses is taken back, and the page says why", async (t) => {
  const strict = new Server(await freePort(), { "limits.reactions_per_user": 1 });
  t.after(() => strict.stop());
  await strict.start();
  const ann = await arrive("Ann", { room: aRoom(), url: strict.url });
  await ann.say("one is enough");
  await ann.hears("one is enough");
  await ann.react("one is enough", "👍");
  await ann.react("one is enough", "🎉");
  const row = ann.message("one is enough");
  await row.getByText("Not reacted: each can react with 1 emoji at most.").waitFor();
  assert.deepEqual(await chips(ann, "one is enough"), ["👍 1"]);
  await assertAccessible(ann, "refused");
  await row.getByRole("button", { name: "Dismiss" }).click();
  await row.getByRole("alert").waitFor({ state: "hidden" });

  // What is done next ends it as well.
  await ann.react("one is enough", "🎉");
  await row.getByRole("alert").waitFor();
  await chip(ann, "one is enough", "👍").click();
  await row.getByRole("alert").waitFor({ state: "hidden" });
  await isGone(ann, "one is enough");
});

test("what one reacts with while away shows at once, and is done when one is back", async () => {
  const room = aRoom();
  const wire = await aWire();
  const ann = await arrive("Ann", { room, url: wire.url });
  const bob = await arrive("Bob", { room });
  await ann.say("one", "two");
  await bob.hears("two");
  await ann.react("two", "👀");
  await shows(bob, "two", "👀", 1, false);
  wire.cut();
  await ann.page.getByText(/^Connection lost/).first().waitFor();
  await ann.react("one", "👍");
  await shows(ann, "one", "👍", 1, true);
  await chip(ann, "two", "👀").click();
  await isGone(ann, "two");
  await chip(bob, "two", "👀").click();
  await bob.react("one", "🎉");
  await shows(bob, "two", "👀", 2, true);
  wire.mend();
  await ann.page.evaluate(() => dispatchEvent(new Event("online")));
  await shows(bob, "one", "👍", 1, false);
  await shows(bob, "two", "👀", 1, true);
  await shows(ann, "one", "👍", 1, true);
  await shows(ann, "one", "🎉", 1, false);
  await shows(ann, "two", "👀", 1, false);
});

test("what one reacts with in one window is one's own in the other", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", { room });
  await ann.say("both");
  await ann.hears("both");
  const elsewhere = await ann.secondWindow(room);
  await elsewhere.hears("both");
  await ann.react("both", "🙏");
  await shows(elsewhere, "both", "🙏", 1, true);
  await chip(elsewhere, "both", "🙏").click();
  await isGone(ann, "both");
});

test("a chip stays under the pointer while others react, and the text where it is", async (t) => {
  const room = aRoom();
  const ann = await arrive("Ann", { room });
  await ann.say("first", ...Array.from({ length: 30 }, (_, index) => `line ${index}`));
  await ann.hears("line 29");
  const program = await aProgram(t, room, "robot");
  const another = await aProgram(t, room, "another");
  await program.react(31, "👍");
  await shows(ann, "line 29", "👍", 1, false);
  const below = await ann.page.locator("#scroller").evaluate((scroller) =>
    scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight);
  assert.ok(below < 1, "the end is still in sight");

  const { x, y, width, height } = await chip(ann, "line 29", "👍").boundingBox();
  await ann.page.mouse.move(x + width / 2, y + height / 2);
  await ann.page.mouse.down();
  await another.react(31, "👍");
  await shows(ann, "line 29", "👍", 2, false);
  await ann.page.mouse.up();
  await shows(ann, "line 29", "👍", 3, true);
  const focused = await ann.page.evaluate(() => document.activeElement.id);
  assert.equal(focused, "write", "one goes on writing");

  await ann.page.locator("#scroller").evaluate((scroller) => { scroller.scrollTop = 300; });
  await ann.page.waitForFunction(() => !document.getElementById("jump").hidden);
  const top = async () => (await ann.message("line 15").boundingBox()).y;
  const before = await top();
  await program.react(1, "🎉");
  await chip(ann, "first", "🎉").waitFor();
  assert.ok(Math.abs(await top() - before) < 1, `${before} before, ${await top()} after`);
});

test("all of it can be done by keyboard, in light and in dark, and in nobody's way", async () => {
  const room = aRoom();
  const ann = await found(await arrive("Ann"), room);
  const bob = await arrive("Bob", { room });
  const { page } = ann;
  await ann.say("one", "two");
  await bob.hears("two");
  await bob.react("two", "👍");
  await bob.react("two", "❤️");
  await shows(ann, "two", "❤️", 1, false);
  const focused = () => page.evaluate(() => {
    const { ariaLabel, textContent } = document.activeElement;
    return ariaLabel ?? document.activeElement.querySelector(".body")?.textContent ?? textContent;
  });

  await write(ann).focus();
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("ArrowUp");
  assert.equal(await focused(), "two");
  await page.keyboard.press("ArrowRight");
  assert.match(await focused(), /^👍 1: Bob/);
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Space");
  await shows(bob, "two", "❤️", 2, true);
  assert.match(await focused(), /^❤️ 2: You and Bob\. Click to take yours back\./);
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(), "Add a reaction");
  await page.keyboard.press("Enter");
  await page.getByRole("menu", { name: "Message" }).waitFor();
  assert.equal(await focused(), "React with 👍");
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(), "React with ❤️");
  assert.equal(await page.evaluate(() => document.activeElement.ariaChecked), "true");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowLeft");
  assert.equal(await focused(), "React with 🙏");
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await assertAccessible(ann, `emoji, ${colorScheme}`);
    await ann.screenshot(`react-${colorScheme}`);
  }
  await page.keyboard.press("Enter");
  await shows(bob, "two", "🙏", 1, false);
  assert.equal(await focused(), "two");
  assert.equal(await page.locator("#said").textContent(), "Reacted with 🙏");

  // The menu of a message has the emoji above all else; the focus begins below them.
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Enter");
  assert.equal(await focused(), "ReplyR");
  await page.keyboard.press("ArrowUp");
  assert.equal(await focused(), "React with 👍");
  await page.keyboard.press("ArrowUp");
  assert.equal(await focused(), "DeleteDel");
  await page.keyboard.press("ArrowDown");
  await assertAccessible(ann, "menu");
  await page.keyboard.press("Escape");
  await page.keyboard.press("+");
  await page.keyboard.press("Enter");
  await shows(bob, "one", "👍", 1, false);
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("Enter");
  await isGone(bob, "one");
  assert.equal(await focused(), "one", "the chip is gone, and the focus is near");

  await page.getByRole("button", { name: "Room settings" }).press("Enter");
  const group = settings(ann).getByRole("group", { name: "Who may react" });
  await group.getByRole("radio", { name: "Speakers" }).press("ArrowRight");
  assert.equal(await group.getByRole("radio", { name: "All who may read" }).isChecked(), true);
  await assertAccessible(ann, "settings");
  for (const { complaints } of [ann, bob]) assert.deepEqual(complaints, []);
});

test("an emoji may be any text, and is never more than that", async (t) => {
  const room = aRoom();
  const ann = await arrive("Ann", { room });
  await ann.say("plain");
  await ann.hears("plain");
  const program = await aProgram(t, room, "robot");
  const probes = ["<img src=x onerror=document.title='!'>", "__proto__", "constructor",
    "W".repeat(64), "\u200b", `e${"\u0301".repeat(30)}`, "\u202eabc", "سلام",
    "👨🏽‍👩🏽‍👧🏽‍👦🏽", "🏴󠁧󠁢󠁳󠁣󠁴󠁿"];
  for (const [index, emoji] of probes.entries()) {
    const reactor = index < 5 ? program : await aProgram(t, room, `robot ${index}`);
    await reactor.react(1, emoji);
  }
  await ann.until((count) =>
    document.querySelectorAll(".reaction:not(.add)").length === count, probes.length);
  const shown = await chips(ann, "plain");
  assert.deepEqual(shown.slice(0, 5), ["<img src=x onerr… 1", "__proto__ 1", "constructor 1",
    `${"W".repeat(16)}… 1`, "(blank) 1"]);
  assert.deepEqual(shown.slice(6), ["abc 1", "سلام 1", "👨🏽‍👩🏽‍👧🏽‍👦🏽 1", "🏴󠁧󠁢󠁳󠁣󠁴󠁿 1"]);
  const heights = await ann.page.locator(".reaction")
    .evaluateAll((all) => all.map(({ offsetHeight }) => offsetHeight));
  assert.equal(new Set(heights).size, 1, `chips of one height: ${heights}`);
  await ann.screenshot("reactions-any");
  for (const name of ["__proto__", "constructor"]) {
    await chip(ann, "plain", name).click();
    await shows(ann, "plain", name, 2, true);
  }
  // The page shows what is still on its way, and a reload would end that.
  await program.hears("constructor", 2);
  await ann.page.reload();
  await shows(ann, "plain", "__proto__", 2, true);
  assert.equal(await ann.page.locator("img").count(), 0);
  assert.deepEqual(ann.complaints, []);
});

test("on a phone the emoji come from below, and chips are large enough for a finger", async (t) => {
  const room = aRoom();
  const ann = await arrive("Ann", {
    room, viewport: { width: 320, height: 640 }, isMobile: true, hasTouch: true,
  });
  const { page } = ann;
  await ann.say("touch me");
  await ann.hears("touch me");
  const touch = await ann.context.newCDPSession(page);
  const { x, y, height } = await ann.message("touch me").boundingBox();
  const touchPoints = [{ x: x + 40, y: y + height / 2 }];
  await touch.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints });
  await page.getByRole("menu", { name: "Message" }).waitFor();
  await touch.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  await ann.screenshot("phone-react");
  const sizes = await page.getByRole("menuitemcheckbox").evaluateAll((all) => all.map((button) => {
    const { width, height, right } = button.getBoundingClientRect();
    return [Math.min(width, height) >= 44, right <= innerWidth];
  }));
  assert.deepEqual(sizes, sizes.map(() => [true, true]), "large enough, and in sight");
  await page.getByRole("menuitemcheckbox", { name: "React with 🎉" }).tap();
  await shows(ann, "touch me", "🎉", 1, true);

  for (let index = 0; index < 4; index += 1) {
    const program = await aProgram(t, room, `robot ${index}`);
    for (const letter of "abcd") await program.react(1, `emoji ${index} ${letter}`);
  }
  await ann.until(() => document.querySelectorAll(".reaction:not(.add)").length === 17);
  await ann.screenshot("phone-reactions");
  const overflow = await page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.getElementById("scroller");
    return document.documentElement.scrollWidth - innerWidth + scrollWidth - clientWidth;
  });
  assert.equal(overflow, 0);
  const low = await page.locator(".reaction")
    .evaluateAll((all) => all.filter(({ offsetHeight }) => offsetHeight < 32).length);
  assert.equal(low, 0);
  await page.getByRole("button", { name: "Add a reaction" }).tap();
  await page.getByRole("menuitemcheckbox", { name: "React with 🎉" }).tap();
  await chip(ann, "touch me", "🎉").waitFor({ state: "detached" });
  await assertAccessible(ann, "phone");
});
