/** Saying one's name, starting a room, the list of shortcuts. */
import { legible } from "../state/name.js";
import { byId, h, setText } from "./dom.js";

const NAME_BYTES_MAX = 128;

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
  let byToken = false;

  byId("enter-where").replaceChildren(...(room ? ["You are on your way to “", h("bdi", {}, legible(room)), "”."] : []));
  setText(byId("enter-error"), problem);
  byId("enter-cancel").hidden = !canCancel;
  dialog.classList.toggle("lone", !canCancel);
  input.value = session.current?.name ?? "";
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
      const value = input.value.trim();
      if (!value) return;
      if (!byToken && new TextEncoder().encode(value).length > NAME_BYTES_MAX) {
        return setText(byId("enter-error"), "That name is too long.");
      }
      submit.disabled = true;
      setText(byId("enter-error"), "");
      try {
        await (byToken ? session.enterWith(value) : session.enter(value));
        done(true);
      } catch (error) {
        if (error.reason === "guests_disabled") askForToken();
        else setText(byId("enter-error"), byToken && error.status === 401 ? "The server does not accept this token." : error.message);
      } finally {
        submit.disabled = false;
      }
    }, { signal });
  });

  function askForToken() {
    byToken = true;
    setText(byId("name-label"), "This server takes no guests. Your access token:");
    input.removeAttribute("maxlength");
    input.value = "";
    input.focus();
  }
}

export function startRoomDialog(chat, goTo) {
  const dialog = byId("start");
  const form = dialog.querySelector("form");
  dialog.querySelector("[data-close]").addEventListener("click", () => dialog.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const name = byId("room-name").value.trim();
    const title = byId("room-title").value.trim();
    if (!name) return;
    setText(byId("start-error"), "");
    try {
      await chat.create(name, title);
      dialog.close();
      goTo(name);
    } catch (error) {
      setText(byId("start-error"), error.message);
    }
  });
  return (name = "") => {
    form.reset();
    setText(byId("start-error"), "");
    byId("room-name").value = name;
    dialog.showModal();
  };
}
