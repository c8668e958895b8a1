/**
 * A room's settings, for those who look after it: what it is called and is about, who may come
 * in, speak and react, for how long messages are kept, and who is what in it.
 *
 * Only what was changed is sent: of the rest another moderator may have changed something.
 */
import { wellFormed } from "../channel.js";
import { legible } from "../state/name.js";
import { moderates, owns } from "../state/rights.js";
import { nameOf } from "../state/room.js";
import { aboutRoom, chosen, choices, formDialog } from "./dialogs.js";
import { byId, colour, h, setText } from "./dom.js";
import { rulingReason, spanText, untilText } from "./words.js";

const JOIN = [["all", "Everybody"], ["members", "Members"]];
const SPEAK = [["all", "Everybody"], ["members", "Members"], ["moderators", "Moderators"]];
const REACT = [["speakers", "Speakers"], ["all", "All who may read"]];
const INVITE = [["moderators", "Moderators"], ["members", "Members"]];
const SLOW = [
  ["0", "Off"], ["5", "5 s"], ["30", "30 s"], ["60", "1 min"], ["300", "5 min"], ["3600", "1 h"],
];
const DAY_S = 86_400;
const KEEP = [
  ["", "As on the server"], [`${DAY_S}`, "1 day"], [`${7 * DAY_S}`, "7 days"],
  [`${30 * DAY_S}`, "30 days"], [`${365 * DAY_S}`, "1 year"],
];
const ROLES = { owner: "Owner", moderator: "Moderator", member: "Member" };
/** Owners first, and of each role in the order of the server. */
const RANK = Object.keys(ROLES);

/** What is told of somebody in a state, and what lifts it. */
const STATES = {
  muted: { said: "Muted", until: "muted_until", lift: { muted_s: 0 }, verb: "mute" },
  banned: { said: "Banned", until: "banned_until", lift: { banned_s: 0 }, verb: "ban" },
};

export function settingsView(chat) {
  const button = byId("open-settings");
  const dialog = formDialog("settings", save, rulingReason);
  const follow = aboutRoom(button, dialog.element, moderates);
  let room = null;
  let before; // the settings as the form had them when it opened

  button.addEventListener("click", open);
  byId("settings-revoke").addEventListener("click", revoke);

  return (state) => {
    room = follow(state);
  };

  function open() {
    const { title, topic = "", join = "all", speak = "all", links = true } = room.info;
    const { react = "speakers", slow_s: slowS = 0, keep_s: keepS = "" } = room.info;
    const isOwner = owns(room);
    dialog.open();
    byId("settings-name").value = title;
    byId("settings-topic").value = topic;
    choices(byId("settings-join"), "Who may join", JOIN, join, isOwner);
    choices(byId("settings-speak"), "Who may speak", SPEAK, speak, isOwner);
    const keep = withOther(KEEP, `${keepS}`, daysText);
    choices(byId("settings-keep"), "Messages are kept", keep, `${keepS}`, isOwner);
    byId("settings-owners").hidden = isOwner;
    choices(byId("settings-react"), "Who may react", REACT, react);
    const slow = withOther(SLOW, `${slowS}`, (seconds) => spanText(seconds * 1000));
    choices(byId("settings-slow"), "Slow mode", slow, `${slowS}`);
    byId("settings-links").checked = links;
    const { invite = "moderators" } = room.info;
    choices(byId("settings-invite"), "Who may invite", INVITE, invite);
    before = shown();
    list();
  }

  /** The settings as the form has them. */
  function shown() {
    return {
      title: wellFormed(byId("settings-name").value.trim()),
      topic: wellFormed(byId("settings-topic").value.trim()),
      join: chosen(byId("settings-join")),
      speak: chosen(byId("settings-speak")),
      keep_s: Number(chosen(byId("settings-keep"))) || null,
      react: chosen(byId("settings-react")),
      slow_s: Number(chosen(byId("settings-slow"))),
      links: byId("settings-links").checked,
      invite: chosen(byId("settings-invite")),
    };
  }

  async function save() {
    const changed = Object.entries(shown()).filter(([name, value]) => value !== before[name]);
    if (changed.length) await chat.setRoom(room.name, Object.fromEntries(changed));
  }

  /** Both lists, anew. They are not followed while they are shown. */
  async function list() {
    const { name } = room;
    for (const id of ["settings-members", "settings-states"]) fill(id, [note("…")]);
    const ask = (state) => chat.listMembers(name, state).catch((error) => error);
    const [members, muted, banned] = await Promise.all([ask(), ask("muted"), ask("banned")]);
    if (room?.name !== name) return;
    fill("settings-members", rowsOf(members, memberRow, "Nobody has a role here."));
    const states = [muted, banned].find((answer) => answer instanceof Error)
      ?? [...muted.map(stateRow("muted")), ...banned.map(stateRow("banned"))];
    fill("settings-states", rowsOf(states, (row) => row, "Nobody is."));
  }

  function memberRow({ user, role }) {
    return h("li", {}, named(user), h("span", { class: "tag" }, ROLES[role] ?? role));
  }

  function stateRow(state) {
    const { said, until, lift, verb } = STATES[state];
    return ({ user, [until]: at }) => {
      const row = h("li", {}, named(user), h("span", { class: "tag" }, `${said}${untilText(at)}`),
        h("button", {
          type: "button", class: "small", onclick: () => free(row, user, lift),
          "aria-label": `Lift the ${verb} of ${nameFor(user)}`,
        }, "Lift"));
      return row;
    };
  }

  async function revoke() {
    try {
      await chat.setRoom(room.name, { revoke_invites: true });
      setText(byId("said"), "All invite links have ended");
    } catch (error) {
      dialog.problem(error);
    }
  }

  async function free(row, user, lift) {
    try {
      await chat.setMember(room.name, user, lift);
      setText(byId("said"), "Lifted");
      byId("settings-states-title").focus();
      await list();
    } catch (error) {
      dialog.problem(error);
    }
  }

  function nameFor(user) {
    return nameOf(room, user) ?? legible(user);
  }

  function named(user) {
    const name = nameFor(user);
    return colour(h("span", { class: "person", dir: "auto", title: user }, name), user);
  }
}

/** Choices of times, and one that was set elsewhere, which is none of them. */
function withOther(times, value, textOf) {
  const isOurs = times.some(([time]) => time === value);
  return isOurs ? times : [...times, [value, textOf(Number(value))]];
}

/** "12 days"; what is shorter in hours. */
function daysText(seconds) {
  const days = Math.round(seconds / DAY_S);
  return seconds < 2 * DAY_S ? spanText(seconds * 1000) : `${days.toLocaleString()} days`;
}

const note = (text) => h("li", { class: "faint" }, text);

function rowsOf(list, make, otherwise) {
  if (list instanceof Error) return [note(rulingReason(list))];
  const ranked = list.toSorted((a, b) => RANK.indexOf(a.role) - RANK.indexOf(b.role));
  return ranked.length ? ranked.map(make) : [note(otherwise)];
}

function fill(id, items) {
  byId(id).replaceChildren(...items);
}
