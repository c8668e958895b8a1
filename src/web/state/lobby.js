/**
 * The list of rooms, folded from the `lobby` topic, and its order on the screen. Plain data; knows nothing of sockets.
 */

import { legible, roomName } from "./name.js";

const collator = new Intl.Collator(undefined, { numeric: true });

export function createLobby() {
  return { /** name -> {room, title, members} */ rooms: new Map(), total: 0, ready: false };
}

export function listed(lobby, { rooms, total }) {
  lobby.rooms = new Map(rooms.map((room) => [room.room, shown(room)]));
  lobby.total = total;
  lobby.ready = true;
}

export function changed(lobby, { changed = [], removed = [] }) {
  for (const room of changed) lobby.rooms.set(room.room, shown(room));
  for (const name of removed) lobby.rooms.delete(name.room ?? name);
  lobby.total = Math.max(lobby.total, lobby.rooms.size);
}

const shown = (room) => ({ ...room, title: legible(room.title, legible(room.room)) });

/**
 * What the panel shows: the user's own rooms in the order they were joined, and the others, the liveliest first; both
 * only as far as `filter` occurs in name or title. `exact` is the room that is called just that, or null.
 */
export function directory(lobby, joinedRooms, filter, limit = 100) {
  const name = roomName(filter.trim());
  const wanted = name.toLocaleLowerCase();
  const matches = ({ room, title }) =>
    !wanted || roomName(`${room}\n${title}`).toLocaleLowerCase().includes(wanted);
  const known = (room) => lobby.rooms.get(room.name) ?? { room: room.name, title: room.title, members: room.members.length };

  const mine = [...joinedRooms.values()].map((room) => ({ ...known(room), joined: room })).filter(matches);
  const others = [...lobby.rooms.values()]
    .filter((room) => !joinedRooms.has(room.room) && matches(room))
    .sort((a, b) => b.members - a.members || collator.compare(a.room, b.room));
  const exact = [...mine, ...others].find(({ room }) => roomName(room) === name) ?? null;
  return { mine, others: others.slice(0, limit), hidden: Math.max(0, others.length - limit), exact };
}
