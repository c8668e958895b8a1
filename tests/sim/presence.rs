//! What `phoenix.js` makes of presence: a state, diffs folded into it, and diffs that wait for the
//! first state.
//!
//! Source: `Presence` of phoenix.js 1.8 (`syncState`, `syncDiff`), retold.
//!
//! What it does not model, and which test could notice: one object for all joins of a channel,
//! which merges a later state by `phx_ref` (here each join has its own, and is sent one state);
//! callbacks, lists, and what an entry has besides its metas (`tests/clients/meta.test.js`, with
//! the real one).

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Metas by user, each list oldest first.
pub(crate) type State = BTreeMap<String, Vec<Value>>;

/// One channel's view of who is there.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fold {
    pub(crate) state: State,
    /// Diffs that came before the first state.
    early: Vec<Value>,
    pub(crate) has_state: bool,
}

fn reference(meta: &Value) -> &str {
    meta["phx_ref"].as_str().expect("a meta has a phx_ref")
}

fn metas(entry: &Value) -> &Vec<Value> {
    entry["metas"].as_array().expect("an entry has metas")
}

fn object(value: &Value) -> &Map<String, Value> {
    value.as_object().expect("presence comes in objects")
}

impl Fold {
    /// `presence_state`.
    pub(crate) fn sync_state(&mut self, state: &Value) {
        self.state = object(state)
            .iter()
            .map(|(user, entry)| (user.clone(), metas(entry).clone()))
            .collect();
        assert!(self.state.values().all(|metas| !metas.is_empty()), "who is listed has a meta");
        self.has_state = true;
        for diff in std::mem::take(&mut self.early) {
            self.apply(&diff);
        }
    }

    /// `presence_diff`.
    pub(crate) fn sync_diff(&mut self, diff: &Value) {
        if self.has_state {
            self.apply(diff);
        } else {
            self.early.push(diff.clone());
        }
    }

    fn apply(&mut self, diff: &Value) {
        for (user, joined) in object(&diff["joins"]) {
            let joined = metas(joined);
            let old = self.state.insert(user.clone(), joined.clone()).unwrap_or_default();
            let is_new = |meta: &Value| joined.iter().all(|new| reference(new) != reference(meta));
            let kept: Vec<Value> = old.into_iter().filter(is_new).collect();
            self.state.get_mut(user).expect("just put there").splice(0..0, kept);
        }
        for (user, left) in object(&diff["leaves"]) {
            let Some(current) = self.state.get_mut(user) else { continue };
            let gone: Vec<&str> = metas(left).iter().map(reference).collect();
            current.retain(|meta| !gone.contains(&reference(meta)));
            if current.is_empty() {
                self.state.remove(user);
            }
        }
    }
}
