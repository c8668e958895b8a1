/** The controller with the real protocol client, in a page whose server is played by the test. */
import { mock } from "node:test";
import { Socket } from "../../../src/web/channel.js";
import { Chat, initialState } from "../../../src/web/state/chat.js";
import { createStore } from "../../../src/web/state/store.js";
import { FakeStorage, FakeWebSocket, settled } from "./fake.mjs";

/** Before each test: no connection was made, and time stands still. */
export function begin() {
  FakeWebSocket.made = [];
  mock.timers.reset();
  mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
}

export const wire = () => FakeWebSocket.last;
export const message = (offset, user = "ann", more = {}) =>
  ({ offset, user, name: user, at: offset, body: `m${offset}`, ...more });

export function page(options = {}) {
  const local = options.local ?? new FakeStorage();
  const tab = options.tab ?? new FakeStorage();
  const session = { current: { user: "me", name: "Me", former: [] } };
  const socket = new Socket("ws://x", { WebSocket: FakeWebSocket, random: () => 1 });
  let rendered = 0;
  const store = createStore(initialState(), (render) => render());
  store.show(() => { rendered += 1; });
  const heard = [];
  const onMessage = (_, { body }) => heard.push(body);
  const chat = new Chat({ socket, session, store, local, tab, onMessage });
  const room = (name = "tea") => store.state.rooms.get(name);
  return { chat, state: store.state, local, tab, session, heard, renders: () => rendered, room };
}

export async function opened(options) {
  const all = page(options);
  all.chat.start();
  await settled();
  wire().opens();
  all.chat.watch(true);
  all.chat.open("tea");
  admit([message(1)]);
  return all;
}

/** Answers the last join, or the last one of this topic. */
export function admit(messages, {
  epoch = "e1", recovered = false, offset = messages.at(-1)?.offset ?? 0, topic, ...more
} = {}) {
  const isMeant = (sent) => sent[3] === "phx_join" && (!topic || sent[2] === topic);
  const join = wire().sent.findLast(isMeant);
  wire().says(join[0], join[1], join[2], "phx_reply", { status: "ok", response: {
    room: { room: "tea", title: "Tea", members: 1 }, you: { user: "me", name: "Me", speak: true },
    epoch, offset, recovered, more: false, messages, ...more,
  } });
}

export async function reconnects() {
  mock.timers.tick(60_000);
  await settled();
  wire().opens();
}

export const live = (event, payload, topic = "room:tea") =>
  wire().says(null, null, topic, event, payload);
