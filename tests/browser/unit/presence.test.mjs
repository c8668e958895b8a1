import assert from "node:assert/strict";
import { test } from "node:test";
import { Presence } from "../../../src/web/presence.js";

const metas = (...refs) => ({ metas: refs.map((phx_ref) => ({ phx_ref })) });
const refs = (presence) => Object.fromEntries([...presence.members].map(([user, list]) => [user, list.map(({ phx_ref }) => phx_ref)]));

function after(...steps) {
  const presence = new Presence();
  for (const [kind, payload] of steps) presence[kind](payload);
  return refs(presence);
}

test("a state replaces what was known", () => {
  assert.deepEqual(after(["state", { ann: metas("1") }], ["state", { bob: metas("2") }]), { bob: ["2"] });
});

test("joins add metas behind those that are there, and leaves take away only their own", () => {
  const both = [["state", { ann: metas("1") }], ["diff", { joins: { ann: metas("2") }, leaves: {} }]];
  assert.deepEqual(after(...both), { ann: ["1", "2"] });
  assert.deepEqual(after(...both, ["diff", { joins: {}, leaves: { ann: metas("1") } }]), { ann: ["2"] });
  assert.deepEqual(after(...both, ["diff", { joins: {}, leaves: { ann: metas("1", "2") } }]), {});
});

test("an update is a join and a leave in one diff", () => {
  assert.deepEqual(after(["state", { ann: metas("1") }], ["diff", { joins: { ann: metas("2") }, leaves: { ann: metas("1") } }]), { ann: ["2"] });
});

test("diffs that come before the state are folded after it", () => {
  assert.deepEqual(after(
    ["diff", { joins: { ann: metas("1") }, leaves: {} }],
    ["diff", { joins: {}, leaves: { bob: metas("2") } }],
    ["state", { bob: metas("2") }],
  ), { ann: ["1"] });
});

test("one's own join, which comes as a diff and in the state, counts once", () => {
  assert.deepEqual(after(["diff", { joins: { me: metas("1") }, leaves: {} }], ["state", { me: metas("1") }]), { me: ["1"] });
});

test("after a rejoin what was known stays on the screen until the new state, and diffs wait for it", () => {
  const presence = new Presence();
  presence.state({ ann: metas("1"), gone: metas("9") });
  presence.reset();
  presence.diff({ joins: { me: metas("3") }, leaves: {} });
  assert.deepEqual(refs(presence), { ann: ["1"], gone: ["9"] });
  presence.state({ ann: metas("1") });
  assert.deepEqual(refs(presence), { ann: ["1"], me: ["3"] });
});

test("a leave of somebody unknown changes nothing", () => {
  assert.deepEqual(after(["state", {}], ["diff", { joins: {}, leaves: { ghost: metas("1") } }]), {});
});

test("a user whose id is that of a property of every object is a user like others", () => {
  const payload = JSON.parse('{"__proto__": {"metas": [{"phx_ref": "1"}]}, "constructor": {"metas": [{"phx_ref": "2"}]}}');
  assert.deepEqual([...after(["state", payload]).constructor ?? []], ["2"]);
});
