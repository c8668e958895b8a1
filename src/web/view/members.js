/**
 * Who is here, live. In rooms too big to list everybody the server sends a choice, and the true
 * number beside it. Who looks after the room has a menu at each whom they may do something to; the
 * list is one tab stop then, and arrows go from menu to menu.
 */
import { powersOver } from "../state/rights.js";
import { headCount } from "../state/room.js";
import { byId, colour, h, icon, keyedList, setText } from "./dom.js";
import { menuIn } from "./menu.js";
import { actionsOn } from "./people.js";

const ROLES = { owner: "owner", moderator: "moderator" };

/** `askPerson(room, person, verb)` asks how to do something to somebody, and does it. */
export function membersView(chat, { askPerson }) {
  const people = byId("people");
  const menu = menuIn(byId("person-actions"));
  const list = keyedList(people, make);
  let room = null;
  let shown = []; // what the list was made of

  people.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const buttons = [...people.querySelectorAll("button")];
    if (!step || buttons.length === 0) return;
    const at = buttons.indexOf(document.activeElement);
    buttons[Math.max(0, Math.min(buttons.length - 1, at + step))].focus();
    event.preventDefault();
  });

  function make(person) {
    const { user, name, own, namesake, connections, powers, role } = person;
    const label = `What can be done to ${name}`;
    const more = h("button", {
      type: "button", class: "icon", tabindex: -1, "aria-label": label, title: label,
      "aria-haspopup": "menu", onclick: () => open(more, person),
    }, icon("more"));
    const tag = (text, title = null) => h("span", { class: "tag", title }, text);
    return colour(h("li", { class: own ? "own" : null },
      h("span", { class: "person", dir: "auto", title: name }, name),
      own ? tag("you") : null,
      role ? tag(role) : null,
      namesake ? tag(user.slice(-4)) : null,
      connections > 1 ? tag(`×${connections}`, `${connections} connections`) : null,
      powers.length ? more : null), user);
  }

  function open(button, person) {
    const { top, bottom, right } = button.getBoundingClientRect();
    const closed = (takesFocus) => {
      if (takesFocus) (button.isConnected ? button : people).focus();
    };
    const of = room;
    const actions = actionsOn(person.powers, (verb) => askPerson(of, person, verb));
    menu.open(actions, { top, bottom, right, isOver: false, closed });
  }

  return (state) => {
    const next = state.rooms.get(state.active) ?? null;
    if (next !== room) menu.close(false);
    room = next;
    byId("members").hidden = !room;
    if (!room) return;
    setText(byId("heads"), headCount(room).toLocaleString());
    setText(byId("heads-unit"), headCount(room) === 1 ? " person here" : " people here");
    const { members, roles, you } = room;
    if (members !== shown[0] || roles !== shown[1] || you.level !== shown[2]) {
      shown = [members, roles, you.level];
      const names = new Map();
      for (const { name } of members) names.set(name, (names.get(name) ?? 0) + 1);
      list(members.map((person) => rowOf(person, names.get(person.name) > 1)));
    }
    const unlisted = headCount(room) - members.length;
    setText(byId("people-note"), unlisted ? `and ${unlisted.toLocaleString()} more` : "");
  };

  function rowOf(person, namesake) {
    const { user, name, connections, own } = person;
    const powers = powersOver(room, user, chat.isOwn);
    const role = ROLES[room.roles.get(user)];
    const signature = [name, connections, own, namesake, role, powers].join(" ");
    return { ...person, namesake, powers, role, key: user, signature };
  }
}
