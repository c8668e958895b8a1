/**
 * The conversation: rows to elements, and where it is scrolled to.
 *
 * The end of the conversation is followed as long as the user is there; whoever has scrolled up stays exactly where they read, whatever
 * arrives below or is loaded above.
 */
import { isUnseen, legible } from "../state/name.js";
import { rows } from "../state/room.js";
import { byId, colour, counted, h, keyedList, setText } from "./dom.js";
import { BLANK, isJumbo, isLong, parts } from "./text.js";

/** How near to the end counts as being there, and how near to the beginning as asking for more. */
const NEAR_END_PX = 48;
const NEAR_TOP_PX = 600;

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const dayName = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const relative = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

export function conversationView(chat, { editAgain }) {
  const scroller = byId("scroller");
  const jump = byId("jump");
  const list = keyedList(byId("log"), (row) => makers[row.kind](row));
  const unfolded = new Set(); // keys of rows
  let room = null;
  let version = -1;
  let following = true;

  const makers = {
    start: () => h("li", { class: "beginning" }, h("span", {}, "This is where it began.")),
    day: ({ at }) => h("li", { class: "day" }, h("span", {}, dayOf(at))),
    new: () => h("li", { class: "fresh" }, h("span", {}, "New")),
    reset: ({ above }) => h("li", { class: "broke" }, h("span", {}, "The server began this room anew. What was said while you were away could not be recovered",
      above ? "; what stands above is kept on this page only." : ".")),
    lost: ({ lost }) => h("li", { class: "broke" }, h("span", {},
      `The server was interrupted: ${counted(lost, "message", "messages")} that stood here for a moment ${lost === 1 ? "is" : "are"} lost.`)),
    gap: ({ missing }) => h("li", { class: "broke" }, h("span", {},
      missing ? `${counted(missing, "message is", "messages are")} missing here: the server no longer keeps them.`
        : "Something is missing here.")),
    more: ({ segment, fetching, gap }) => h("li", { class: fetching === "failed" ? "more failed" : "more" }, h("button", {
      type: "button", disabled: fetching === "now", onclick: () => chat.older(room.name, segment),
    }, fetching === "now" ? "Fetching…" : gap ? "Show what you missed" : "Earlier messages")),
    message: ({ key, message, lead, own }) => h("li", { class: classes(lead, own) }, ...said(key, message, lead)),
    pending: ({ key, item, lead, waits }) => h("li", { class: `${classes(lead, true)} ${item.error ? "failed" : "pending"}` },
      ...said(key, { ...item, user: chat.me.user, name: chat.me.name }, lead), fate(item, waits)),
  };

  scroller.addEventListener("scroll", () => {
    if (!room) return;
    following = atEnd();
    look();
  }, { passive: true });
  jump.addEventListener("click", () => toEnd());
  // The keyboard of a phone, a longer draft, a turned screen: the end stays in sight.
  new ResizeObserver(() => { if (following) stick(); }).observe(scroller);
  document.addEventListener("visibilitychange", attend);
  for (const event of ["focus", "blur"]) addEventListener(event, attend);

  return { view, toEnd, page: (direction) => scroller.scrollBy({ top: direction * scroller.clientHeight * 0.85 }) };

  function view(state) {
    const next = state.rooms.get(state.active) ?? null;
    const switched = next !== room;
    room = next;
    if (!room) return;
    if (switched || version !== room.version) {
      version = room.version;
      const kept = switched || following ? null : anchor();
      list(rows(room, chat.isOwn, Date.now()));
      if (switched) settleIn();
      else if (following) stick();
      else restore(kept);
      byId("typing").replaceChildren(...typingText([...room.typing.values()]));
    }
    look();
  }

  /** What depends on where the conversation is scrolled to. */
  function look() {
    jump.hidden = following;
    setText(byId("jump-text"), room.unread ? counted(room.unread, "new message", "new messages") : "To the newest");
    attend();
    loadIfNear();
  }

  function said(key, { user, name: given, at, body }, lead) {
    const name = legible(given, user);
    const text = h("div", { class: isJumbo(body) ? "body jumbo" : "body", dir: "auto" });
    if (isUnseen(body)) text.append(h("span", { class: "blank" }, BLANK));
    else for (const part of parts(body)) {
      text.append(part.href ? h("a", { href: part.href, target: "_blank", rel: "noopener noreferrer" }, part.text) : part.text);
    }
    const who = colour(h("span", { class: lead ? "who" : "who vh", dir: "auto", title: lead ? name : null }, name), user);
    const time = h("time", { datetime: new Date(at).toISOString(), title: full.format(at) }, clock.format(at));
    return [who, text, time, isLong(body) ? fold(key, text) : null];
  }

  /** A long message is shown in part until one asks for all of it: nobody pushes what the others said far out of sight. */
  function fold(key, text) {
    const button = h("button", { type: "button", class: "fold", onclick: () => {
      const top = button.getBoundingClientRect().top;
      if (!unfolded.delete(key)) unfolded.add(key);
      show();
      if (!unfolded.has(key)) scroller.scrollTop += button.getBoundingClientRect().top - top; // one is still at the same place
      following = atEnd();
      look();
    } });
    const show = () => {
      text.classList.toggle("folded", !unfolded.has(key));
      button.setAttribute("aria-expanded", String(unfolded.has(key)));
      setText(button, unfolded.has(key) ? "Show less" : "Show all");
    };
    show();
    return button;
  }

  /** What becomes of a message that is not acknowledged. */
  function fate(item, waits) {
    if (!item.error) return waits ? h("p", { class: "state" }, "Waiting for the connection") : null;
    const button = (text, act) => h("button", { type: "button", onclick: act }, text);
    return h("p", { class: "state", role: "alert" }, `Not sent: ${reasonText(item.error)} `,
      button("Try again", () => chat.retry(room.name, item.key)),
      button("Edit", () => { chat.discard(room.name, item.key); editAgain(item.body); }),
      button("Discard", () => chat.discard(room.name, item.key)));
  }

  function atEnd() { return scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight < NEAR_END_PX; }

  function stick() { scroller.scrollTop = scroller.scrollHeight; }

  function toEnd() {
    if (!room) return;
    following = true;
    stick();
    look();
  }

  /** The first row in sight, and where: what must not move when rows come in above it. */
  function anchor() {
    const top = scroller.getBoundingClientRect().top;
    for (const element of byId("log").children) {
      const box = element.getBoundingClientRect();
      if (box.bottom > top && !element.classList.contains("more")) return { element, top: box.top };
    }
    return null;
  }

  function restore(kept) {
    if (kept?.element.isConnected) scroller.scrollTop += kept.element.getBoundingClientRect().top - kept.top;
  }

  /** A room that was just opened shows what is new in it, or its end. */
  function settleIn() {
    following = true;
    const fresh = byId("log").querySelector(".fresh");
    stick();
    if (!fresh) return;
    const above = scroller.getBoundingClientRect().top - fresh.getBoundingClientRect().top + scroller.clientHeight * 0.2;
    if (above > 0) {
      scroller.scrollTop -= above;
      following = atEnd();
    }
  }

  /** Asks for older messages before one gets there. What failed once is left to the user's own click. */
  function loadIfNear() {
    const view = scroller.getBoundingClientRect();
    for (const element of byId("log").querySelectorAll(".more:not(.failed)")) {
      const box = element.getBoundingClientRect();
      if (box.bottom > view.top - NEAR_TOP_PX && box.top < view.bottom) element.firstChild.click();
    }
  }

  /** Tells whether what arrives at the end of the conversation is seen. */
  function attend() {
    chat.watch(room !== null && following && document.visibilityState === "visible" && document.hasFocus());
  }
}

