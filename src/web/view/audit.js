/**
 * Reporting a message; and what those who look after a room are told of it: what was reported, and
 * what was done, the newest first. It is fetched when it is opened, and not followed.
 */
import { wellFormed } from "../channel.js";
import { legible } from "../state/name.js";
import { moderates } from "../state/rights.js";
import { nameOf } from "../state/room.js";
import { aboutRoom, chosen, choices, formDialog, plateOf } from "./dialogs.js";
import { byId, colour, h, setText } from "./dom.js";
import { actParts, moment, rulingReason } from "./words.js";

const WHICH = [["msg_report", "Reports"], ["", "All that was done"]];
const [[REPORTS]] = WHICH;
const LINES = 50;

/** `(room, message)` asks what is wrong with it, and reports it when that is said yes to. */
export function reportDialog(chat) {
  let asked; // {room, offset}
  const dialog = formDialog("report", async () => {
    const reason = wellFormed(byId("report-reason").value.trim());
    await chat.report(asked.room, asked.offset, reason);
    setText(byId("said"), "Reported to those who look after the room");
  }, rulingReason);

  return (room, message) => {
    asked = { room, offset: message.offset };
    byId("report-plate").replaceChildren(...plateOf(message));
    dialog.open();
  };
}

/** `goToMessage(offset)` shows a message of the room. */
export function auditView(chat, { goToMessage }) {
  const button = byId("open-audit");
  const dialog = byId("audit");
  const follow = aboutRoom(button, dialog, moderates);
  const list = byId("audit-list");
  const more = byId("audit-more");
  let room = null;
  let asked = 0; // counts what was asked: only the last answer is shown
  let oldest; // the number of the last line

  button.addEventListener("click", () => {
    choices(byId("audit-which"), "What is shown", WHICH, REPORTS);
    dialog.showModal();
    fetch();
  });
  byId("audit-which").addEventListener("change", () => fetch());
  more.addEventListener("click", () => fetch(oldest));

  return (state) => {
    room = follow(state);
  };

  async function fetch(before) {
    const { name } = room;
    const act = chosen(byId("audit-which"));
    asked += 1;
    const number = asked;
    say("");
    try {
      const wanted = { limit: LINES, ...(before && { before }), ...(act && { act }) };
      const { acts, more: isMore } = await chat.audit(name, wanted);
      if (number !== asked || room?.name !== name) return;
      if (before === undefined) list.replaceChildren();
      list.append(...acts.map(lineOf));
      if (!list.firstChild) list.append(h("li", { class: "faint" }, emptyText(act)));
      oldest = acts.at(-1)?.n;
      more.hidden = !isMore;
      if (before !== undefined) list.children[list.children.length - acts.length]?.focus();
    } catch (error) {
      if (number === asked) say(rulingReason(error));
    }
  }

  function lineOf(line) {
    const named = (user) =>
      colour(h("b", { dir: "auto", title: user }, nameOf(room, user) ?? legible(user)), user);
    const parts = actParts(line).map((part) => (part.user === undefined ? part : named(part.user)));
    const show = () => {
      dialog.close();
      goToMessage(line.offset);
    };
    return h("li", { tabindex: -1 }, h("div", {}, ...parts), line.text
      ? h("q", { dir: "auto" }, line.text) : null,
    h("footer", {}, h("time", { datetime: new Date(line.at).toISOString() }, moment.format(line.at)),
      line.offset === undefined ? null
        : h("button", { type: "button", class: "small", onclick: show }, "Show in the room")));
  }

  function say(text) { setText(dialog.querySelector(".error"), text); }
}

const emptyText = (act) => (act === REPORTS ? "No reports. Good." : "Nothing was done yet.");
