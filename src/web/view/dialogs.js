/** Saying one's name, starting a room, deleting a message; and what dialogs with a form share. */
import { wellFormed } from "../channel.js";
import { legible, roomName } from "../state/name.js";
import { byId, colour, counted, h, setText } from "./dom.js";
import { excerpt } from "./text.js";

const NAME_BYTES_MAX = 128;
const NAME_LETTERS_MAX = 40;

const tooLong = (name) => new TextEncoder().encode(name).length > NAME_BYTES_MAX;

/**
 * The name, asked for until the server takes it; resolves when there is a session. Where the server admits no guests it
 * asks for an access token instead: from the beginning, if that is known (`forToken`), or as soon as `takesGuests`, a
 * promise, says so. What was typed until then stays. `canCancel` is for somebody who has a name already.
 */
export function askName(session, { room = null, canCancel = false, forToken = false, takesGuests = null, problem = "" } = {}) {
  const dialog = byId("enter");
  const form = dialog.querySelector("form");
  const input = byId("name");
  const submit = form.querySelector(".primary");
  const closing = new AbortController();
  const { signal } = closing;
  let byToken;

  ask(forToken || session.current?.guest === false);
  input.value = byToken ? "" : session.current?.name ?? "";
  // A token is longer than a name, and may be pasted before it is known that one is asked for.
  if (takesGuests) input.removeAttribute("maxlength");
  takesGuests?.then((takes) => { if (!signal.aborted) ask(byToken || !takes); });
  byId("enter-where").replaceChildren(...(room ? ["You are on your way to “", h("bdi", {}, legible(room)), "”."] : []));
  setText(byId("enter-error"), problem);
  byId("enter-cancel").hidden = !canCancel;
  dialog.classList.toggle("lone", !canCancel);
  dialog.showModal();
  input.focus();
  input.select();

  return new Promise((resolve) => {
    const done = (entered) => {
      closing.abort();
      dialog.close();
      resolve(entered);
    };
    dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      if (canCancel) done(false);
    }, { signal });
    // Chromium lets a second Esc through in spite of preventDefault.
    dialog.addEventListener("close", () => { if (!signal.aborted) { if (canCancel) done(false); else dialog.showModal(); } }, { signal });
    byId("enter-cancel").addEventListener("click", () => done(false), { signal });
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const value = wellFormed(input.value.trim());
      if (!value) return;
      if (!byToken && tooLong(value)) return setText(byId("enter-error"), "That name is too long.");
      submit.disabled = true;
      setText(byId("enter-error"), "");
      const isToken = byToken; // the answer may change what is asked for meanwhile
      try {
        await (isToken ? session.enterWith(value) : session.enter(value));
        done(true);
      } catch (error) {
        if (error.reason === "guests_disabled") {
          ask(true);
          input.focus();
          input.select();
        } else setText(byId("enter-error"), isToken && error.status === 401 ? "The server does not accept this token." : problemText(error));
      } finally {
        submit.disabled = false;
      }
    }, { signal });
  });

  /** Says what to type. What is typed already stays, and so does the focus. */
  function ask(isToken) {
    byToken = isToken;
    setText(byId("name-label"), isToken ? "This server takes no guests. Your access token:" : "What shall we call you?");
    if (isToken) input.removeAttribute("maxlength");
    else input.maxLength = NAME_LETTERS_MAX;
    input.autocomplete = isToken ? "off" : "nickname";
  }
}

export function startRoomDialog(chat, goTo) {
  const { open } = formDialog("start", async () => {
    const name = roomName(byId("room-name").value.trim());
    const title = wellFormed(byId("room-title").value.trim());
    if (!name) return false;
    if (tooLong(name)) throw new Error("That name is too long.");
    await chat.create(name, title);
    goTo(name);
    return true;
  }, problemText);
  return (name = "") => {
    open();
    byId("room-name").value = name;
  };
}

/**
 * A dialog with a form that does something. `act()` does it, and what it throws stands, in the
 * words of `wordsFor(error)`, in the dialog, which stays open; as it does where `act` says false.
 * Returns `{element, open(), problem(error)}`; it opens with its form as the page has it.
 */
export function formDialog(id, act, wordsFor) {
  const element = byId(id);
  const form = element.querySelector("form");
  const submit = form.querySelector("[type=submit]");
  const say = (text) => setText(element.querySelector(".error"), text);
  const problem = (error) => say(wordsFor(error));
  element.querySelector("[data-close]").addEventListener("click", () => element.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    say("");
    submit.disabled = true;
    try {
      if (await act() !== false) element.close();
    } catch (error) {
      problem(error);
    } finally {
      submit.disabled = false;
    }
  });
  const open = () => {
    form.reset();
    say("");
    element.showModal();
  };
  return { element, open, problem };
}

/**
 * A button that opens a dialog about the room on show, where that `isOffered(room)`. Returns
 * `(state)`, which shows the button or not, closes a dialog about another room, and returns the
 * room on show.
 */
export function aboutRoom(button, dialog, isOffered) {
  let room = null;
  return (state) => {
    const active = state.rooms.get(state.active) ?? null;
    button.hidden = !active || active.status === "refused" || !isOffered(active);
    if ((active !== room || button.hidden) && dialog.open) dialog.close();
    room = active;
    return room;
  };
}

/** Makes a fieldset a choice of one among `[value, text]`; one that is not `enabled` only tells. */
export function choices(fieldset, title, options, value, enabled = true) {
  const radio = (of) =>
    h("input", { type: "radio", name: fieldset.id, value: of, checked: of === value });
  fieldset.replaceChildren(h("legend", {}, title),
    ...options.map(([of, text]) => h("label", {}, radio(of), text)));
  fieldset.disabled = !enabled;
}

export const chosen = (fieldset) => fieldset.querySelector(":checked")?.value;

/** What a dialog shows of the message that it is about. */
export function plateOf({ user, name, body }) {
  return [
    colour(h("b", { dir: "auto" }, legible(name, user)), user),
    h("span", { class: "clip", dir: "auto" }, excerpt(body)),
  ];
}

/** `(message)` asks whether it may be deleted; resolves to the answer. */
export function deleteDialog() {
  const dialog = byId("delete");
  const plate = byId("delete-plate");
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  return ({ user, name, body }) => {
    plate.replaceChildren(...plateOf({ user, name, body }));
    dialog.returnValue = "";
    dialog.showModal();
    return new Promise((resolve) => {
      const done = new AbortController();
      dialog.addEventListener("submit", () => resolve(true), done);
      dialog.addEventListener("close", () => {
        done.abort();
        plate.replaceChildren();
        resolve(false);
      }, done);
    });
  };
}

/** The API's reasons (`docs/protocol.md`, section 1) in words. */
function problemText({ reason, message, retryS }) {
  switch (reason) {
    case "rate_limited": return `That was too much at once. Try again in ${counted(retryS, "second", "seconds")}.`;
    case "too_many_rooms": return "The server has no place for another room.";
    case "busy": return "The server is too busy. Try again in a moment.";
    case "storage": case "unconfirmed": return "The server cannot store it right now. Try again in a moment.";
    case "forbidden": return "You may not start this room.";
    case "unauthorized": return "The server no longer knows you. Reload the page.";
    case "bad_request": return "A name cannot be like this.";
    default: return message ?? "The server did not understand it.";
  }
}
