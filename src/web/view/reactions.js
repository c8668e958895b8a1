/**
 * The reactions under a message: a chip for each emoji, and a way to add another.
 *
 * Where many react at once the chips change several times a second. So they are kept while their
 * message is: what is pointed at, pressed or focused is never made anew under the user.
 *
 * Emoji and names are other people's text.
 */
import { legible } from "../state/name.js";
import { reactionsOf } from "../state/reactions.js";
import { h, icon, keyedList, setText } from "./dom.js";
import { emojiText, excerpt, isJumbo } from "./text.js";
import { whoText } from "./words.js";

/** What is offered without a search. */
export const COMMON = ["👍", "❤️", "😂", "🎉", "👀", "🙏"];
const NAMES_MAX = 10;
const NAME_LETTERS_MAX = 40;
/** The key of the way to add one: no emoji is empty. */
const ADD = "";

/** Where the chips of a message are to stand. */
export const placeForChips = () => h("ul", { class: "reactions", "aria-label": "Reactions" });

/**
 * `(element, row, people)` brings the chips in the element of a message in step with its row, and
 * with the names of `people`, which is another list whenever they change. `nameFor(user)` is such
 * a name, undefined if there is none; `self()` the user; `react(offset, emoji, on)` hears what was
 * pressed.
 */
export function chipsView({ nameFor, self, react }) {
  const kept = new WeakMap(); // element -> `{list, reactions, mine, people}`: what it shows

  return (element, { message, may }, people) => {
    const place = element.querySelector(":scope > .reactions");
    if (!place) return;
    const { reactions, mine, offset } = message;
    const shown = kept.get(element);
    const isSame = shown?.reactions === reactions && shown?.mine === mine;
    if (isSame && (shown?.people === people || !reactions)) return;
    const list = shown?.list ?? keyedList(place, (row) => made(row, offset), update);
    kept.set(element, { list, reactions, mine, people });

    const canReact = may.has("react");
    const hadFocus = place.contains(document.activeElement);
    const rows = reactionsOf(message).map((reaction) => rowOf(reaction, canReact));
    if (canReact && rows.length > 0) rows.push({ key: ADD, signature: "" });
    list(rows);
    if (hadFocus && !place.contains(document.activeElement)) element.focus({ preventScroll: true });
  };

  function rowOf({ emoji, count, users, isMine }, canReact) {
    const who = whoText(namesOf(users, isMine), count);
    const deed = isMine ? "Click to take yours back." : "Click to react too.";
    const told = canReact ? `${who}. ${deed}` : who;
    return { key: emoji, signature: `${count} ${isMine} ${told}`, count, isMine, canReact, told };
  }

  /** Oneself first, also where one is not among the first, of whom the server tells. */
  function namesOf(users, isMine) {
    const others = isMine ? users.filter((user) => user !== self()) : users;
    const names = others.map((user) => excerpt(nameFor(user) ?? legible(user), NAME_LETTERS_MAX));
    return (isMine ? ["You", ...names] : names).slice(0, NAMES_MAX);
  }

  function made(row, offset) {
    if (row.key === ADD) return h("li", {}, adder());
    const emoji = row.key;
    const parts = [h("bdi", { class: isJumbo(emoji) ? "emoji" : null }, emojiText(emoji)), " ",
      h("span", { class: "number" })];
    const press = ({ currentTarget }) =>
      react(offset, emoji, currentTarget.getAttribute("aria-pressed") !== "true");
    const chip = row.canReact
      ? h("button", { type: "button", class: "reaction", tabindex: -1, onclick: press }, ...parts)
      : h("span", { class: "reaction" }, ...parts, h("span", { class: "vh" }));
    const item = h("li", {}, chip);
    update(item, row);
    return item;
  }

  function update({ firstChild: chip }, { key: emoji, count, isMine, canReact, told }) {
    if (emoji === ADD) return;
    const number = count.toLocaleString();
    setText(chip.querySelector(".number"), number);
    // Label and title are the same, or a screen reader would say both.
    chip.title = `${emojiText(emoji)} ${number}: ${told}`;
    if (canReact) {
      chip.setAttribute("aria-pressed", String(isMine));
      chip.setAttribute("aria-label", chip.title);
    } else {
      chip.classList.toggle("mine", isMine);
      setText(chip.querySelector(".vh"), `: ${told}`);
    }
  }
}

function adder() {
  return h("button", {
    type: "button", class: "reaction add", tabindex: -1, "data-act": "react",
    "aria-label": "Add a reaction", title: "Add a reaction (+)",
  }, icon("react"));
}
