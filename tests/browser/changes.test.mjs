/** What becomes of messages, in Chromium against the real server: edited, deleted, pinned, answered, and who is mentioned in them. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { test } from "node:test";
import { connect, join, ok, VERSIONS } from "../clients/support/client.js";
import { newFolder } from "../clients/support/folder.js";
import { assertAccessible, freePort, Server, setUp, write } from "./harness.mjs";

const SETTINGS = { "auth.guests": false, "auth.secret": "aEQYTpD+4wEPCQEcH206uMvn2CwlK1Y9EWjSjA7hz6AdyfTIG1cl/SN1bYkQPh7L" };
const { server, aRoom, aWire, arrive: enter } = await setUp(SETTINGS);

async function arrive(user, room, { of = server, url = of.url, level = "speak", ...options } = {}) {
  const token = of.token(user.toLowerCase(), "--name", user, "--rooms", `*=${level}`);
  return enter(user, { room, token, url, ...options });
}

const moderator = (user, room, options) => arrive(user, room, { level: "moderate", ...options });

/** All that is said, with what stands around it: what somebody sees of the conversation, but for times. */
const seen = ({ page }) => page.locator("#log .said").evaluateAll((rows) => rows.map((row) =>
  [".above", ".answered", ".body"].map((part) => row.querySelector(part)?.textContent).filter((text) => text !== undefined)));

/** Whether a text stands anywhere: on the page, in a field, in what is read out. */
const stands = ({ page }, text) => page.evaluate((text) =>
  document.documentElement.outerHTML.includes(text) || [...document.querySelectorAll("input, textarea")].some(({ value }) => value.includes(text)), text);

const isGone = (person, text) => person.until((text) => !document.documentElement.outerHTML.includes(text), text);

test("what one edits, deletes and answers the other sees, also after a reload and a restart of the server", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", room);
  const bob = await arrive("Bob", room);
  await ann.say("first", "second", "the third");
  await bob.hears("the third");

  await ann.choose("second", "Edit");
  await write(ann).fill("second, and better");
  await write(ann).press("Enter");
  await bob.message("second, and better").waitFor();
  assert.match(await bob.page.locator("#log .edited").getAttribute("title"), /^Edited .*\d/);

  await bob.choose("first", "Reply");
  await bob.page.getByText("Answer to Ann: first").waitFor();
  await bob.say("I agree");
  await ann.message("I agree").getByRole("button", { name: "Ann first" }).waitFor();

  await ann.choose("the third", "Delete");
  await ann.page.getByRole("dialog", { name: "Delete this message?" }).getByText("the third").waitFor();
  await ann.page.getByRole("button", { name: "Delete", exact: true }).click();
  for (const person of [ann, bob]) await isGone(person, "the third");

  const all = [["first"], ["second, and better (edited)"], ["Deleted by its author"], ["Annfirst", "I agree"]];
  for (const person of [ann, bob]) assert.deepEqual(await seen(person), all);
  await bob.page.reload();
  await bob.message("I agree").waitFor();
  assert.deepEqual(await seen(bob), all);

  for (const { complaints } of [ann, bob]) assert.deepEqual(complaints, []);
  await server.stop();
  for (const { page } of [ann, bob]) await page.getByText(/^Connection lost/).first().waitFor();
  await server.start();
  for (const person of [ann, bob]) {
    await person.page.evaluate(() => dispatchEvent(new Event("online")));
    await person.connected();
  }
  await ann.say("after the restart");
  for (const person of [ann, bob]) {
    await person.hears("after the restart");
    assert.deepEqual((await seen(person)).slice(0, 4), all);
  }
  await bob.page.reload();
  await bob.hears("after the restart");
  assert.deepEqual((await seen(bob)).slice(0, 4), all);
});