function classes(lead, own) {
  return `said${lead ? " lead" : ""}${own ? " own" : ""}`;
}

function dayOf(at) {
  const midnight = (time) => new Date(time).setHours(0, 0, 0, 0);
  const days = Math.round((midnight(at) - midnight(Date.now())) / 86_400_000);
  if (days === 0 || days === -1) {
    const name = relative.format(days, "day");
    return name[0].toLocaleUpperCase() + name.slice(1);
  }
  return dayName.format(at);
}

function typingText(people) {
  const [first, second] = people.slice(0, 2).map(({ name }) => h("bdi", {}, legible(name)));
  if (!first) return [];
  if (!second) return [first, " is typing"];
  if (people.length === 2) return [first, " and ", second, " are typing"];
  return [first, ", ", second, ` and ${counted(people.length - 2, "other", "others")} are typing`];
}

/** The server's reasons (`docs/protocol.md`, 3.6) in words. */
function reasonText({ reason, max_bytes: maxBytes }) {
  switch (reason) {
    case "rate_limited": return "that was too much at once.";
    case "too_large": return `it is longer than the ${maxBytes?.toLocaleString()} bytes that fit.`;
    case "unauthorized": return "you may not write here.";
    case "busy": return "the server is too busy.";
    case "invalid": return "the server did not understand it.";
    case "fatal": return "the server ended the connection each time it was sent.";
    case "storage": return "the server cannot store it right now.";
    case "closed": case "unmatched topic": return "you are not in this room.";
    default: return `${reason}.`;
  }
}
