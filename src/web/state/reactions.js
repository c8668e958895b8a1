/**
 * Reactions to messages: how many there are, and which of them are one's own.
 *
 * What the server tells of a message, its `reactions`, is the same for everybody. Which of them
 * are one's own is kept beside them, as `mine`: a list of emoji, left out where it is empty. Three
 * things tell it: `mine` in an answer that lists messages, `by` in a patch, and the answer to one's
 * own reaction.
 *
 * An emoji is other people's text, and may be any: `__proto__` too. So emoji are entries here, and
 * nothing looks one up as a property.
 *
 * Knows nothing of rooms and of the screen.
 */

/** Of how many users the server tells, of each emoji. */
const USERS_TOLD = 10;

/** The event of an act that reacts, and with `on: false` takes that back. */
export const REACT = "msg_react";

/** `[{emoji, count, users, isMine}]`, in the order in which the emoji came. */
export function reactionsOf({ deleted, reactions, mine = [] }) {
  if (deleted || !reactions) return [];
  return Object.entries(reactions).map(([emoji, { count, users = [] }]) =>
    ({ emoji, count, users, isMine: mine.includes(emoji) }));
}

/** The answer to a join or for older messages, with what is one's own in the messages. */
export function withMine({ mine = {}, messages, changed = [], ...answer }) {
  const mark = (message) => withReactions(message, message.reactions, mine[message.offset] ?? []);
  return { ...answer, messages: messages.map(mark), changed: changed.map(mark) };
}

/** The message as somebody sees it who has not reacted to it. */
export const withoutMine = (message) => withReactions(message, message.reactions, []);

/** The message with the reactions of another telling of it, which is as new. */
export function retold(message, { reactions, mine = [] }) {
  const of = (list) => JSON.stringify(list ?? null);
  const isSame = of(message.reactions) === of(reactions) && of(message.mine ?? []) === of(mine);
  return isSame ? message : withReactions(message, reactions, mine);
}

/** What is one's own once a patch is folded. What nobody reacts with any more is not. */
export function mineAfter({ mine = [] }, { by = [], reactions }, user) {
  const own = new Set(mine);
  for (const [who, emoji, on] of by) {
    if (who !== user) continue;
    if (on) own.add(emoji);
    else own.delete(emoji);
  }
  if (reactions === undefined) return [...own];
  return [...own].filter((emoji) => Object.hasOwn(reactions ?? {}, emoji));
}

/**
 * The message after a reaction of one's own: with one more or less, or with as many as the server
 * says. Where it was told before the server answered, there is nothing to do.
 */
export function reacted(message, { emoji, on }, user, counted) {
  const { deleted, reactions = {}, mine = [] } = message;
  if (deleted || mine.includes(emoji) === on) return message;
  const all = new Map(Object.entries(reactions));
  const { count: before, users: first = [] } = all.get(emoji) ?? { count: 0 };
  const others = first.filter((other) => other !== user);
  const users = on ? [...others, user].slice(0, USERS_TOLD) : others;
  const count = counted ?? before + (on ? 1 : -1);
  if (count > 0) all.set(emoji, { count, users });
  else all.delete(emoji);
  const own = on ? [...mine, emoji] : mine.filter((other) => other !== emoji);
  return withReactions(message, all.size ? Object.fromEntries(all) : undefined, own);
}

/** Whether an act is about the same emoji on the same message as another. */
export function isSameReaction(act, other) {
  const isReaction = act.event === REACT && other.event === REACT;
  return isReaction && act.offset === other.offset && act.payload.emoji === other.payload.emoji;
}

/** The acts without those that a patch tells. */
export function untold(acts, { offset, by = [] }, user) {
  const own = new Map(by.filter(([who]) => who === user).map(([, emoji, on]) => [emoji, on]));
  const isTold = (act) => act.event === REACT && !act.error && act.offset === offset
    && own.get(act.payload.emoji) === act.payload.on;
  return acts.filter((act) => !isTold(act));
}

function withReactions(message, reactions, mine) {
  const { reactions: _, mine: __, ...rest } = message;
  return { ...rest, ...(reactions && { reactions }), ...(mine.length > 0 && { mine }) };
}
