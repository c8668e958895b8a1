/** A link that lets others into the room: for how long, made anew with each choice, and copied. */
import { mayInvite } from "../state/rights.js";
import { copy } from "./actions.js";
import { aboutRoom, chosen, choices } from "./dialogs.js";
import { byId, h, setText } from "./dom.js";
import { hrefOf } from "./rooms.js";
import { rulingReason } from "./words.js";

const DAY_S = 86_400;
const TIMES = [
  ["3600", "1 hour"], [`${DAY_S}`, "1 day"], [`${7 * DAY_S}`, "7 days"], [`${30 * DAY_S}`, "30 days"],
];
const TIME_AT_FIRST = `${7 * DAY_S}`;

export function inviteView(chat) {
  const button = byId("open-invite");
  const dialog = byId("invite");
  const follow = aboutRoom(button, dialog, mayInvite);
  const link = byId("invite-link");
  let room = null;
  let asked = 0; // counts what was asked: only the last answer is shown

  button.addEventListener("click", () => {
    byId("invite-title").replaceChildren("Invite to ", h("bdi", {}, room.title));
    choices(byId("invite-time"), "It works for", TIMES, TIME_AT_FIRST);
    dialog.showModal();
    make();
  });
  byId("invite-time").addEventListener("change", make);
  byId("invite-copy").addEventListener("click", async () => {
    await copy(link.value, dialog);
    link.select();
    setText(byId("said"), "Copied");
  });

  return (state) => {
    room = follow(state);
  };

  async function make() {
    const { name } = room;
    asked += 1;
    const number = asked;
    link.value = "";
    byId("invite-copy").disabled = true;
    say("");
    try {
      const invite = await chat.invite(name, Number(chosen(byId("invite-time"))));
      if (number !== asked || room?.name !== name) return;
      link.value = new URL(hrefOf(name, invite), location.href).href;
      byId("invite-copy").disabled = false;
    } catch (error) {
      if (number === asked) say(rulingReason(error));
    }
  }

  function say(text) { setText(dialog.querySelector(".error"), text); }
}
