/**
 * What those who look after a room can do to people in it: the actions, as menus show them, and
 * the dialog in which each is said yes to.
 *
 * Which of them may be done to somebody is for `powersOver` to say, and for the server in the end.
 */
import { legible } from "../state/name.js";
import { chosen, choices, formDialog } from "./dialogs.js";
import { byId, h, setText } from "./dom.js";
import { rulingReason, untilText } from "./words.js";

const HOUR_S = 3_600;
/** As `muted_s` and `banned_s` have them: -1 is for ever. */
const TIMES = [
  ["600", "10 minutes"], [`${HOUR_S}`, "1 hour"], [`${24 * HOUR_S}`, "1 day"],
  [`${7 * 24 * HOUR_S}`, "1 week"], ["-1", "For ever"],
];
const [, [TIME_AT_FIRST]] = TIMES;

/**
 * By what `powersOver` calls them. `fields(seconds)` are those of `room_member`; `title`, `done`
 * stand before and after a name, with a time where `isTimed`.
 */
const VERBS = {
  promote: {
    icon: "shield", text: "Make moderator", title: ["Make ", " a moderator?"],
    yes: "Make moderator",
    note: "Moderators change settings, delete messages, and mute, remove and ban people.",
    done: " is a moderator now", fields: () => ({ role: "moderator" }),
  },
  demote: {
    icon: "shield", text: "No longer moderator", title: ["Is ", " no longer a moderator?"],
    yes: "No longer moderator", note: "They stay a member of the room.",
    done: " is no longer a moderator", fields: () => ({ role: "member" }),
  },
  mute: {
    icon: "mute", text: "Mute…", title: ["Mute ", ""], yes: "Mute", isTimed: true,
    note: "They can still read. They are told that they are muted, and until when.",
    done: " is muted", fields: (seconds) => ({ muted_s: seconds }),
  },
  kick: {
    icon: "leave", text: "Remove from room", bad: true, title: ["Remove ", " from the room?"],
    yes: "Remove", note: "They are told so, and can come in again.",
    done: " is out of the room", fields: () => ({ kick: true }),
  },
  ban: {
    icon: "ban", text: "Ban…", bad: true, title: ["Ban ", ""], yes: "Ban", isTimed: true,
    note: "They are put out of the room, and cannot come in again before the time is over.",
    done: " is banned", fields: (seconds) => ({ banned_s: seconds }),
  },
};

/** Actions for a menu: those of `powers`. `ask(verb)` is called with what was chosen. */
export function actionsOn(powers, ask) {
  return Object.entries(VERBS).filter(([verb]) => powers.includes(verb))
    .map(([verb, { icon, text, bad }]) => ({ icon, text, bad, act: () => ask(verb) }));
}

/** `(room, {user, name}, verb)` asks how, and does it when it is said yes to. */
export function personDialog(chat) {
  let asked; // {room, user, name, verb}
  const dialog = formDialog("person", act, rulingReason);

  return ({ name: room }, { user, name }, verb) => {
    const { title, note, yes, bad, isTimed = false } = VERBS[verb];
    const shown = legible(name, user);
    asked = { room, user, name: shown, verb };
    byId("person-title").replaceChildren(title[0], h("bdi", {}, shown), title[1]);
    setText(byId("person-text"), note);
    choices(byId("person-time"), "For how long", TIMES, TIME_AT_FIRST);
    byId("person-time").hidden = !isTimed;
    byId("person-why").hidden = verb === "promote" || verb === "demote";
    byId("person-purge").parentElement.hidden = verb !== "ban";
    const submit = byId("person-yes");
    setText(submit, yes);
    submit.classList.toggle("danger", Boolean(bad));
    dialog.open();
  };

  async function act() {
    const { room, user, name, verb } = asked;
    const { fields, isTimed, done } = VERBS[verb];
    const seconds = Number(chosen(byId("person-time")));
    const reason = byId("person-reason").value.trim();
    await chat.setMember(room, user, {
      ...fields(seconds), ...(reason && { reason }),
      ...(byId("person-purge").checked && { purge_s: HOUR_S }),
    });
    const until = seconds < 0 ? 0 : Date.now() + seconds * 1000;
    setText(byId("said"), `${name}${done}${isTimed ? untilText(until) : ""}.`);
  }
}
