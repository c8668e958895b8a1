/** All that people do to messages and to each other, each in a browser of their own; and what stock clients notice of it: new_msg. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { VERSIONS, connect, inboxOf, ok } from "../clients/support/client.js";
import { record } from "../clients/support/recording.js";
import { launch, Person, setUp, write } from "./harness.mjs";
import { decide, forTime, found } from "./settings.mjs";

const { server, people, aRoom } = await setUp({ "auth.guests": true, "auth.secret": "aEQYTpD+4wEPCQEcH206uMvn2CwlK1Y9EWjSjA7hz6AdyfTIG1cl/SN1bYkQPh7L" });

/** Somebody in a browser that nobody else has. */
async function arrive(name, options) {
  const browser = await launch();
  after(() => browser.close());
  const person = await Person.arrive(browser, server.url, name, options);
  people.push(person);
  return person;
}

/** A stock client in a room, with all that its application would notice. */
async function stock(t, client, room) {
  const socket = connect(t, client, server, `stock ${client.version}`);
  const frames = record(socket);
  const noticed = [];
  socket.onError((error) => noticed.push(["error", error]));
  socket.onClose(() => noticed.push(["close"]));
  const channel = socket.channel(`room:${room}`, {});
  channel.onError((reason) => noticed.push(["phx_error", reason]));
  channel.onClose(() => noticed.push(["phx_close"]));
  const heard = inboxOf(channel, "new_msg");
  await ok(channel.join());
  return { client, channel, frames, noticed, heard };
}

/** What an application that knows only `new_msg` hears, and what it has no ear for. */
const KNOWN = ["new_msg", "phx_reply"];
const IGNORED = ["msg_changed", "room_changed", "typing", "presence_state", "presence_diff"];

test("two people edit, delete, react, reply, pin and ban a third, and stock clients notice nothing but new_msg", async (t) => {
  const room = aRoom();
  const ann = await found(await arrive("Ann"), room);
  const stocks = await Promise.all(VERSIONS.map((client) => stock(t, client, room)));
  const [bob, cat] = await Promise.all([arrive("Bob", { room }), arrive("Cat", { room })]);
  const both = [ann, bob];
  await ann.say("tea or coffee");
  await bob.hears("tea or coffee");
  await bob.say("cofee", "never mind");
  await cat.hears("never mind");
  await cat.say("buy followers");
  for (const person of both) await person.hears("buy followers");

  await bob.choose("cofee", "Edit");
  await write(bob).fill("coffee");
  await write(bob).press("Enter");
  for (const person of [...both, cat]) await person.message("coffee").locator(".edited").waitFor();

  await bob.choose("never mind", "Delete");
  await bob.page.getByRole("button", { name: "Delete", exact: true }).click();
  for (const person of [...both, cat]) await person.page.getByText("Deleted by its author").waitFor();

  await ann.react("coffee", "👍");
  await bob.message("coffee").getByRole("button", { name: /^👍 1/ }).click();
  for (const person of both) await person.message("coffee").getByRole("button", { name: /^👍 2/ }).waitFor();

  await ann.choose("coffee", "Reply");
  await ann.say("with milk");
  await bob.message("with milk").getByRole("button", { name: "Bob coffee" }).waitFor();

  await ann.choose("coffee", "Pin");
  for (const { page } of both) await page.getByRole("button", { name: "1 pinned message" }).waitFor();

  await ann.choose("buy followers", "Ban…");
  await decide(ann, "Ban Cat", "Ban", async (dialog) => {
    await forTime("For ever")(dialog);
    await dialog.getByLabel("Also delete the messages of the last hour").check();
  });
  await cat.page.locator("#log .out", { hasText: "Ann has banned you from this room for ever" }).waitFor();
  for (const { page } of both) await page.getByText("Deleted by").nth(1).waitFor();
  await cat.page.reload();
  await cat.page.locator("#log .out", { hasText: "You are banned from this room for ever." }).waitFor();
  await bob.say("peace");
  await ann.hears("peace");
  assert.deepEqual(await bob.said(), await ann.said());

  const said = ["tea or coffee", "cofee", "never mind", "buy followers", "with milk", "peace"];
  for (const { client: { version }, channel, frames, noticed, heard } of stocks) {
    const bodies = [];
    while (bodies.at(-1) !== "peace") bodies.push((await heard.next())[1].body);
    assert.deepEqual([bodies, noticed, channel.state], [said, [], "joined"], version);
    const events = frames.all.map((frame) => JSON.parse(frame)[3]);
    assert.deepEqual(events.filter((event) => !KNOWN.includes(event) && !IGNORED.includes(event)), [], version);
    assert.ok(events.includes("msg_changed"), "it was told of changes, and has no ear for them");
    const { offset } = await ok(channel.push("new_msg", { body: `I am ${version}` }));
    assert.ok(offset > said.length, version);
    for (const person of both) await person.hears(`I am ${version}`);
    assert.deepEqual(noticed, [], version);
  }
  for (const { complaints } of both) assert.deepEqual(complaints, []);
});