test("a moderator deletes and pins what others said, and nobody else is offered that", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", room);
  const mo = await moderator("Mo", room);
  await ann.say("keep this", "unkind words", "something else");
  await mo.hears("something else");

  await mo.choose("keep this", "Pin");
  for (const person of [ann, mo]) {
    await person.page.getByText("Pinned by Mo").waitFor();
    await person.page.getByRole("button", { name: "1 pinned message" }).click();
    await person.page.getByRole("button", { name: /^Ann .* keep this$/ }).click();
    await person.until(() => document.activeElement.textContent.includes("keep this"));
  }
  await mo.choose("unkind words", "Delete for everybody");
  await mo.page.getByRole("button", { name: "Keep it" }).click();
  await mo.message("unkind words").waitFor();
  await mo.choose("unkind words", "Delete for everybody");
  await mo.page.getByRole("button", { name: "Delete", exact: true }).click();
  for (const person of [ann, mo]) await isGone(person, "unkind words");
  const all = [["Pinned by Mo", "keep this"], ["Deleted by Mo"], ["something else"]];
  for (const person of [ann, mo]) assert.deepEqual(await seen(person), all);

  await mo.say("from Mo");
  await ann.message("from Mo").hover();
  await ann.message("from Mo").getByRole("button", { name: "More" }).click();
  assert.deepEqual(await ann.page.getByRole("menuitem").locator("span").allTextContents(), ["Reply", "Copy the text", "Report…"]);
  await ann.page.keyboard.press("Escape");
  await ann.message("something else").hover();
  await ann.message("something else").getByRole("button", { name: "More" }).click();
  assert.deepEqual(await ann.page.getByRole("menuitem").locator("span").allTextContents(), ["Reply", "Edit", "Copy the text", "Delete"]);
  await ann.page.keyboard.press("Escape");
  assert.equal(await ann.page.locator("#log .said", { hasText: "Deleted by Mo" }).getByRole("button").count(), 0);

  await mo.choose("keep this", "Unpin");
  await ann.page.getByRole("button", { name: "1 pinned message" }).waitFor({ state: "hidden" });
  assert.deepEqual((await seen(ann))[0], ["keep this"]);
});

test("a stock client in the same room hears new messages, and nothing disturbs it", async (t) => {
  const room = aRoom();
  const client = VERSIONS.find(({ version }) => version.startsWith("1.8"));
  const socket = connect(t, client, server, "ear");
  const errors = [];
  socket.onError((error) => errors.push(error));
  const { channel } = await join(socket, `room:${room}`);
  const heard = [];
  channel.on("new_msg", ({ body, offset }) => heard.push([offset, body]));
  channel.onError((error) => errors.push(error));
  channel.onClose(() => errors.push("closed"));

  const ann = await arrive("Ann", room);
  const mo = await moderator("Mo", room);
  await ann.say("one", "two");
  await mo.hears("two");
  await ann.choose("one", "Edit");
  await write(ann).fill("uno");
  await write(ann).press("Enter");
  await mo.message("uno").waitFor();
  await mo.choose("uno", "Pin");
  await mo.choose("two", "Delete for everybody");
  await mo.page.getByRole("button", { name: "Delete", exact: true }).click();
  await isGone(ann, ">two<");
  const last = new Promise((resolve) => channel.on("new_msg", ({ body }) => { if (body === "three") resolve(); }));
  await ann.say("three");
  await last;
  assert.deepEqual([heard, errors], [[[1, "one"], [2, "two"], [3, "three"]], []]);
  const again = await join(connect(t, client, server, "ear"), `room:${room}`);
  assert.deepEqual(again.response.messages.map(({ body }) => body), ["uno", "", "three"]);
});

