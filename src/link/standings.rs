//! How users stand in a room, in two stretches of memory however many they are.
//!
//! A log may open a room of which a hundred thousand users are remembered. An allocation for each
//! would hold its shard for a tenth of a second.
//!
//! Invariant: the rows are in the order of their users, each of whom has one.

use std::collections::BTreeMap;

use crate::auth::level::Standing;

/// How users stand in a room, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    /// Their ids, one behind the other.
    users: Box<str>,
    rows: Box<[Row]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Row {
    /// Where the user's id ends, in bytes.
    end: u32,
    standing: Standing,
}

impl Standings {
    /// How many users there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// What they take, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.users.len() + size_of_val(&*self.rows)
    }

    /// How a user stands, if it has a row.
    #[must_use]
    pub fn of(&self, user: &str) -> Option<Standing> {
        let at = self.first_from(|other| other < user);
        self.row(at).filter(|(other, _)| *other == user).map(|(_, standing)| standing)
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Standing)> {
        self.from(0)
    }

    /// Those behind a user's id, in order.
    pub fn behind(&self, user: &str) -> impl Iterator<Item = (&str, Standing)> {
        self.from(self.first_from(|other| other <= user))
    }

    fn from(&self, at: usize) -> impl Iterator<Item = (&str, Standing)> {
        (at..self.rows.len()).filter_map(|at| self.row(at))
    }

    fn row(&self, at: usize) -> Option<(&str, Standing)> {
        let Row { end, standing } = *self.rows.get(at)?;
        let begin = at.checked_sub(1).map_or(0, |before| self.rows[before].end);
        Some((&self.users[begin as usize..end as usize], standing))
    }

    /// The first of the rows whose user is not before.
    fn first_from(&self, is_before: impl Fn(&str) -> bool) -> usize {
        let (mut low, mut high) = (0, self.rows.len());
        while low < high {
            let middle = low.midpoint(high);
            if self.row(middle).is_some_and(|(user, _)| is_before(user)) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        low
    }
}

/// Of a user that comes more than once the last holds.
impl<U: AsRef<str>> FromIterator<(U, Standing)> for Standings {
    fn from_iter<I: IntoIterator<Item = (U, Standing)>>(of: I) -> Self {
        let (mut users, mut rows) = (String::new(), Vec::new());
        let (mut last, mut is_sorted) = (0, true);
        for (user, standing) in of {
            let user = user.as_ref();
            is_sorted &= rows.is_empty() || &users[last..] < user;
            last = users.len();
            users.push_str(user);
            let end = u32::try_from(users.len()).expect("ids of one room are no gigabytes");
            rows.push(Row { end, standing });
        }
        let standings = Self { users: users.into(), rows: rows.into() };
        if is_sorted {
            return standings;
        }
        standings.iter().collect::<BTreeMap<_, _>>().into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn muted(until_ms: u64) -> Standing {
        Standing { muted_until_ms: until_ms, ..Standing::default() }
    }

    #[test]
    fn users_are_found_and_told_in_order_however_they_came() {
        let came = [("cat", 3), ("ann", 1), ("é", 5), ("bob", 2), ("cat", 4)];
        let standings: Standings = came.into_iter().map(|(user, ms)| (user, muted(ms))).collect();
        let expected = [("ann", 1), ("bob", 2), ("cat", 4), ("é", 5)];
        let expected = expected.map(|(user, ms)| (user, muted(ms)));
        assert_eq!(standings.iter().collect::<Vec<_>>(), expected);
        assert_eq!((standings.len(), standings.bytes()), (4, 11 + 4 * size_of::<Row>()));
        for (user, standing) in expected {
            assert_eq!(standings.of(user), Some(standing));
        }
        for user in ["", "a", "bo", "bobb", "z", "éé"] {
            assert_eq!(standings.of(user), None);
            let behind = expected.into_iter().filter(|(other, _)| *other > user);
            assert!(standings.behind(user).eq(behind), "behind {user}");
        }
        assert_eq!(standings.behind("bob").next(), Some(("cat", muted(4))));
        let again: Standings = standings.iter().collect();
        assert_eq!(again, standings);
        assert!(Standings::default().is_empty() && Standings::default().of("ann").is_none());
    }
}
