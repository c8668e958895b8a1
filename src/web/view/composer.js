/**
 * Where messages are written. Drafts belong to their room; Enter sends, Shift+Enter makes a line.
 *
 * The same field serves for answers and for edits; a strip above it says so, and Escape or its button ends that. The
 * draft of a new message waits meanwhile.
 */
import { legible } from "../state/name.js";
import { mayReact, moderates } from "../state/rights.js";
import { headCount, lastEditable, messageAt } from "../state/room.js";
import { byId, h, isComposing, setText } from "./dom.js";
import { mentionList } from "./mentions.js";
import { excerpt } from "./text.js";
import { silenceText, slowText, spanText } from "./words.js";

/** The server's own limit (`docs/protocol.md`, 3.2), told before the way is made in vain. */
const BODY_BYTES_MAX = 16 * 1024;

export function composerView(chat, { afterSend }) {
  const form = byId("composer");
  const input = byId("write");
  const strip = byId("strip");
  let room = null;
  let writing = null; // what the strip is about
  let told; // the text as the state last had it
  let silence = ""; // why one may not speak, as it was last said
  let ticking; // until the hint counts down again
  const mentions = mentionList(input, {
    people: () => room.members,
    everybody: () => (moderates(room) ? headCount(room) : 0),
  });

  const bytes = () => new TextEncoder().encode(input.value).length;
  const fit = () => {
    input.style.height = "auto";
    input.style.height = `${input.scrollHeight + input.offsetHeight - input.clientHeight}px`; // with the border
  };
  const hint = () => {
    const over = input.value.length > BODY_BYTES_MAX / 4 ? bytes() - BODY_BYTES_MAX : 0;
    form.classList.toggle("over", over > 0);
    const waitMs = isSlow() ? room.slowUntil - Date.now() : 0;
    const text = over > 0 ? `${over.toLocaleString()} bytes too long`
      : room?.refusal ? "You are not in this room."
      : silence ? silence
      : waitMs > 0 ? `You can write again in ${spanText(waitMs)}.`
      : room?.info.slow_s && !moderates(room) ? slowText(room.info)
      : "";
    setText(byId("write-hint"), text);
    clearTimeout(ticking);
    if (waitMs > 0) ticking = setTimeout(hint, 1_000);
    return over <= 0;
  };
  /** Whether a new message has to wait; edits need not. */
  const isSlow = () => Boolean(room?.slowUntil) && room.writing?.kind !== "edit";
  /** What the field should say: what was being written here, whatever was written elsewhere. */
  const textOf = () => (room.writing?.kind === "edit" ? room.writing.text : room.draft);
  const show = (text) => {
    told = text;
    input.value = text;
    fit();
  };
  const end = () => {
    chat.stopWriting(room.name);
    input.focus();
  };

  input.addEventListener("input", () => {
    chat.typed(room.name, input.value);
    told = textOf();
    mentions.look();
    fit();
    hint();
  });
  input.addEventListener("keydown", (event) => {
    if (isComposing(event) || event.altKey || event.ctrlKey || event.metaKey) return;
    const own = event.key === "ArrowUp" && input.value === "" && !room.writing ? lastEditable(room, chat.self) : undefined;
    if (!event.shiftKey && mentions.keyed(event)) { /* it was for the list */
    } else if (event.key === "Enter" && !event.shiftKey) form.requestSubmit();
    else if (event.key === "Escape" && room.writing) end();
    else if (own) chat.rewrite(room.name, own.offset);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  byId("strip-end").addEventListener("click", end);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.disabled || !hint() || isSlow()) return;
    const edited = room.writing?.kind === "edit" ? messageAt(room, room.writing.offset) : null;
    const users = mentions.mentionsIn(input.value, edited?.mentions);
    if (edited) {
      if (chat.edit(room.name, input.value, users)) input.focus();
      return;
    }
    if (!chat.send(room.name, input.value, users)) return;
    mentions.forget();
    chat.typed(room.name, "");
    show("");
    input.focus();
    afterSend();
  });

  return (state) => {
    const next = state.rooms.get(state.active) ?? null;
    if (next && next !== room) {
      room = next;
      mentions.forget();
      mentions.close();
      writing = room.writing;
      silence = "";
      show(textOf());
      setText(byId("write-label"), `Message to ${room.title}`);
      // On a phone the keyboard would jump up and hide the conversation that was asked for.
      if (matchMedia("(hover: hover)").matches && !document.querySelector("dialog[open]")) input.focus();
    }
    room = next;
    if (!room) return;
    const silent = room.silence !== null || room.status === "refused";
    if (input.disabled !== silent) input.disabled = silent;
    form.querySelector("[type=submit]").disabled = silent || isSlow();
    hush();
    input.placeholder = silent ? "" : `Say something in ${room.title}`;
    if (told !== textOf()) show(textOf());
    if (writing !== room.writing) begin(room.writing);
    about();
    hint();
  };

  /** A field that is no longer there to write in cannot say why: the focus has left it. */
  function hush() {
    const text = room.silence ? silenceText(room.silence, mayReact(room)) : "";
    if (text !== silence) setText(byId("said"), text || "You can write again.");
    silence = text;
  }

  /** Another message is answered or edited now, or none. */
  function begin(next) {
    writing = next;
    mentions.close();
    if (next) {
      input.focus();
      input.setSelectionRange(input.value.length, input.value.length);
    }
  }

  /** What the strip says; the message may change meanwhile. */
  function about() {
    const message = writing && messageAt(room, writing.offset);
    strip.hidden = !writing;
    if (!writing) return strip.dataset.key = byId("strip-text").textContent = "";
    const isEdit = writing.kind === "edit";
    const text = !message ? "an earlier message"
      : message.deleted ? "a deleted message" : excerpt(message.body);
    const key = JSON.stringify([isEdit, message?.name, text]);
    if (strip.dataset.key === key) return;
    strip.dataset.key = key;
    strip.querySelector("use").setAttribute("href", isEdit ? "#i-edit" : "#i-reply");
    byId("strip-end").setAttribute("aria-label", isEdit ? "Do not edit" : "Do not answer");
    byId("strip-text").replaceChildren(...(isEdit ? ["Editing: ", text]
      : ["Answer to ", ...(message && !message.deleted ? [h("b", {}, legible(message.name, message.user)), ": "] : []), text]));
  }
}