test("what is deleted stands nowhere on anybody's page", async () => {
  const room = aRoom();
  const ann = await arrive("Ann", room);
  const mo = await moderator("Mo", room);
  const bob = await arrive("Bob", room);
  await ann.say("a secret word");
  for (const person of [mo, bob]) await person.page.getByRole("log").getByText("Ann: a secret word").waitFor({ state: "attached" });
  await mo.choose("a secret word", "Pin");
  await bob.page.getByRole("button", { name: "1 pinned message" }).click();
  await bob.page.getByRole("button", { name: /^Ann .* a secret word$/ }).waitFor();
  await bob.page.keyboard.press("Escape");
  await bob.choose("a secret word", "Reply");
  await bob.say("what is this?");
  await bob.choose("a secret word", "Reply"); // the strip has it too
  await ann.page.getByRole("button", { name: "Ann a secret word" }).waitFor();
  await ann.choose("a secret word", "Edit");
  for (const person of [ann, mo, bob]) assert.ok(await stands(person, "secret"));

  await mo.choose("a secret word", "Delete for everybody");
  await mo.page.getByRole("button", { name: "Delete", exact: true }).click();
  for (const person of [ann, mo, bob]) {
    await person.page.getByText("Deleted by Mo").waitFor();
    await isGone(person, "secret");
    assert.equal(await stands(person, "secret"), false);
    await person.page.getByRole("button", { name: "A deleted message", exact: true }).waitFor();
  }
  await bob.page.getByText("Answer to a deleted message").waitFor();
  assert.equal(await ann.page.locator("#strip").isVisible(), false, "the edit of it has ended");
});

test("what was written for an edit is not lost when a moderator has deleted the message, or its time is over", async (t) => {
  const room = aRoom();
  const bob = await arrive("Bob", room);
  const mo = await moderator("Mo", room);
  await bob.say("a typo", "another");
  await mo.hears("another");
  await bob.choose("a typo", "Edit");
  await write(bob).fill("what I meant");
  await mo.choose("a typo", "Delete for everybody");
  await mo.page.getByRole("button", { name: "Delete", exact: true }).click();
  await bob.page.locator("#strip").waitFor({ state: "hidden" });
  assert.equal(await write(bob).inputValue(), "what I meant");

  const token = server.token("owner", "--rooms", "*=own");
  const { channel } = await join(connect(t, VERSIONS.at(-1), server, "owner", { params: { token } }), `room:${room}`);
  await bob.choose("another", "Edit");
  await write(bob).fill("one more");
  await ok(channel.push("room_set", { edit_s: 0 }));
  await write(bob).press("Enter");
  const refusal = bob.message("another").getByRole("alert");
  await refusal.getByText("Not changed: it is too late to change this message.").waitFor();
  await refusal.getByRole("button", { name: "Write it anew" }).click();
  await bob.until(() => document.getElementById("write").value === "what I meant\none more");
  await refusal.waitFor({ state: "hidden" });
});

test("what is pinned and lies further back is counted, and can be read", async (t) => {
  const free = new Server(await freePort(), { ...SETTINGS, "limits.publish_per_s": 0 });
  t.after(() => free.stop());
  await free.start();
  const room = aRoom();
  const token = free.token("zoe", "--rooms", "*=moderate");
  const { channel } = await join(connect(t, VERSIONS.at(-1), free, "zoe", { params: { token } }), `room:${room}`);
  await ok(channel.push("new_msg", { body: "the rules:\nbe kind" }));
  // More than a page has; what is further back comes when one scrolls there.
  for (let count = 0; count < 220; count += 1) await ok(channel.push("new_msg", { body: `m${count}` }));
  const bob = await arrive("Bob", room, { of: free });
  await bob.hears("m219");
  await ok(channel.push("msg_pin", { offset: 1 }));
  const cat = await arrive("Cat", room, { of: free });
  const button = ({ page }) => page.getByRole("button", { name: "1 pinned message" });
  for (const person of [bob, cat]) await button(person).waitFor();
  assert.equal(await stands(bob, "be kind"), false);

  await button(bob).click();
  const listed = (text) => bob.page.locator("#pins-list").getByText(text).waitFor();
  await listed("the rules:\nbe kind");
  await assertAccessible(bob, "pins further back");
  await bob.screenshot("pins-further");
  await ok(channel.push("msg_edit", { offset: 1, body: "be kinder" }));
  await listed("be kinder");
  await ok(channel.push("msg_delete", { offset: 1 }));
  for (const person of [bob, cat]) await button(person).waitFor({ state: "hidden" });
  assert.equal(await stands(bob, "kind"), false);
});

