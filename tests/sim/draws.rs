//! All that is random in a run, from one seed.

use chinwag::base::rng::SplitMix64;

/// A sequence of choices.
#[derive(Clone, Debug)]
pub(crate) struct Draws(SplitMix64);

impl Draws {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(SplitMix64::new(seed))
    }

    /// Another sequence, which does not depend on how far this one goes.
    pub(crate) fn fork(&mut self) -> Self {
        Self::new(self.number())
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// From 0 to `end - 1`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.0.below(end)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn range(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    pub(crate) fn size(&mut self, low: usize, high: usize) -> usize {
        usize::try_from(self.range(low as u64, high as u64)).expect("between two sizes")
    }

    /// An index into something of this length, which must not be empty.
    pub(crate) fn index(&mut self, length: usize) -> usize {
        assert!(length > 0, "there is nothing to choose from");
        self.size(0, length - 1)
    }

    pub(crate) fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.index(from.len())]
    }

    /// A size that is mostly small, and sometimes anything up to `high`: of segments, writes and
    /// batches.
    pub(crate) fn skewed(&mut self, high: usize) -> usize {
        let high = high.max(1);
        match self.below(8) {
            0 => 1,
            1..=3 => self.size(1, high.min(16)),
            4..=6 => self.size(1, high.min(700)),
            _ => self.size(1, high),
        }
    }

    /// The index of a weight, each as likely as it is large.
    pub(crate) fn weighted(&mut self, weights: &[u64]) -> usize {
        let mut at = self.below(weights.iter().sum());
        weights
            .iter()
            .position(|weight| {
                let found = at < *weight;
                at = at.saturating_sub(*weight);
                found
            })
            .expect("the weights add up")
    }
}
