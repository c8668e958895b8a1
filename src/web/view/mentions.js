/**
 * Names of who is here, completed behind an `@`. The text has the name; the message has the user's id, for names are
 * not unique.
 *
 * Only those that were chosen are mentioned, as long as their name stands in the text.
 */
import { byId, colour, counted, h } from "./dom.js";

const SHOWN_MAX = 8;
/** An `@` that begins a word, and what is written behind it: names may have blanks. */
const BEGUN = /(?:^|[\s\p{Ps}\p{Pi}"'])@([^\n@]{0,40})$/u;

/**
 * `people()` are the candidates, `[{user, name, own}]`; `everybody()` is how many "@room" would tell, or 0 where one
 * may not. Returns `{keyed(event), look(), close(), picked, mentionsIn(text, before)}`; `keyed` is true if the key was
 * for the list.
 */
export function mentionList(input, { people, everybody }) {
  const list = byId("mentions");
  let found = []; // [{user, name}]
  let at = 0;
  let picked = new Map(); // user -> name, as it was chosen

  list.addEventListener("pointerdown", (event) => event.preventDefault()); // the field keeps the focus
  list.addEventListener("click", ({ target }) => {
    const option = target.closest("[role=option]");
    if (option) choose(found[[...list.querySelectorAll("[role=option]")].indexOf(option)]);
  });
  input.addEventListener("blur", close);

  return { keyed, look, close, mentionsIn, forget: () => { picked = new Map(); } };

  function query() {
    if (input.selectionStart !== input.selectionEnd) return null;
    return input.value.slice(0, input.selectionStart).match(BEGUN)?.[1] ?? null;
  }

  /** Shows who is meant by what stands before the caret. */
  function look() {
    const wanted = query()?.toLocaleLowerCase() ?? null;
    const begins = ({ name }) => {
      const words = name.toLocaleLowerCase();
      return words.startsWith(wanted) || words.split(" ").some((word) => word.startsWith(wanted));
    };
    found = wanted === null ? [] : people().filter((person) => !person.own && begins(person)).slice(0, SHOWN_MAX);
    if (wanted !== null && everybody() && "room".startsWith(wanted)) found.push({ user: "@room", name: "room" });
    at = 0;
    if (found.length) show();
    else close();
  }

  function show() {
    const namesakes = new Map();
    for (const { name } of found) namesakes.set(name, (namesakes.get(name) ?? 0) + 1);
    list.replaceChildren(h("p", { "aria-hidden": "true" }, "People here"), ...found.map(({ user, name }, index) => {
      const note = user === "@room" ? `tells all ${counted(everybody(), "person", "people")}` : namesakes.get(name) > 1 ? user.slice(-4) : null;
      const option = h("div", { role: "option", id: `mention-${index}`, "aria-selected": String(index === at), class: index === at ? "active" : null },
        h("span", { class: "clip", dir: "auto" }, user === "@room" ? "@room" : name), note ? h("span", { class: "note" }, note) : null);
      return colour(option, user);
    }));
    list.hidden = false;
    input.setAttribute("aria-activedescendant", `mention-${at}`);
  }

  function close() {
    list.hidden = true;
    list.replaceChildren();
    input.removeAttribute("aria-activedescendant");
  }

  function keyed({ key }) {
    if (list.hidden) return false;
    const step = { ArrowDown: 1, ArrowUp: found.length - 1 }[key];
    if (step) {
      at = (at + step) % found.length;
      show();
    } else if (key === "Enter" || key === "Tab") {
      choose(found[at]);
    } else if (key === "Escape") {
      close();
    } else {
      return false;
    }
    return true;
  }

  function choose({ user, name }) {
    const end = input.selectionStart;
    const begin = end - query().length - 1;
    picked.set(user, name);
    input.setRangeText(`@${name} `, begin, end, "end");
    close();
    input.dispatchEvent(new Event("input"));
  }

  /** The ids of whom a text mentions: of those who were chosen, and of those `before` who are not named otherwise. */
  function mentionsIn(text, before = []) {
    const known = new Map([...people().map(({ user, name }) => [user, name]), ["@room", "room"], ...picked]);
    const users = new Set([...before, ...picked.keys()]);
    return [...users].filter((user) => !known.has(user) || text.includes(`@${known.get(user)}`));
  }
}
