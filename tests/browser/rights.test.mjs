/** What a room decides, in Chromium against the real server: settings, roles, mutes and bans. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { assertAccessible, setUp, write } from "./harness.mjs";
import { decide, forTime, found as foundBy, set, settings } from "./settings.mjs";

const { aRoom, arrive } = await setUp();

const found = async (name, room) => foundBy(await arrive(name), room);
const hint = ({ page }, text) => page.locator("#write-hint", { hasText: text }).waitFor();
const isOut = ({ page }, text) => page.locator("#log .out", { hasText: text }).waitFor();
const mayWrite = (person) => person.until(() => !document.getElementById("write").disabled);

/** Lifts what the settings say of somebody. */
async function lift(person, what, name) {
  await person.page.getByRole("button", { name: "Room settings" }).click();
  await settings(person).getByRole("button", { name: `Lift the ${what} of ${name}` }).click();
  await settings(person).getByText("Nobody is.").waitFor();
  await person.page.keyboard.press("Escape");
}

/** Opens the menu of somebody in the list of people. */
const openMenuOf = ({ page }, name) =>
  page.getByRole("button", { name: `What can be done to ${name}` }).click();

const choose = ({ page }, item) => page.getByRole("menuitem", { name: item, exact: true }).click();

/** What the menu of a message offers. */
async function offered(person, text) {
  await person.message(text).hover();
  await person.message(text).getByRole("button", { name: "More" }).click();
  const items = await person.page.locator("#actions [role=menuitem] > span").allTextContents();
  await person.page.keyboard.press("Escape");
  return items;
}

test("who is muted is told until when, keeps what they wrote, and speaks afterwards", async () => {
  const room = aRoom();
  const ann = await found("Ann", room);
  const bob = await arrive("Bob", { room });
  await bob.page.clock.install();
  await bob.say("noise");
  await ann.hears("noise");
  await write(bob).fill("more of it");

  await ann.choose("noise", "Mute…");
  await decide(ann, "Mute Bob", "Mute", forTime("10 minutes"));
  await hint(bob, /^You are muted until \d/);
  assert.equal(await write(bob).isDisabled(), true);
  assert.equal(await write(bob).inputValue(), "more of it");
  await bob.screenshot("muted");

  // Over by Bob's clock, which is fast: the server knows better, and nothing is lost.
  await bob.page.clock.fastForward("11:00");
  await mayWrite(bob);
  await write(bob).press("Enter");
  await bob.until(() => document.getElementById("write").value === "more of it");
  assert.deepEqual(await ann.said(), ["noise"]);

  await lift(ann, "mute", "Bob");
  await mayWrite(bob);
  await write(bob).press("Enter");
  await ann.hears("more of it");
});

test("in slow mode one sees when one may write, and what came too early is sent later", async () => {
  const room = aRoom();
  const ann = await found("Ann", room);
  const bob = await arrive("Bob", { room });
  await ann.sees("Ann", "Bob");
  await set(ann, ["Slow mode", "5 s"]);
  await ann.say("one", "two");
  await bob.hears("two");

  const elsewhere = await bob.secondWindow(room);
  await bob.say("three");
  await hint(bob, /^You can write again in \d s\.$/);
  await bob.say("four");
  assert.equal(await write(bob).inputValue(), "four", "it stays in the field");
  await elsewhere.say("five");
  await elsewhere.page.getByText("Slow mode: sent in a while").waitFor();
  await ann.hears("five");
  await set(ann, ["Slow mode", "Off"]);
  await bob.until(() => !document.querySelector("#composer [type=submit]").disabled);
  await write(bob).press("Enter");
  await ann.hears("four");
  assert.deepEqual(await ann.said(), ["one", "two", "three", "five", "four"]);
});

test("where only moderators speak the others read, until all may speak again", async () => {
  const room = aRoom();
  const ann = await found("Ann", room);
  const bob = await arrive("Bob", { room });
  await ann.sees("Ann", "Bob");
  await set(ann, ["Who may speak", "Moderators"]);
  await hint(bob, "Only moderators speak here.");
  await bob.page.getByText("read only").waitFor();
  await ann.say("hear, hear");
  await bob.hears("hear, hear");
  assert.equal(await write(bob).isDisabled(), true);
  await bob.page.reload();
  await hint(bob, "Only moderators speak here.");
  await set(ann, ["Who may speak", "Everybody"]);
  await mayWrite(bob);
  await bob.say("at last");
  await ann.hears("at last");
});

