//! The work that one turn may still do.
//!
//! Work is counted in units and not by a clock, so that a run can be repeated. A unit is about a
//! microsecond. Work that does not fit into a turn waits where it is, in order, and the next turns
//! go on with it. So however much a peer asks for at once, it delays others by no more than a turn.
//!
//! A turn's work is split into two *purses*, one for what comes from connections and one for what
//! comes from other shards. Each has its part in each turn, so neither can keep the other waiting.
//! A single shard gives all work to its connections.
//!
//! Deliberately absent: costs. They stand in `limits`, with their reasons.

/// Where work comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purse {
    /// From connections, or the turn itself.
    Conns,
    /// From records that other shards sent.
    Mesh,
}

/// What is left of a turn's work, for each purse.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// The units of each [`Purse`] in a full budget.
    per_turn: [u32; 2],
    left: [u32; 2],
    /// The purse that work is spent from now.
    purse: Purse,
    /// All units that were ever spent.
    done: u64,
}

impl Budget {
    /// A full budget of `per_turn` units, on one of `shards` shards. Each purse that is used has at
    /// least one unit.
    #[must_use]
    pub fn new(per_turn: u32, shards: u16) -> Self {
        let mesh = if shards > 1 { (per_turn / 2).max(1) } else { 0 };
        let per_turn = [per_turn.saturating_sub(mesh).max(1), mesh];
        Self { per_turn, left: per_turn, purse: Purse::Conns, done: 0 }
    }

    /// Begins a turn: both purses are full.
    pub const fn refill(&mut self) {
        self.left = self.per_turn;
    }

    /// Spends from this purse from now on. Returns the one before, to switch back to.
    pub const fn switch(&mut self, purse: Purse) -> Purse {
        std::mem::replace(&mut self.purse, purse)
    }

    /// Whether work from this purse may be begun in this turn. Begun work is finished, whatever it
    /// costs.
    #[must_use]
    pub const fn has_left(&self, purse: Purse) -> bool {
        self.left[purse as usize] > 0
    }

    /// All units that were ever spent: the difference between two calls is the work between them.
    #[must_use]
    pub const fn done(&self) -> u64 {
        self.done
    }

    /// Spends units from the present purse. What it lacks is not owed.
    pub const fn spend(&mut self, work: u32) {
        self.done += work as u64;
        let left = &mut self.left[self.purse as usize];
        *left = left.saturating_sub(work);
    }

    /// Spends one unit for each `per_work` of `count`, rounded down.
    pub fn spend_for(&mut self, count: usize, per_work: usize) {
        self.spend(u32::try_from(count / per_work).unwrap_or(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_begins_nothing_once_its_work_is_done_and_the_next_has_all_of_it_again() {
        let mut budget = Budget::new(3, 1);
        budget.spend(2);
        assert!(budget.has_left(Purse::Conns));
        budget.spend(u32::MAX);
        assert!(!budget.has_left(Purse::Conns), "what was begun may cost more than was left");
        budget.refill();
        budget.spend_for(299, 100);
        assert!(budget.has_left(Purse::Conns), "and nothing is owed");
        budget.spend_for(usize::MAX, 1);
        assert!(!budget.has_left(Purse::Conns));
        assert_eq!(budget.done(), 2 + 2 + 2 * u64::from(u32::MAX));
    }

    #[test]
    fn connections_and_other_shards_take_nothing_from_each_other_and_both_have_some() {
        for per_turn in [0, 1, 2, 5, 4_000] {
            let mut budget = Budget::new(per_turn, 2);
            assert!(budget.has_left(Purse::Conns) && budget.has_left(Purse::Mesh), "{per_turn}");
            budget.spend(u32::MAX);
            assert!(!budget.has_left(Purse::Conns) && budget.has_left(Purse::Mesh));
            assert_eq!(budget.switch(Purse::Mesh), Purse::Conns);
            budget.spend(per_turn.div_ceil(2).max(1));
            assert!(!budget.has_left(Purse::Mesh), "both together have a turn's work");
            assert_eq!(budget.switch(Purse::Conns), Purse::Mesh);
            budget.refill();
            assert!(budget.has_left(Purse::Conns) && budget.has_left(Purse::Mesh));
        }
        assert!(!Budget::new(4_000, 1).has_left(Purse::Mesh), "there is nobody to hear");
    }
}
