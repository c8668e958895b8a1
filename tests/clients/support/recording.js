/**
 * What a stock client that knows only `new_msg` is sent, frame by frame: it talks, asks, breaks, comes back and leaves.
 *
 * In each pause of that others may do to the room what they like, as long as `three` and `seven` are all the messages
 * that they change, and the settings are as before when it joins. Then all frames but those of events that it does not
 * know are as `recorded.json` has them, from a server of which nothing but `new_msg` could be asked: see `record.js`.
 */

import {
  Inbox,
  PATIENCE_MS,
  V1,
  breakConnection,
  join,
  leave,
  ok,
  patiently,
  refused,
  searched,
  tab,
  told,
} from "./client.js";

export const TOPIC = "room:tea";

/** The ways of a client, and the options for each. */
export const transportsOf = ({ LongPoll }) => ({ "WebSocket V2": {}, "WebSocket V1": V1, polling: { transport: LongPoll } });

/** What a client that knows only `new_msg` takes for something, besides who is there. */
const KNOWN = ["phx_reply", "phx_close", "phx_error", "new_msg", "typing", "drawing"];

/** Others who do nothing but talk: what `kim` gives `seven` besides its body, and what is done in each pause. */
const OTHERS = {
  seven: {},
  async talk() {},
  async ask() {},
  async go() {},
  async end() {},
};

/**
 * Its frames, as they came but for what is another each time, and those of events that it does not know. `others` is
 * given the channels of `kim`, who says what is changed, and of `bob`.
 */
export async function recorded(t, server, { client, options = {}, others = OTHERS }) {
  const { channel: bob } = await join(tab(t, server, "bob"), TOPIC);
  const { channel: kim } = await join(tab(t, server, "kim"), TOPIC);
  // It comes back when all has been done that is done meanwhile.
  const ann = tab(t, server, "ann", { client, ...options, reconnectAfterMs: () => PATIENCE_MS });
  const frames = record(ann);
  const heard = (body) => frames.until((frame) => frame.includes(`"body":"${body}"`) && frame.includes('"new_msg"'));
  /** Somebody else says something, and it is heard before anything else is done. */
  const says = async (channel, body) => {
    await ok(channel.push("new_msg", { body }));
    await heard(body);
  };

  let cursor;
  const joins = new Inbox("joins");
  const channel = ann.channel(TOPIC, () => (cursor ? { since: cursor } : {}));
  channel.on("new_msg", ({ offset }) => (cursor.offset = offset));
  channel.join().receive("ok", ({ epoch, offset }) => {
    cursor = { epoch, offset };
    joins.put(cursor);
  });
  await joins.next();

  await ok(channel.push("new_msg", { body: "one \u2028 \u{1f600} </script>", key: "k1" }));
  await says(bob, "two");
  await says(kim, "three");
  await others.talk(kim, bob);

  await ok(channel.push("new_msg", { body: "one", key: "k1" }));
  await ok(channel.push("new_msg", { body: "four" }));
  await ok(channel.push("echo", { a: [1.50, null] }));
  await ok(channel.push("drawing", { x: 1 }));
  await ok(channel.push("history", { before: 3 }));
  await ok(channel.push("history", { after: 3 }));
  // Where an index is made of what is said, that takes a while.
  while ((await searched(bob, { query: "TW" })).messages.length === 0);
  await ok(channel.push("msg_search", { query: "TW" }));
  channel.push("typing", {});
  await frames.until((frame) => frame.includes('"typing"'));
  const wrong = [["new_msg", {}], ["new_msg", { body: 1 }], ["history", { limit: 101 }], ["drawing", { user: "bob" }]];
  for (const push of wrong) await refused(channel.push(...push));
  await others.ask(kim, bob);

  const broken = told("the break", (done) => ann.onClose(done));
  breakConnection(ann);
  await broken;
  await ok(bob.push("new_msg", { body: "five" }));
  await others.go(kim, bob);
  await told("the end", (done) => ann.disconnect(done));
  ann.connect();
  await joins.next();
  await says(bob, "six");

  await leave(channel);
  await ok(kim.push("new_msg", { body: "seven", ...others.seven }));
  await others.end(kim, bob);
  for (const body of ["eight", "nine"]) await ok(bob.push("new_msg", { body }));
  const { channel: again } = await join(ann, TOPIC, { limit: 2 });
  await says(bob, "ten");
  await leave(again);
  const unknown = frames.all.filter((frame) => !isKnown(frame));
  return { frames: frames.all.filter(isKnown).map(plain), unknown };
}

/** All that comes to a socket, as it comes. */
export function record(socket) {
  const frames = { all: [], waiting: null };
  const { decode } = socket;
  socket.decode = (frame, callback) => {
    frames.all.push(frame);
    decode(frame, (message) => {
      callback(message);
      frames.waiting?.();
    });
  };
  /** Resolves when one has come that is so. */
  frames.until = (isSo) =>
    patiently(
      "a frame",
      new Promise((resolve) => {
        frames.waiting = () => frames.all.some(isSo) && resolve();
        frames.waiting();
      }),
    );
  return frames;
}

const isKnown = (frame) => KNOWN.some((event) => frame.includes(`"${event}"`));

/** A frame without times, epochs and ids that begin with these, and without the change in the answer to a join. */
function plain(frame) {
  return frame
    .replaceAll(/"at":\d+/g, '"at":0')
    .replaceAll(/"id":"[0-9a-f]{16}-/g, '"id":"-')
    .replaceAll(/("change":\d+,)?"epoch":"[0-9a-f]{16}"/g, '"epoch":""');
}