test("who is banned is out, is told why, and comes back when the ban is lifted", async () => {
  const room = aRoom();
  const ann = await found("Ann", room);
  const bob = await arrive("Bob", { room });
  await bob.say("noise");
  await ann.hears("noise");
  await ann.choose("noise", "Ban…");
  await decide(ann, "Ban Bob", "Ban", async (dialog) => {
    await dialog.getByText("For ever").click();
    await dialog.getByLabel(/^Reason/).fill("That was enough");
    await dialog.getByLabel("Also delete the messages of the last hour").check();
  });
  await isOut(bob, "Ann has banned you from this room for ever: “That was enough”.");
  await hint(bob, "You are not in this room.");
  await bob.screenshot("banned");
  await ann.sees("Ann");
  await ann.page.getByText("Deleted by").waitFor();

  await bob.page.getByRole("button", { name: "Try again" }).click();
  await isOut(bob, "You are banned from this room for ever.");
  await bob.page.reload();
  await isOut(bob, "You are banned from this room for ever.");

  await lift(ann, "ban", "Bob");
  await bob.page.getByRole("button", { name: "Try again" }).click();
  await ann.sees("Ann", "Bob");
  await bob.say("sorry");
  await ann.hears("sorry");
});

test("who is removed from a room comes back when they choose to", async () => {
  const room = aRoom();
  const ann = await found("Ann", room);
  const bob = await arrive("Bob", { room });
  await ann.sees("Ann", "Bob");
  await openMenuOf(ann, "Bob");
  await choose(ann, "Remove from room");
  await decide(ann, "Remove Bob from the room?", "Remove");
  await isOut(bob, "Ann has removed you from this room.");
  await ann.sees("Ann");
  await bob.goTo(aRoom());
  await bob.page.getByRole("link", { name: new RegExp(`^${room} `) }).click();
  await isOut(bob, "Ann has removed you from this room.");
  await bob.page.getByRole("button", { name: "Come in again" }).click();
  await ann.sees("Ann", "Bob");
  await mayWrite(bob);
});

test("an owner makes a moderator, who bans another and nobody above", async () => {
  const room = aRoom();
  const ann = await found("Ann", room);
  const [bob, cy] = [await arrive("Bob", { room }), await arrive("Cy", { room })];
  await ann.sees("Ann", "Bob", "Cy");
  await ann.say("welcome");
  await cy.say("noise");
  for (const person of [ann, bob]) await person.hears("noise");
  assert.deepEqual(await offered(bob, "noise"), ["Reply", "Copy the text", "Report…"]);

  await openMenuOf(ann, "Bob");
  await choose(ann, "Make moderator");
  await decide(ann, "Make Bob a moderator?", "Make moderator");
  await bob.page.getByRole("button", { name: "What can be done to Cy" }).waitFor();
  await bob.page.locator("#people li", { hasText: "owner" }).waitFor();
  const above = ["Mute…", "Remove from room", "Ban…"];
  const offers = await offered(bob, "welcome");
  assert.deepEqual(offers.filter((item) => above.includes(item)), [], "Ann is above Bob");

  await bob.choose("noise", "Ban…");
  await decide(bob, "Ban Cy", "Ban", forTime("1 hour"));
  await isOut(cy, /^Bob has banned you from this room until \S/);
  await ann.sees("Ann", "Bob");

  await openMenuOf(ann, "Bob");
  await choose(ann, "No longer moderator");
  await decide(ann, "Is Bob no longer a moderator?", "No longer moderator");
  await bob.page.getByRole("button", { name: "Room settings" }).waitFor({ state: "hidden" });
});

test("what a room is about stands under its title, and moderators may change it", async () => {
  const room = aRoom();
  const ann = await found("Ann", room);
  const bob = await arrive("Bob", { room });
  await ann.sees("Ann", "Bob");
  await openMenuOf(ann, "Bob");
  await choose(ann, "Make moderator");
  await decide(ann, "Make Bob a moderator?", "Make moderator");

  await bob.page.getByRole("button", { name: "Room settings" }).click();
  const dialog = settings(bob);
  await dialog.getByText("Only owners change who may join and speak, and for how long messages are kept.").waitFor();
  for (const legend of ["Who may join", "Who may speak", "Messages are kept"]) {
    const radios = dialog.getByRole("group", { name: legend }).getByRole("radio");
    assert.equal(await radios.first().isDisabled(), true, legend);
  }
  await dialog.getByRole("listitem").filter({ hasText: "AnnOwner" }).waitFor();
  await dialog.getByRole("listitem").filter({ hasText: "BobModerator" }).waitFor();
  await dialog.getByLabel("The room’s title").fill("The tea room");
  await dialog.getByLabel(/^Topic/).fill("Leaves, <b>not</b> bags");
  await dialog.getByLabel("Messages may have links").uncheck();
  await dialog.getByRole("button", { name: "Save" }).click();
  for (const { page } of [ann, bob]) {
    await page.getByRole("heading", { name: "The tea room", level: 1 }).waitFor();
    await page.getByText("Leaves, <b>not</b> bags").waitFor();
  }
  const cy = await arrive("Cy", { room });
  await cy.page.getByText("Leaves, <b>not</b> bags").waitFor();
  await cy.say("see https://example.com");
  await cy.page.getByText(/^Not sent: /).waitFor();
});

