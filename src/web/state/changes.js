/**
 * What becomes of messages: how the server's changes are merged, and what the user has asked for and not been answered
 * yet. Reactions have more rules than that, and a file of their own.
 *
 * A message is never altered, only replaced by another object, so that who has one may keep it. The larger `change`
 * wins, whatever comes first. An *act* is `{id, event, offset, payload, at, by, change, error}`: a change that the user
 * has asked for. It is laid over the message that is there, from the moment it is asked for until the server has told
 * it (`change` is its number by then) or has refused it (`error` says why). So taking it back is leaving it out.
 *
 * Knows nothing of rooms and of the screen.
 */
import { mineAfter, REACT, reacted, retold } from "./reactions.js";

/** What a patch has that tells of reactions alone. */
const OF_REACTIONS = new Set(["change", "offset", "reactions", "by"]);

const changeOf = ({ change = 0 }) => change;

/** The last change of a message that was not of its reactions alone. */
export const textChangeOf = ({ textChange, change = 0 }) => textChange ?? change;

/** Whether a patch fits a message: what is appended belongs behind what was there before it. */
export function fits(message, { change, append, prev }) {
  return append === undefined || prev === changeOf(message) || change <= changeOf(message);
}

/**
 * The message after a `msg_changed` that fits it: fields that are there replace, null removes,
 * `append` adds to the text. `user` is oneself: who did what, a patch tells of everybody.
 */
export function patched(message, patch, user) {
  if (changeOf(patch) <= changeOf(message)) return message;
  const { by: _, prev: __, append, ...fields } = patch;
  if (append !== undefined) fields.body = message.body + append;
  const isOfReactions = Object.keys(patch).every((name) => OF_REACTIONS.has(name));
  const mine = mineAfter(message, patch, user);
  const all = {
    ...message, ...fields, mine: mine.length ? mine : null,
    textChange: isOfReactions ? textChangeOf(message) : null,
  };
  return Object.fromEntries(Object.entries(all).filter(([, value]) => value !== null));
}

/**
 * The whole message in the place of the one that is there. Of one that is deleted and no longer
 * kept the server knows no author. Of one that is as new it still tells what is one's own.
 */
export function replaced(message, whole) {
  if (changeOf(whole) < changeOf(message)) return message;
  if (changeOf(whole) === changeOf(message)) return retold(message, whole);
  return whole.user === undefined ? { ...remains(message), ...whole } : whole;
}

/** The message as it will be if the server does what is asked. */
export function asked(message, acts) {
  return acts.filter(({ error }) => !error).reduce(act, message);
}

function act(message, { event, payload, at, by }) {
  if (message.deleted) return message;
  switch (event) {
    case "msg_edit": return { ...message, ...payload, edited: { at } };
    case "msg_delete": return { ...remains(message), body: "", deleted: { at, by } };
    case "msg_pin": return { ...message, pinned: payload.on ? { at, by } : undefined };
    case REACT: return reacted(message, payload, by);
    default: return message;
  }
}

function remains(message) {
  const { at, id, name, offset, user } = message;
  const answer = message.reply_to === undefined ? {} : { reply_to: message.reply_to, thread: message.thread };
  return { at, id, name, offset, user, ...answer };
}

/**
 * What may be done to a message: a set of `reply`, `report`, and where messages change at all
 * (`changes`) `react`, `edit` if the room lets authors (`edits`), `pin` and `delete`. `self` is
 * the user's id of now.
 */
export function possible(message, { changes, edits, speak, react, moderates, report }, self) {
  if (message.deleted) return new Set();
  const isAuthor = message.user === self;
  const verbs = {
    reply: speak, react: changes && react, edit: changes && edits && speak && isAuthor,
    pin: changes && moderates, delete: changes && (isAuthor || moderates),
    report: report && !isAuthor,
  };
  return new Set(Object.keys(verbs).filter((verb) => verbs[verb]));
}

/** Whether a message is meant for one of those that `isOwn` knows. */
export function isFor({ mentions, user }, isOwn) {
  return mentions !== undefined && !isOwn(user) && mentions.some((mentioned) => mentioned === "@room" || isOwn(mentioned));
}