test("what the server refuses is taken back, and the page says why", async (t) => {
  const phrases = `${newFolder()}/phrases.txt`;
  writeFileSync(phrases, "otherwise\n");
  const strict = new Server(await freePort(), { ...SETTINGS, "chat.blocked_file": phrases, "limits.pins": 1 });
  t.after(() => strict.stop());
  await strict.start();
  const room = aRoom();
  const ann = await arrive("Ann", room, { of: strict });
  await ann.say("as it was");
  await ann.hears("as it was");
  await ann.choose("as it was", "Edit");
  await write(ann).fill("otherwise");
  await write(ann).press("Enter");
  const row = ann.message("as it was");
  await row.getByRole("alert").getByText("Not changed: the message has words that are not taken here.").waitFor();
  assert.deepEqual(await seen(ann), [["as it was"]]);
  await assertAccessible(ann, "refused");
  await ann.screenshot("change-refused");
  await row.getByRole("button", { name: "Edit", exact: true }).click();
  await ann.until(() => document.getElementById("write").value === "otherwise"); // it is not lost
  await write(ann).press("Escape");
  assert.equal(await row.getByRole("alert").count(), 0);

  const mo = await moderator("Mo", room, { of: strict });
  await mo.say("one more");
  await mo.hears("one more");
  await mo.choose("one more", "Pin");
  await mo.message("one more").getByText("Pinned by Mo").waitFor();
  await mo.choose("as it was", "Pin");
  const refused = mo.message("as it was");
  await refused.getByText("Not pinned: there can be 1 at most (limits.pins).").waitFor();
  assert.deepEqual(await seen(mo), [["as it was"], ["Pinned by Mo", "one more"]]);
  await refused.getByRole("button", { name: "Dismiss" }).click();
  await refused.getByRole("alert").waitFor({ state: "hidden" });
});

test("where no message changes, the page offers what is left", async (t) => {
  const fixed = new Server(await freePort(), { ...SETTINGS, "chat.changes": 0 });
  t.after(() => fixed.stop());
  await fixed.start();
  const room = aRoom();
  const bob = await arrive("Bob", room, { of: fixed });
  const mo = await moderator("Mo", room, { of: fixed });
  await bob.say("here I am");
  await mo.hears("here I am");
  const offered = async (person) => {
    await person.message("here I am").hover();
    await person.message("here I am").getByRole("button", { name: "More", exact: true }).click();
    const items = await person.page.locator("#actions [role=menuitem] > span").allTextContents();
    await person.page.keyboard.press("Escape");
    return items;
  };
  assert.deepEqual(await offered(bob), ["Reply", "Copy the text"]);
  assert.deepEqual(await offered(mo), ["Reply", "Copy the text", "Mute…", "Remove from room", "Ban…"]);
  await mo.choose("here I am", "Reply");
  await mo.say("so I see");
  await bob.message("so I see").getByRole("button", { name: "Bob here I am" }).waitFor();
});

test("what one changes while away shows at once, is done when the wire is mended, and yields to what came before it", async () => {
  const room = aRoom();
  const wire = await aWire();
  const ann = await arrive("Ann", room, { url: wire.url });
  const mo = await moderator("Mo", room);
  await ann.say("one", "two");
  await mo.hears("two");
  wire.cut();
  await ann.page.getByText(/^Connection lost/).first().waitFor();
  for (const [text, next] of [["one", "uno"], ["two", "due"]]) {
    await ann.choose(text, "Edit");
    await write(ann).fill(next);
    await write(ann).press("Enter");
  }
  for (const text of ["uno", "due"]) await ann.message(text).waitFor();
  assert.deepEqual(await seen(ann), [["uno (edited)"], ["due (edited)"]]);
  await mo.choose("two", "Delete for everybody");
  await mo.page.getByRole("button", { name: "Delete", exact: true }).click();
  await mo.page.getByText("Deleted by Mo").waitFor();
  wire.mend();
  await ann.page.evaluate(() => dispatchEvent(new Event("online")));
  await mo.message("uno").waitFor();
  await ann.page.getByText("Not changed: this message was deleted.").waitFor();
  for (const person of [ann, mo]) assert.deepEqual(await seen(person), [["uno (edited)"], ["Deleted by Mo"]]);
});

