/** Who is here, live. In rooms too big to list everybody the server sends a choice, and the true number beside it. */
import { headCount } from "../state/room.js";
import { byId, colour, h, keyedList, setText } from "./dom.js";

export function membersView() {
  let shown = null;
  const list = keyedList(byId("people"), (person) => colour(h("li", { class: person.own ? "own" : null },
    h("span", { class: "person", dir: "auto", title: person.name }, person.name),
    person.own ? h("span", { class: "tag" }, "you") : null,
    person.namesake ? h("span", { class: "tag" }, person.user.slice(-4)) : null,
    person.connections > 1 ? h("span", { class: "tag", title: `${person.connections} connections` }, `×${person.connections}`) : null),
  person.user));

  return (state) => {
    const room = state.rooms.get(state.active);
    byId("members").hidden = !room;
    if (!room) return;
    setText(byId("heads"), headCount(room).toLocaleString());
    setText(byId("heads-unit"), headCount(room) === 1 ? " person here" : " people here");
    if (shown !== room.members) {
      shown = room.members;
      const names = new Map();
      for (const { name } of shown) names.set(name, (names.get(name) ?? 0) + 1);
      list(shown.map((person) => {
        const namesake = names.get(person.name) > 1;
        return { ...person, namesake, key: person.user, signature: `${person.name} ${person.connections} ${person.own} ${namesake}` };
      }));
    }
    const unlisted = headCount(room) - room.members.length;
    setText(byId("people-note"), unlisted ? `and ${unlisted.toLocaleString()} more` : "");
  };
}
