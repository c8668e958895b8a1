/**
 * Who is in a room, folded from `presence_state` and `presence_diff` the way `Presence` of phoenix.js does it.
 *
 *     const presence = new Presence();
 *     presence.reset();            // at every join: what was known is stale until the state comes
 *     presence.state(payload);     // everybody
 *     presence.diff(payload);      // who came and who went
 *     presence.members             // Map of user -> metas, oldest first; one meta for each of the user's connections
 *
 * The one subtlety: after a join the first diff can come before the state, so diffs are kept until it is there. Metas
 * are told apart by their `phx_ref` alone.
 *
 * Knows nothing of sockets, rooms or names.
 */

export class Presence {
  members = new Map();
  #early = []; // diffs from before the state, or null once it is there

  reset() {
    this.#early = [];
  }

  state(payload) {
    this.members = new Map(Object.entries(payload).map(([user, { metas }]) => [user, metas]));
    const early = this.#early ?? [];
    this.#early = null;
    for (const diff of early) this.diff(diff);
  }

  diff(payload) {
    if (this.#early) {
      this.#early.push(payload);
      return;
    }
    for (const [user, { metas }] of Object.entries(payload.joins ?? {})) {
      const fresh = new Set(metas.map((meta) => meta.phx_ref));
      const kept = (this.members.get(user) ?? []).filter((meta) => !fresh.has(meta.phx_ref));
      this.members.set(user, [...kept, ...metas]);
    }
    for (const [user, { metas }] of Object.entries(payload.leaves ?? {})) {
      const gone = new Set(metas.map((meta) => meta.phx_ref));
      const kept = (this.members.get(user) ?? []).filter((meta) => !gone.has(meta.phx_ref));
      if (kept.length) this.members.set(user, kept);
      else this.members.delete(user);
    }
  }
}