test("owners choose for how long messages are kept", async () => {
  const room = aRoom();
  const ann = await found("Ann", room);
  await ann.say("hello");
  const shown = async (label) => {
    await ann.page.getByRole("button", { name: "Room settings" }).click();
    const group = settings(ann).getByRole("group", { name: "Messages are kept" });
    await group.getByRole("radio", { name: label, exact: true, checked: true }).waitFor();
    await ann.page.keyboard.press("Escape");
  };
  await shown("As on the server");
  await set(ann, ["Messages are kept", "7 days"]);
  await shown("7 days");
  await ann.page.reload();
  await ann.hears("hello");
  await shown("7 days");
  await set(ann, ["Slow mode", "5 s"]);
  await shown("7 days");
  await set(ann, ["Messages are kept", "As on the server"]);
  await shown("As on the server");
  await ann.page.reload();
  await ann.hears("hello");
  await shown("As on the server");
  assert.deepEqual(ann.complaints, []);
});

test("all of it can be done by keyboard, in a narrow window too, and in nobody's way", async () => {
  const room = aRoom();
  const ann = await found("Ann", room);
  const { page } = ann;
  const bob = await arrive("Bob", { room });
  await bob.say("noise");
  await ann.hears("noise");
  const focused = () => page.evaluate(() => document.activeElement.textContent);
  const label = () => page.evaluate(() => document.activeElement.ariaLabel);

  await page.locator("#people").focus();
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.getByRole("menu", { name: "Person" }).waitFor();
  assert.equal(await focused(), "Make moderator");
  await assertAccessible(ann, "menu of a person");
  await page.keyboard.press("Escape");
  assert.equal(await label(), "What can be done to Bob");
  await page.keyboard.press("Enter");
  await page.keyboard.press("End");
  await page.keyboard.press("Enter");
  const dialog = page.getByRole("dialog", { name: "Ban Bob" });
  await dialog.waitFor();
  assert.equal(await dialog.getByRole("radio", { name: "1 hour" }).isChecked(), true);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await assertAccessible(ann, `ban, ${colorScheme}`);
    await ann.screenshot(`ban-${colorScheme}`);
  }
  await page.keyboard.press("Escape");
  assert.equal(await label(), "What can be done to Bob");

  await page.getByRole("button", { name: "Room settings" }).press("Enter");
  await settings(ann).getByText("Nobody is.").waitFor();
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await assertAccessible(ann, `settings, ${colorScheme}`);
    await ann.screenshot(`settings-${colorScheme}`);
  }
  await page.setViewportSize({ width: 320, height: 600 });
  await ann.screenshot("settings-narrow");
  const overflow = () => page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.querySelector("dialog[open]") ?? document.body;
    return scrollWidth - clientWidth;
  });
  assert.equal(await overflow(), 0, "settings");
  await page.keyboard.press("Escape");
  assert.equal(await overflow(), 0, "the page");
  await ann.message("noise").hover();
  await ann.choose("noise", "Mute…");
  assert.equal(await overflow(), 0, "mute");
  await ann.screenshot("mute-narrow");
  for (const { complaints } of [ann, bob]) assert.deepEqual(complaints, []);
});

