/** Where messages are written. Drafts belong to their room; Enter sends, Shift+Enter makes a line. */
import { byId, isComposing, setText } from "./dom.js";

/** The server's own limit (`docs/protocol.md`, 3.2), told before the way is made in vain. */
const BODY_BYTES_MAX = 16 * 1024;

export function composerView(chat, { afterSend }) {
  const form = byId("composer");
  const input = byId("write");
  let room = null;

  const bytes = () => new TextEncoder().encode(input.value).length;
  const fit = () => {
    input.style.height = "auto";
    input.style.height = `${input.scrollHeight + input.offsetHeight - input.clientHeight}px`; // with the border
  };
  const hint = () => {
    const over = input.value.length > BODY_BYTES_MAX / 4 ? bytes() - BODY_BYTES_MAX : 0;
    form.classList.toggle("over", over > 0);
    const text = over > 0 ? `${over.toLocaleString()} bytes too long`
      : !room?.speak ? "You can read here, but not write."
      : room.refusal ? "You are not in this room."
      : "";
    setText(byId("write-hint"), text);
    return over <= 0;
  };

  input.addEventListener("input", () => {
    chat.typed(room.name, input.value);
    fit();
    hint();
  });
  input.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.altKey && !isComposing(event)) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.disabled || !hint() || !chat.send(room.name, input.value)) return;
    input.value = "";
    chat.typed(room.name, "");
    fit();
    input.focus();
    afterSend();
  });

  return (state) => {
    const next = state.rooms.get(state.active) ?? null;
    if (next && next !== room) {
      room = next;
      input.value = room.draft;
      setText(byId("write-label"), `Message to ${room.title}`);
      fit();
      // On a phone the keyboard would jump up and hide the conversation that was asked for.
      if (matchMedia("(hover: hover)").matches && !document.querySelector("dialog[open]")) input.focus();
    }
    room = next;
    if (!room) return;
    const silent = !room.speak || room.status === "refused";
    if (input.disabled !== silent) input.disabled = silent;
    form.querySelector("button").disabled = silent;
    input.placeholder = silent ? "" : `Say something in ${room.title}`;
    hint();
  };
}