test("an @ completes the names of who is here, and whom it mentions sees that", async (t) => {
  const room = aRoom();
  const client = VERSIONS.find(({ version }) => version.startsWith("1.8"));
  const { channel } = await join(connect(t, client, server, "ear"), `room:${room}`);
  const heard = [];
  channel.on("new_msg", ({ body, mentions }) => heard.push([body, mentions]));
  const ann = await arrive("Ann", room);
  const bob = await arrive("Bob", room);
  const mo = await moderator("Mo", room);
  for (const person of [ann, bob, mo]) await person.sees("Ann", "Bob", "Mo", "ear");
  const options = (person) => person.page.getByRole("option").locator("span:first-child").allTextContents();

  await write(ann).pressSequentially("hello @");
  await ann.page.getByRole("listbox", { name: "People here" }).waitFor();
  assert.deepEqual(await options(ann), ["Bob", "ear", "Mo"]);
  await assertAccessible(ann, "completion");
  await ann.screenshot("mention");
  await write(ann).press("ArrowUp");
  assert.equal(await ann.page.getByRole("option", { selected: true }).textContent(), "Mo");
  await write(ann).press("Escape");
  await ann.page.getByRole("listbox").waitFor({ state: "hidden" });
  await write(ann).pressSequentially("b");
  assert.deepEqual(await options(ann), ["Bob"]);
  await write(ann).press("Enter");
  assert.equal(await write(ann).inputValue(), "hello @Bob ");
  await write(ann).press("Enter");
  await bob.page.locator("#log .for-me", { hasText: "hello @Bob" }).waitFor();
  assert.equal(await bob.page.locator("#log .mention.to-me").textContent(), "@Bob");
  await mo.hears("hello @Bob");
  assert.equal(await mo.page.locator("#log .for-me").count(), 0);

  await write(ann).pressSequentially("@B");
  await ann.page.getByRole("option", { name: "Bob" }).click();
  await write(ann).fill("@nobody"); // chosen, and taken out again
  await write(ann).press("Enter");
  await write(mo).pressSequentially("@ro");
  assert.deepEqual(await options(mo), ["@room"]);
  await write(mo).press("Tab");
  await write(mo).press("Enter");
  for (const person of [ann, bob]) await person.page.locator("#log .for-me", { hasText: "@room" }).waitFor();
  assert.deepEqual(heard, [["hello @Bob", ["bob"]], ["@nobody", undefined], ["@room", ["@room"]]]);

  // An edit keeps whom it still names.
  await write(ann).press("ArrowUp");
  await write(ann).press("Escape");
  await ann.choose("hello @Bob", "Edit");
  await write(ann).fill("hello, nobody");
  await write(ann).press("Enter");
  await bob.message("hello, nobody").waitFor();
  assert.equal(await bob.page.locator("#log .for-me", { hasText: "hello" }).count(), 0);
});