test("what is reported those see who look after the room, and what they do is there to be read", async () => {
  const room = aRoom();
  const ann = await found("Ann", room);
  const bob = await arrive("Bob", { room });
  const cat = await arrive("Cat", { room });
  await bob.say("buy followers now", "hello");
  await cat.hears("hello");
  await ann.hears("hello");
  const log = ann.page.getByRole("dialog", { name: "Reports and log" });
  const open = () => ann.page.getByRole("button", { name: "Reports and log" }).click();
  const lines = () => log.locator("#audit-list li").evaluateAll((lines) => lines.map((line) =>
    [...line.querySelectorAll("div, q")].map(({ textContent }) => textContent).join(" | ")));
  const shows = (text) => log.locator("#audit-list li", { hasText: text }).first().waitFor();

  await open();
  await shows("No reports. Good.");
  await ann.page.keyboard.press("Escape");
  assert.deepEqual(await offered(bob, "buy followers now"), ["Reply", "Edit", "Copy the text", "Delete"]);
  assert.ok(!(await offered(ann, "hello")).includes("Report…"), "who looks after it");

  await cat.choose("buy followers now", "Report…");
  await decide(cat, "Report this message?", "Report", async (dialog) => {
    await dialog.getByText("buy followers now").waitFor();
    await assertAccessible(cat, "report");
    await dialog.getByLabel("What is wrong with it").fill("Advertising");
  });
  await cat.page.getByText("Reported to those who look after the room").waitFor({ state: "attached" });
  await open();
  await shows("reported a message of");
  assert.deepEqual(await lines(), ["Cat reported a message of Bob | Advertising"]);
  await assertAccessible(ann, "reports");
  await ann.screenshot("reports");
  await log.getByRole("button", { name: "Show in the room" }).click();
  await log.waitFor({ state: "hidden" });
  await ann.page.locator("#log .said.flash", { hasText: "buy followers now" }).waitFor();

  await ann.choose("buy followers now", "Ban…");
  await decide(ann, "Ban Bob", "Ban", async (dialog) => {
    await forTime("For ever")(dialog);
    await dialog.getByLabel("Reason").fill("spam");
  });
  await set(ann, ["Slow mode", "5 s"]);
  await open();
  await log.getByText("All that was done").click();
  await shows("changed the room");
  assert.deepEqual(await lines(), [
    "Ann changed the room: slow mode",
    "Ann banned Bob for ever | spam",
    "Cat reported a message of Bob | Advertising",
  ]);
  await ann.page.setViewportSize({ width: 320, height: 600 });
  const overflow = await ann.page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.querySelector("dialog[open]");
    return scrollWidth - clientWidth;
  });
  assert.equal(overflow, 0);
  await ann.screenshot("audit-narrow");
  assert.equal(await cat.page.getByRole("button", { name: "Reports and log" }).isVisible(), false);
  for (const { complaints } of [ann, cat]) assert.deepEqual(complaints, []);
});

test("a link lets somebody into a private room, as a member, until all links are ended", async () => {
  const room = aRoom();
  const ann = await found("Ann", room);
  await set(ann, ["Who may join", "Members"]);
  const dialog = ann.page.getByRole("dialog", { name: `Invite to ${room}` });
  const link = dialog.getByLabel("Anybody with this link can come in, and is a member then");
  await ann.page.getByRole("button", { name: "Invite by link" }).click();
  await ann.until(() => document.getElementById("invite-link").value !== "");
  const first = await link.inputValue();
  assert.ok(first.includes(`#room=${encodeURIComponent(room)}&invite=inv_`), first);
  await assertAccessible(ann, "invite");
  await ann.screenshot("invite");
  await dialog.getByText("1 day").click();
  await ann.until((first) => ![first, ""].includes(document.getElementById("invite-link").value), first);
  const second = await link.inputValue();
  await ann.page.keyboard.press("Escape");

  const bob = await arrive("Bob");
  await bob.page.goto(second);
  await mayWrite(bob);
  await bob.page.waitForFunction(() => !location.hash.includes("invite"));
  await bob.say("thank you");
  await ann.hears("thank you");
  await bob.page.reload();
  await bob.hears("thank you");
  assert.equal(await bob.page.getByRole("button", { name: "Invite by link" }).isVisible(), false);
  await set(ann, ["Who may invite", "Members"]);
  await bob.page.getByRole("button", { name: "Invite by link" }).waitFor();

  await ann.page.getByRole("button", { name: "Room settings" }).click();
  await settings(ann).getByText("Bob").waitFor();
  await settings(ann).getByRole("button", { name: "End all invite links" }).click();
  await ann.page.getByText("All invite links have ended").waitFor({ state: "attached" });
  const cat = await arrive("Cat");
  await cat.page.goto(first);
  await cat.page.getByText("You may not enter this room.").first().waitFor();
  for (const { complaints } of [ann, bob]) assert.deepEqual(complaints, []);
});
