/** The smaller parts of the state, each a few pure functions. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { changed, createLobby, directory, listed } from "../../../src/web/state/lobby.js";
import { legible, roomName } from "../../../src/web/state/name.js";
import { createStore } from "../../../src/web/state/store.js";
import { hueOf, isComposing } from "../../../src/web/view/dom.js";
import { atNames, excerpt, isJumbo, isLong, parts } from "../../../src/web/view/text.js";

const links = (body) => parts(body).filter(({ href }) => href).map(({ href }) => href);
const whole = (body) => parts(body).map(({ text }) => text).join("");

test("addresses become links and the sentence's punctuation stays outside", () => {
  for (const [body, expected] of [
    ["see https://a.example/x.", ["https://a.example/x"]],
    ["(http://a.example/b_(c)) yes", ["http://a.example/b_(c)"]],
    ["https://a.example/?q=1&r=2#z, and https://b.example!", ["https://a.example/?q=1&r=2#z", "https://b.example/"]],
    ["HTTPS://A.EXAMPLE", ["https://a.example/"]],
    ["“https://a.example/”", ["https://a.example/"]],
  ]) {
    assert.deepEqual(links(body), expected, body);
    assert.equal(whole(body), body);
  }
});

test("an address ends where the punctuation of a script without blanks begins", () => {
  for (const [body, expected] of [
    ["看这里https://a.example/x。很好", "https://a.example/x"],
    ["https://a.example/x，谢谢", "https://a.example/x"],
    ["（https://a.example/x）", "https://a.example/x"],
    ["https://a.example/x（官网）的说明", "https://a.example/x"],
    ["「https://a.example/x」です", "https://a.example/x"],
    ["『https://a.example/x』【https", "https://a.example/x"],
    ["https://a.example/x！？", "https://a.example/x"],
    ["https://a.example/x、https", "https://a.example/x"],
    ["https://a.example/x｡ﾃﾞｽ", "https://a.example/x"],
    ["“https://a.example/x”很好", "https://a.example/x"],
    ["https://a.example/x……好", "https://a.example/x"],
    ["https://a.example/x——好", "https://a.example/x"],
    ["«https://a.example/x» và", "https://a.example/x"],
    ["https://a.example/x؟", "https://a.example/x"],
    ["https://a.example/x।", "https://a.example/x"],
    ["（https://a.example/b_(c)）", "https://a.example/b_(c)"],
    ["https://a.example/東京", "https://a.example/東京"],
    ["https://a.example/アルベルト・アインシュタイン", "https://a.example/アルベルト・アインシュタイン"],
    ["https://a.example/Michelson–Morley", "https://a.example/Michelson–Morley"],
    ["https://a.example/L’Équipe.", "https://a.example/L’Équipe"],
    ["https://例え.example/道、と", "https://例え.example/道"],
    ["https://a.example/100%", "https://a.example/100%"],
    ["https://a.example/-/#", "https://a.example/-/#"],
  ]) {
    assert.deepEqual(parts(body).filter(({ href }) => href).map(({ text }) => text), [expected], body);
    assert.equal(whole(body), body);
  }
  const both = "见https://a.example/x、https://b.example/y。";
  assert.deepEqual(links(both), ["https://a.example/x", "https://b.example/y"]);
});

test("nothing but http and https becomes a link", () => {
  for (const body of [
    "javascript:alert(1)", "data:text/html,x", "ftp://a.example", "xhttps://a.example", "https://", "http://?", "https://[", "file:///etc/passwd",
    "javascript:alert('https:')",
  ]) {
    assert.deepEqual(links(body), [], body);
    assert.equal(whole(body), body);
  }
});

test("markup is text like any other", () => {
  assert.deepEqual(parts("<a href=https://a.example>x</a>"), [
    { text: "<a href=" }, { text: "https://a.example", href: "https://a.example/" }, { text: ">x</a>" },
  ]);
});

test("long hostile bodies are split in one pass: in quadratic time this would not end today", () => {
  for (const piece of [")", "(", "http://", "🎉", "https://a.example/", ".", "[)", "。", "’", "https://a。"]) {
    const body = "https://a.example/" + piece.repeat(1_000_000);
    assert.equal(whole(body).length, body.length);
    isJumbo(body);
  }
});

test("what would fill the screen is long", () => {
  for (const body of ["a".repeat(2_001), "\n".repeat(20)]) assert.ok(isLong(body));
  for (const body of ["", "a".repeat(2_000), "\n".repeat(19)]) assert.ok(!isLong(body));
});

test("one to three emoji alone are large", () => {
  const england = "🏴\u{e0067}\u{e0062}\u{e0065}\u{e006e}\u{e0067}\u{e007f}";
  for (const body of [
    "🎉", "👋🏽", "👩‍🚀 🎉", "❤️", "😀", "👨‍👩‍👧‍👦", "🇩🇪", "🇩🇪🇫🇷🇯🇵", "5️⃣", "#⃣", england, england.repeat(3),
    "©️", "☝🏿", "👩🏽‍❤️‍💋‍👨🏿".repeat(3), "🏳️‍🌈", "❤️‍🔥", "👁️‍🗨", "  🎉\n🎉 ", "🀄",
  ]) assert.ok(isJumbo(body), body);
  for (const body of [
    "hi 🎉", "🎉🎉🎉🎉", "1", "", "abc", "5", "123", "#", "*", "©", "™", "❤", "☺", "5️", "🇩", "🇩🇪🇫", "😀\ufe0e",
    "🇩🇪🇫🇷🇯🇵🇬🇧", "\u200d", "\ufe0f", "🎉 x", " ",
  ]) assert.ok(!isJumbo(body), body);
});

test("a key of an input method is told by its composition, or by its code alone", () => {
  assert.ok(isComposing({ isComposing: true, keyCode: 13 }));
  assert.ok(isComposing({ isComposing: true, keyCode: 229 }));
  assert.ok(isComposing({ isComposing: false, keyCode: 229 }));
  assert.ok(!isComposing({ isComposing: false, keyCode: 13 }));
});

test("users whose ids differ in one letter differ in colour", () => {
  const hues = Array.from({ length: 8 }, (_, i) => hueOf(`g_seed${i}`));
  assert.ok(new Set(hues.map((hue) => Math.floor(hue / 30))).size >= 4, String(hues));
  assert.equal(hueOf("ann"), hueOf("ann"));
});

test("a name is shown without what would turn it around, and one without a visible letter is told to be nameless", () => {
  for (const [name, shown] of [
    ["Ann", "Ann"], ["محمد", "محمد"], ["👩‍🚀", "👩‍🚀"], ["نامه‌ها", "نامه‌ها"],
    ["\u202ennA", "nnA"], ["a\u2066b\u2069", "ab"],
    ["\u200b", "ann"], [" \u00a0", "ann"], ["\u3164", "ann"], ["\u2800", "ann"], ["\u202e", "ann"], ["", "ann"],
    ["\u{1d159}", "ann"], ["\ufff9\ufffa\ufffb", "ann"],
  ]) assert.equal(legible(name, "ann"), shown, JSON.stringify(name));
  assert.equal(legible("\u200b"), "(nameless)");
});

test("views run once for many changes, and see the last", () => {
  let run;
  const store = createStore({ n: 0 }, (render) => { run = render; });
  const seen = [];
  store.show(({ n }) => seen.push(n));
  store.change((state) => { state.n = 1; });
  store.change((state) => { state.n = 2; });
  run();
  assert.deepEqual(seen, [0, 2]);
});

function lobbyOf(...rooms) {
  const lobby = createLobby();
  listed(lobby, { rooms: rooms.map(([room, members, title = room]) => ({ room, title, members })), total: rooms.length });
  return lobby;
}

test("the lobby follows its changes", () => {
  const lobby = lobbyOf(["a", 1], ["b", 2]);
  changed(lobby, { changed: [{ room: "c", title: "c", members: 1 }, { room: "a", title: "a", members: 0 }], removed: ["b"] });
  assert.deepEqual([...lobby.rooms.values()].map(({ room, members }) => [room, members]), [["a", 0], ["c", 1]]);
});

test("own rooms come in the order of joining, the others by head count", () => {
  const mine = new Map([["z", { name: "z", title: "Z", members: [] }], ["a", { name: "a", title: "A", members: [] }]]);
  const list = directory(lobbyOf(["a", 9], ["b", 1], ["c", 5], ["d", 5]), mine, "");
  assert.deepEqual(list.mine.map(({ room }) => room), ["z", "a"]);
  assert.deepEqual(list.others.map(({ room }) => room), ["c", "d", "b"]);
});

test("a filter looks at names and titles, and says whether a room is called just that", () => {
  const lobby = lobbyOf(["tea", 1, "Biscuits"], ["coffee", 2]);
  assert.deepEqual(directory(lobby, new Map(), " BISC ").others.map(({ room }) => room), ["tea"]);
  assert.equal(directory(lobby, new Map(), "te").exact, null);
  assert.equal(directory(lobby, new Map(), "tea").exact.room, "tea");
});

test("a filter finds a room however its letters were typed", () => {
  const [composed, decomposed] = ["caf\u00e9", "cafe\u0301"];
  for (const [there, typed] of [[composed, decomposed], [decomposed, composed], [composed, "CAFE\u0301"]]) {
    const list = directory(lobbyOf([there, 1, there], ["tea", 1, "Tea"]), new Map(), ` ${typed} `);
    assert.deepEqual(list.others.map(({ room }) => room), [there]);
    assert.equal(list.exact !== null, typed !== "CAFE\u0301");
  }
  const byTitle = directory(lobbyOf(["x", 1, `Le ${decomposed}`]), new Map(), composed);
  assert.deepEqual([byTitle.others.length, byTitle.exact], [1, null]);
  const mine = new Map([[decomposed, { name: decomposed, title: decomposed, members: [] }]]);
  assert.notEqual(directory(createLobby(), mine, composed).exact, null);
  directory(lobbyOf(["tea", 1]), new Map(), "\ud83d");
  assert.equal(roomName("\ud83d"), "\ufffd");
});

test("a long list is cut, and says by how much", () => {
  const lobby = lobbyOf(...Array.from({ length: 130 }, (_, i) => [`r${i}`, 0]));
  const list = directory(lobby, new Map(), "");
  assert.deepEqual([list.others.length, list.hidden], [100, 30]);
});

test("only names that are mentioned are set apart, the longest that fits", () => {
  const found = (text, ...names) => atNames(text, names).map((part) => part.name ?? part);
  assert.deepEqual(found("hi @Ann Lee, and @Ann", "Ann Lee", "Ann"), ["hi ", "Ann Lee", ", and ", "Ann"]);
  assert.deepEqual(found("@Bob @Ann", "Ann"), ["@Bob ", "Ann"]);
  assert.deepEqual(found("Ann, nobody @", "Ann"), ["Ann, nobody @"]);
  assert.deepEqual(found("@Ann"), ["@Ann"]);
  assert.deepEqual(found("@@Ann", "Ann", "@Ann"), ["@Ann"]);
});

test("an excerpt is one line, and cuts no letter in two", () => {
  assert.equal(excerpt(" a\n\n  b "), "a b");
  assert.equal(excerpt("abcdef", 3), "abc…");
  assert.equal(excerpt(" \u200b\n"), "(blank)");
  assert.equal(excerpt("ab🎉", 3).includes("\ud83c"), false);
});