test("all that can be done to a message can be done by keyboard, and the focus goes nowhere else", async () => {
  const room = aRoom();
  const ann = await moderator("Ann", room);
  const { page } = ann;
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.querySelector?.(".body")?.textContent || document.activeElement.textContent);
  await ann.say("one", "two", "three");
  await ann.hears("three");

  await write(ann).press("ArrowUp");
  await page.getByText("Editing: three").waitFor();
  assert.equal(await write(ann).inputValue(), "three");
  await page.keyboard.press("Escape");
  await page.getByText("Editing: three").waitFor({ state: "hidden" });
  await page.keyboard.type("a draft");
  await page.keyboard.press("Shift+Tab");
  assert.equal(await focused(), "scroller");
  await page.keyboard.press("ArrowUp");
  assert.equal(await focused(), "three");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowDown");
  assert.equal(await focused(), "two");
  await page.keyboard.press("Enter");
  await page.getByRole("menu", { name: "Message" }).waitFor();
  assert.equal(await focused(), "ReplyR");
  await assertAccessible(ann, "menu");
  await page.keyboard.press("End");
  assert.equal(await focused(), "DeleteDel");
  await page.keyboard.press("Escape");
  assert.equal(await focused(), "two");

  await page.keyboard.press("p");
  await page.getByRole("button", { name: "1 pinned message" }).waitFor();
  await ann.until(() => document.activeElement.textContent.includes("two"), "the row was made anew");
  await page.keyboard.press("e");
  await ann.until(() => document.activeElement.id === "write");
  await page.keyboard.type(" and a half");
  await page.keyboard.press("Enter");
  await ann.message("two and a half").waitFor();
  assert.equal(await write(ann).inputValue(), "a draft", "the draft has waited");
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("r");
  await page.getByText("Answer to Ann: three").waitFor();
  await page.keyboard.press("Escape");
  // Its strip has a button, on which the focus would stop as long as that is there.
  await page.getByText("Answer to Ann: three").waitFor({ state: "hidden" });
  await page.keyboard.press("Shift+Tab");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("Delete");
  await page.getByRole("dialog", { name: "Delete this message?" }).waitFor();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await page.getByText("Deleted by its author").waitFor();
  assert.deepEqual(ann.complaints, []);
});

test("messages are reached by keyboard where they have links, and from a message its links", async () => {
  const ann = await arrive("Ann", { room: aRoom() });
  const { page } = ann;
  const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.textContent);
  await ann.say("first", "see http://a.example and http://b.example");
  await ann.hears("see http://a.example and http://b.example");
  await page.keyboard.press("Shift+Tab");
  assert.equal(await focused(), "scroller");
  await page.keyboard.press("ArrowUp");
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(), "http://a.example");
  await page.keyboard.press("ArrowRight");
  assert.equal(await focused(), "http://b.example");
  const opened = page.context().waitForEvent("page");
  await page.keyboard.press("Enter");
  await (await opened).close();
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.press("ArrowUp");
  assert.match(await focused(), /first/);
});

test("on a phone a long press shows what can be done, from below, and nothing is wider than the screen", async () => {
  const room = aRoom();
  const ann = await moderator("Ann", room, { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true });
  const { page } = ann;
  await ann.say("b".repeat(200), "touch me");
  await ann.hears("touch me");
  const touch = await ann.context.newCDPSession(page);
  const { x, y, height } = await ann.message("touch me").boundingBox();
  const at = { touchPoints: [{ x: x + 40, y: y + height / 2 }] };
  await touch.send("Input.dispatchTouchEvent", { type: "touchStart", ...at });
  await page.getByRole("menu", { name: "Message" }).waitFor();
  await touch.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  await ann.screenshot("phone-menu");
  const { y: top, width, height: menuHeight } = await page.getByRole("menu").boundingBox();
  assert.deepEqual([width, Math.round(top + menuHeight)], [390, 844]);
  const low = await page.getByRole("menuitem").evaluateAll((items) => items.filter((item) => item.getBoundingClientRect().height < 44).length);
  assert.equal(low, 0, "too small for a finger");
  await page.getByRole("menuitem", { name: "Pin" }).tap();
  await page.getByText("Pinned by Ann").waitFor();
  await page.getByRole("button", { name: "1 pinned message" }).tap();
  const pins = await page.locator("#pins").boundingBox();
  assert.ok(pins.x >= 0 && pins.x + pins.width <= 390, `from ${pins.x} to ${pins.x + pins.width}`);
  await page.touchscreen.tap(200, 300);
  await page.locator("#pins").waitFor({ state: "hidden" });

  await touch.send("Input.dispatchTouchEvent", { type: "touchStart", ...at });
  await page.getByRole("menu", { name: "Message" }).waitFor();
  await touch.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  await page.touchscreen.tap(200, 100);
  await page.getByRole("menu").waitFor({ state: "hidden" });
  await touch.send("Input.dispatchTouchEvent", { type: "touchStart", ...at });
  await page.getByRole("menuitem", { name: "Reply" }).waitFor();
  await touch.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  await page.getByRole("menuitem", { name: "Reply" }).tap();
  await ann.say("an answer");
  await ann.hears("an answer");
  await ann.screenshot("phone-changes");
  const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth
    + document.getElementById("scroller").scrollWidth - document.getElementById("scroller").clientWidth);
  assert.equal(overflow, 0);
  await assertAccessible(ann, "phone");
});

