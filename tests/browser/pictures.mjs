/**
 * Takes the pictures of README again: a room in which four people talk, by day and by night, and on a phone.
 *
 *     cargo build --release && npm --prefix tests/browser ci && node tests/browser/pictures.mjs
 */
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { freePort, launch, Person, Server, write } from "./harness.mjs";
import { found } from "./settings.mjs";

const IMAGES = fileURLToPath(new URL("../../docs/images/", import.meta.url));
const TALK = [
  ["Ann", "Good morning! Who is in for tea at four?"],
  ["Bob", "Me. I bring the scones"],
  ["Cleo", "Jam or cream first?"],
  ["Dan", "That question has ended friendships"],
  ["Ann", "The new kettle is here, by the way: it whistles in C major"],
  ["Bob", "At last"],
];

mkdirSync(IMAGES, { recursive: true });
const browser = await launch();
const server = new Server(await freePort());
await server.start();
try {
  const arrive = (name, options) => Person.arrive(browser, server.url, name, { deviceScaleFactor: 2, ...options });
  const ann = await found(await arrive("Ann"), "Tea");
  for (const room of ["Gardening", "Book club", "Lost and found"]) await found(ann, room);
  await ann.goTo("Tea");
  const others = await Promise.all(["Bob", "Cleo", "Dan"].map((name) => arrive(name, { room: "Tea" })));
  const people = { Ann: ann, Bob: others[0], Cleo: others[1], Dan: others[2] };
  for (const [name, text] of TALK) {
    await people[name].say(text);
    await ann.hears(text);
  }
  await people.Bob.choose("Jam or cream first?", "Reply");
  await people.Bob.say("Jam. Always jam.");
  await ann.hears("Jam. Always jam.");
  await people.Bob.react("That question has ended friendships", "😂");
  await people.Cleo.react("That question has ended friendships", "😂");
  await ann.choose("Good morning! Who is in for tea at four?", "Pin");
  await ann.message("That question has ended friendships").getByRole("button", { name: /^😂 2/ }).waitFor();
  await write(people.Cleo).pressSequentially("Cr");
  await ann.page.mouse.move(0, 0);
  await write(ann).focus();

  const picture = (name) => ann.page.screenshot({ path: `${IMAGES}${name}.png` });
  await ann.page.setViewportSize({ width: 1180, height: 640 });
  await ann.page.emulateMedia({ colorScheme: "light" });
  await picture("page-light");
  await ann.page.emulateMedia({ colorScheme: "dark" });
  await picture("page-dark");
  await ann.page.emulateMedia({ colorScheme: "light" });
  await ann.page.setViewportSize({ width: 390, height: 780 });
  await picture("page-phone");
} finally {
  await browser.close();
  await server.stop();
}
