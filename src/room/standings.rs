//! How users stand in a room: as its log had kept it, and what was decided since.
//!
//! What was kept is taken over as it lies ([`Kept`]). What is decided lies in a map over it, and is
//! brought into it now and then: with that what is over is forgotten.
//!
//! Called by: `facts`, `rights`. Calls: nothing.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::Bound;

use crate::auth::level::Standing;
use crate::limits::STANDING_MEMORY_BYTES;
use crate::link::standings::Standings as Kept;

/// How users stand in a room.
#[derive(Debug, Default)]
pub(super) struct Standings {
    kept: Kept,
    /// Of these users it is not what was kept that holds: with the default, nothing holds.
    since: BTreeMap<Box<str>, Standing>,
    /// Of how many users something is remembered.
    count: usize,
}

/// So many decisions lie beside what was kept, and a part of as many as that.
const SINCE_MIN: usize = 16;
const SINCE_PART: usize = 4;

impl Standings {
    /// What a log has kept, without what is over by now.
    pub(super) fn reopened(kept: &Kept, now_ms: u64) -> Self {
        let kept: Kept = kept.iter().filter(|(_, standing)| standing.holds(now_ms)).collect();
        Self { count: kept.len(), kept, since: BTreeMap::new() }
    }

    /// Whether nothing is remembered of anybody.
    pub(super) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// What they take, in bytes, roughly.
    pub(super) fn bytes(&self) -> usize {
        self.kept.bytes() + self.since.len() * STANDING_MEMORY_BYTES
    }

    /// How a user stands.
    pub(super) fn of(&self, user: &str) -> Standing {
        let since = self.since.get(user).copied();
        since.or_else(|| self.kept.of(user)).unwrap_or_default()
    }

    /// A user stands so from now on.
    pub(super) fn set(&mut self, user: &str, standing: Standing, now_ms: u64) {
        let nothing = Standing::default();
        let standing = if standing.holds(now_ms) { standing } else { nothing };
        let before = self.of(user);
        if before == standing {
            return;
        }
        self.count += usize::from(before == nothing);
        self.count -= usize::from(standing == nothing);
        if standing == nothing && self.kept.of(user).is_none() {
            self.since.remove(user);
        } else {
            self.since.insert(user.into(), standing);
        }
        if self.since.len() > SINCE_MIN + self.kept.len() / SINCE_PART {
            let all = self.iter().filter(|(_, standing)| standing.holds(now_ms));
            *self = Self { kept: all.collect(), ..Self::default() };
            self.count = self.kept.len();
        }
    }

    /// All of them, in the order of the users.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, Standing)> {
        // Nobody's id is empty.
        self.behind("")
    }

    /// Those behind a user's id.
    pub(super) fn behind(&self, user: &str) -> impl Iterator<Item = (&str, Standing)> {
        let since = self.since.range::<str, _>((Bound::Excluded(user), Bound::Unbounded));
        let mut since = since.map(|(user, standing)| (&**user, *standing)).peekable();
        let mut kept = self.kept.behind(user).peekable();
        let both = std::iter::from_fn(move || match (kept.peek(), since.peek()) {
            (Some((old, _)), Some((new, _))) => match old.cmp(new) {
                Ordering::Less => kept.next(),
                Ordering::Greater => since.next(),
                Ordering::Equal => {
                    kept.next();
                    since.next()
                }
            },
            (Some(_), None) => kept.next(),
            (None, _) => since.next(),
        });
        both.filter(|(_, standing)| *standing != Standing::default())
    }

    /// The planted defect: nobody stands otherwise than others.
    #[cfg(test)]
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn muted(until_ms: u64) -> Standing {
        Standing { muted_until_ms: until_ms, ..Standing::default() }
    }

    #[test]
    fn what_was_decided_since_lies_over_what_was_kept_as_in_one_map() {
        let kept: Kept = (0..40).map(|at| (format!("u{at:02}"), muted(100 + at))).collect();
        let mut standings = Standings::reopened(&kept, 105);
        let mut model: BTreeMap<String, Standing> =
            (6..40).map(|at| (format!("u{at:02}"), muted(100 + at))).collect();
        for step in 0_u64..500 {
            // A plain generator: a user, and until when it is muted; half of those are over.
            let draw = step.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            let (user, standing) = (format!("u{:02}", draw % 60), muted(draw % 400));
            standings.set(&user, standing, 105);
            if standing.holds(105) {
                model.insert(user.clone(), standing);
            } else {
                model.remove(&user);
            }
            assert_eq!(standings.of(&user), model.get(&user).copied().unwrap_or_default());
            let all = model.iter().map(|(user, standing)| (&**user, *standing));
            assert!(standings.iter().eq(all.clone()), "after {step} steps");
            assert!(standings.behind(&user).eq(all.filter(|(other, _)| *other > &*user)));
            assert_eq!(standings.is_empty(), model.is_empty());
            assert_eq!(standings.count, model.len());
        }
        // What is over by then is forgotten with the decisions that are brought in.
        for at in 0..100 {
            standings.set(&format!("new{at}"), muted(1_000), 600);
        }
        assert!(standings.iter().filter(|(user, _)| user.starts_with('u')).count() == 0);
        for at in 0..100 {
            standings.set(&format!("new{at}"), muted(0), 600);
        }
        assert!(standings.is_empty());
    }
}