test("nothing that axe-core knows of stands in anybody's way in what has become of messages, in light and in dark", async () => {
  const room = aRoom();
  const ann = await moderator("Ann", room);
  const bob = await arrive("Bob", room);
  await ann.sees("Ann", "Bob");
  await bob.say("pinned", "edited", "deleted");
  await ann.hears("deleted");
  await ann.choose("pinned", "Pin");
  await ann.choose("deleted", "Delete for everybody");
  await ann.page.getByRole("button", { name: "Delete", exact: true }).click();
  await bob.choose("edited", "Edit");
  await write(bob).fill("edited for @An");
  await write(bob).press("Enter"); // completes
  await write(bob).press("Enter");
  await ann.page.locator("#log .for-me").waitFor();
  await ann.choose("pinned", "Reply");
  await ann.say("answered");
  await ann.choose("pinned", "Reply");
  await ann.page.getByRole("button", { name: /^Bob pinned$/ }).click();
  for (const colorScheme of ["light", "dark"]) {
    await ann.page.emulateMedia({ colorScheme });
    await assertAccessible(ann, colorScheme);
    await ann.page.locator("#open-pins").click();
    await assertAccessible(ann, `${colorScheme}, pins`);
    await ann.screenshot(`changes-${colorScheme}`);
    await ann.page.keyboard.press("Escape");
  }
});

test("markup in what is edited, quoted, pinned or mentioned is text", async () => {
  const room = aRoom();
  const probe = "<img src=x onerror=document.title='!'>";
  const mo = await moderator(probe, room);
  const bob = await arrive("Bob", room);
  await bob.say("plain");
  await bob.choose("plain", "Edit");
  await write(bob).fill(`${probe} @`);
  await write(bob).press("Enter");
  await write(bob).press("Enter");
  await mo.page.locator("#log .for-me").waitFor();
  await mo.page.locator("#log .said").hover();
  await mo.page.getByRole("button", { name: "More" }).click();
  await mo.page.getByRole("menuitem", { name: "Pin" }).click();
  await mo.page.getByRole("button", { name: "1 pinned message" }).click();
  await mo.page.keyboard.press("Escape");
  await mo.page.locator("#log .said").hover();
  await mo.page.getByRole("button", { name: /^Reply/ }).click();
  await mo.say(probe);
  await bob.page.locator("#log .answered").waitFor();
  for (const person of [mo, bob]) {
    assert.equal(await person.page.locator("img").count(), 0);
    assert.deepEqual(person.complaints, []);
  }
});

test("a message that grows shows that it does, until it is whole", async (t) => {
  const room = aRoom();
  const ann = await arrive("Ann", room);
  const client = VERSIONS.find(({ version }) => version.startsWith("1.8"));
  const { channel } = await join(connect(t, client, server, "bot"), `room:${room}`);
  /** What stands behind the text, or `none`. */
  const cursor = (text) => ann.message(text).locator(".body").evaluate((body) => getComputedStyle(body, "::after").content);

  const { offset } = await ok(channel.push("new_msg", { body: "The quick", stream: true }));
  await ann.message("The quick").locator(".body[aria-busy=true]").waitFor();
  assert.equal(await cursor("The quick"), '"▍"');
  await ok(channel.push("msg_append", { offset, text: " brown fox" }));
  await ann.message("The quick brown fox").waitFor();
  assert.equal(await cursor("The quick brown fox"), '"▍"');
  await assertAccessible(ann, "a message that grows");

  await ok(channel.push("msg_append", { offset, done: true }));
  await ann.message("The quick brown fox").locator(".body:not([aria-busy])").waitFor();
  assert.equal(await cursor("The quick brown fox"), "none");
  assert.deepEqual(await ann.said(), ["The quick brown fox"]);
  assert.deepEqual(ann.complaints, []);
});
