//! The rooms that a user may see, as ranges of names.
//!
//! Each pattern in a token's rights is a range of names: a single name, or all names with a prefix.
//! Two such ranges are nested or disjoint, and the inner one decides. So any rights are a list of
//! disjoint ranges, and rights that open the same rooms give the same list, however they are
//! written.

use crate::auth::identity::Identity;
use crate::auth::level::Level;

/// Names from `start` up to but excluding `end`, in the order of their bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct NameRange {
    /// Where it begins.
    pub start: Box<[u8]>,
    /// Where it ends.
    pub end: Box<[u8]>,
}

/// The rooms that may be seen: ranges in order, with a gap between any two.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Scope(Box<[NameRange]>);

/// No byte of UTF-8 is as large, so every name comes before it.
const END: &[u8] = &[0xFF];

impl Scope {
    /// Every room.
    #[must_use]
    pub fn all() -> Self {
        Self([NameRange { start: [].into(), end: END.into() }].into())
    }

    /// The rooms that an identity may join, and thus see.
    #[must_use]
    pub fn of(identity: &Identity) -> Self {
        let Some(rights) = identity.rights() else { return Self::all() };
        let mut rules: Vec<_> = rights
            .rules()
            .map(|(text, is_exact, right)| {
                (text.as_bytes(), end_of(text, is_exact), right >= Level::Join)
            })
            .collect();
        // A range comes before those nested in it.
        rules.sort_unstable_by(|a, b| (a.0, &b.1).cmp(&(b.0, &a.1)));
        let mut opened = Opened::default();
        for (start, end, is_open) in rules {
            opened.advance(start);
            opened.around.push((end, is_open));
        }
        opened.advance(END);
        Self(opened.ranges.into())
    }

    /// Whether every room may be seen.
    #[must_use]
    pub fn is_all(&self) -> bool {
        matches!(&*self.0, [only] if only.start.is_empty() && *only.end == *END)
    }

    /// The ranges, in order.
    #[must_use]
    pub fn ranges(&self) -> &[NameRange] {
        &self.0
    }
}

/// The end of the range of a pattern. `text` is the pattern without its `*`.
fn end_of(text: &str, is_exact: bool) -> Vec<u8> {
    let mut end = text.as_bytes().to_vec();
    if is_exact {
        // No name contains a control character.
        end.push(0);
    } else if let Some(last) = end.last_mut() {
        // No byte of UTF-8 is the largest, so this cannot overflow.
        *last += 1;
    } else {
        end.extend_from_slice(END);
    }
    end
}

/// A sweep over the ends of all rules, in order: the open ranges up to `place`.
#[derive(Default)]
struct Opened {
    ranges: Vec<NameRange>,
    place: Vec<u8>,
    /// The ends of the rules around the place, and whether each opens; the innermost last.
    around: Vec<(Vec<u8>, bool)>,
}

impl Opened {
    /// Sweeps on to a place, past all ends of rules before it.
    fn advance(&mut self, place: &[u8]) {
        while let Some((end, is_open)) = self.around.pop_if(|(end, _)| **end <= *place) {
            self.note(&end, is_open);
        }
        let is_open = self.around.last().is_some_and(|(_, is_open)| *is_open);
        self.note(place, is_open);
    }

    fn note(&mut self, end: &[u8], is_open: bool) {
        if is_open && *self.place < *end {
            match self.ranges.last_mut() {
                Some(last) if *last.end == *self.place => last.end = end.into(),
                _ => self
                    .ranges
                    .push(NameRange { start: self.place.as_slice().into(), end: end.into() }),
            }
        }
        self.place.clear();
        self.place.extend_from_slice(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::identity::{NEVER_S, Rights};
    use crate::base::rng::SplitMix64;

    fn identity(rules: &[(&str, Level)]) -> Identity {
        Identity::new("u", "U", NEVER_S, Rights::new(rules.iter().copied()).ok()).unwrap()
    }

    fn draw(rng: &mut SplitMix64, end: u64) -> usize {
        usize::try_from(rng.below(end)).unwrap()
    }

    fn has(scope: &Scope, room: &str) -> bool {
        let room = room.as_bytes();
        scope.ranges().iter().any(|range| *range.start <= *room && *room < *range.end)
    }

    #[test]
    fn rights_that_open_the_same_rooms_have_the_same_scope() {
        assert!(Scope::of(&Identity::new("u", "U", NEVER_S, None).unwrap()).is_all());
        assert!(Scope::of(&identity(&[("*", Level::Join)])).is_all());
        assert!(Scope::of(&identity(&[])).ranges().is_empty());
        let plain = Scope::of(&identity(&[("team-*", Level::Join)]));
        let wordy = [("team-*", Level::Speak), ("team-red", Level::Join), ("tea", Level::None)];
        assert_eq!(plain, Scope::of(&identity(&wordy)));
        assert!(!plain.is_all());
        let hole = Scope::of(&identity(&[("*", Level::Join), ("secret", Level::None)]));
        assert_eq!(hole.ranges().len(), 2);
    }

    #[test]
    fn a_scope_has_exactly_the_rooms_that_may_be_joined() {
        let mut rng = SplitMix64::new(7);
        let names = ["a", "aa", "ab", "aba", "abb", "b", "ba", "é", "éa", "ê", "z", "a-", "a!"];
        for _ in 0..2_000 {
            let mut rules: Vec<(String, Level)> = Vec::new();
            for name in names.iter().chain(&["", "ab", "a"]) {
                let right = [Level::None, Level::Join, Level::Speak][draw(&mut rng, 3)];
                match rng.below(5) {
                    0 if !name.is_empty() => rules.push(((*name).to_owned(), right)),
                    1 => rules.push((format!("{name}*"), right)),
                    _ => {}
                }
            }
            rules.sort_by(|a, b| a.0.cmp(&b.0));
            rules.dedup_by(|a, b| a.0 == b.0);
            let rules: Vec<_> = rules.iter().map(|(text, right)| (text.as_str(), *right)).collect();
            let identity = identity(&rules);
            let scope = Scope::of(&identity);
            for name in names {
                assert_eq!(has(&scope, name), identity.may_join(name), "{name} by {rules:?}");
            }
            let ranges = scope.ranges();
            assert!(ranges.iter().all(|range| range.start < range.end));
            assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start), "{ranges:?}");
        }
    }
}
