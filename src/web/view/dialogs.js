/** Saying one's name, starting a room, deleting a message, the list of shortcuts. */
import { wellFormed } from "../channel.js";
import { legible, roomName } from "../state/name.js";
import { byId, colour, counted, h, setText } from "./dom.js";
import { excerpt } from "./text.js";

const NAME_BYTES_MAX = 128;
const NAME_LETTERS_MAX = 40;

const tooLong = (name) => new TextEncoder().encode(name).length > NAME_BYTES_MAX;

/**
 * The name, asked for until the server takes it; resolves when there is a session. Where the server admits no guests it asks for an
 * access token instead. `canCancel` is for somebody who has a name already.
 */
export function askName(session, { room = null, canCancel = false, problem = "" } = {}) {
  const dialog = byId("enter");
  const form = dialog.querySelector("form");
  const input = byId("name");
  const submit = form.querySelector(".primary");
  const closing = new AbortController();
  const { signal } = closing;
  let byToken;

  ask(session.current?.guest === false);
  byId("enter-where").replaceChildren(...(room ? ["You are on your way to “", h("bdi", {}, legible(room)), "”."] : []));
  setText(byId("enter-error"), problem);
  byId("enter-cancel").hidden = !canCancel;
  dialog.classList.toggle("lone", !canCancel);
  dialog.showModal();
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
      try {
        await (byToken ? session.enterWith(value) : session.enter(value));
        done(true);
      } catch (error) {
        if (error.reason === "guests_disabled") ask(true);
        else setText(byId("enter-error"), byToken && error.status === 401 ? "The server does not accept this token." : problemText(error));
      } finally {
        submit.disabled = false;
      }
    }, { signal });
  });

  function ask(forToken) {
    byToken = forToken;
    setText(byId("name-label"), forToken ? "This server takes no guests. Your access token:" : "What shall we call you?");
    if (forToken) input.removeAttribute("maxlength");
    else input.maxLength = NAME_LETTERS_MAX;
    input.autocomplete = forToken ? "off" : "nickname";
    input.value = forToken ? "" : session.current?.name ?? "";
    input.focus();
  }
}

export function startRoomDialog(chat, goTo) {
  const dialog = byId("start");
  const form = dialog.querySelector("form");
  const submit = form.querySelector(".primary");
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = roomName(byId("room-name").value.trim());
    const title = wellFormed(byId("room-title").value.trim());
    if (!name) return;
    if (tooLong(name)) return setText(byId("start-error"), "That name is too long.");
    setText(byId("start-error"), "");
    submit.disabled = true;
    try {
      await chat.create(name, title);
      dialog.close();
      goTo(name);
    } catch (error) {
      setText(byId("start-error"), problemText(error));
    } finally {
      submit.disabled = false;
    }
  });
  return (name = "") => {
    form.reset();
    setText(byId("start-error"), "");
    byId("room-name").value = name;
    dialog.showModal();
  };
}

/** `(message)` asks whether it may be deleted; resolves to the answer. */
export function deleteDialog() {
  const dialog = byId("delete");
  const plate = byId("delete-plate");
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  return ({ user, name, body }) => {
    plate.replaceChildren(colour(h("b", { dir: "auto" }, legible(name, user)), user), h("span", { class: "clip", dir: "auto" }, excerpt(body)));
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
