//! Work that one turn may still do.
//!
//! Work is counted in units and not by a clock, so that a run can be repeated; a unit is about a
//! microsecond. What does not fit into a turn waits where it stands, in order, and is called in the
//! next ones: nothing that a peer asks for, however often at once, costs others more than a turn.
//!
//! A turn's work is shared by two purses, so that neither can keep the other waiting: what comes
//! from connections, and what comes from other shards. Both have something in each turn, so each
//! goes on in each turn, whatever the other one does. Where there is one shard, its connections
//! have all.
//!
//! Deliberately absent: what costs how much. That stands in `limits`, with its reasons.

/// Whose work it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purse {
    /// Of connections, and what a turn does by itself.
    Conns,
    /// Of records that other shards sent.
    Mesh,
}

/// What is left of a turn's work.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Of connections and of other shards, in a turn.
    per_turn: [u32; 2],
    left: [u32; 2],
    /// Whose work is being done.
    purse: Purse,
    /// All that was ever done.
    done: u64,
}

impl Budget {
    /// A full budget of so many units a turn, on one of so many shards. At least one for each.
    #[must_use]
    pub fn new(per_turn: u32, shards: u16) -> Self {
        let mesh = if shards > 1 { (per_turn / 2).max(1) } else { 0 };
        let per_turn = [per_turn.saturating_sub(mesh).max(1), mesh];
        Self { per_turn, left: per_turn, purse: Purse::Conns, done: 0 }
    }

    /// A turn begins: it may do all its work.
    pub const fn refill(&mut self) {
        self.left = self.per_turn;
    }

    /// From now on work is this one's. Returns whose it was, to be given back to.
    pub const fn switch(&mut self, purse: Purse) -> Purse {
        std::mem::replace(&mut self.purse, purse)
    }

    /// Whether something of this one may be begun in this turn. What is begun is finished, whatever
    /// it costs.
    #[must_use]
    pub const fn has_left(&self, purse: Purse) -> bool {
        self.left[purse as usize] > 0
    }

    /// All work that was ever done, in units: what lies between two moments is what was done then.
    #[must_use]
    pub const fn done(&self) -> u64 {
        self.done
    }

    /// Counts work that was done, for the one whose it is.
    pub const fn spend(&mut self, work: u32) {
        self.done += work as u64;
        let left = &mut self.left[self.purse as usize];
        *left = left.saturating_sub(work);
    }

    /// Counts so many things of which `per_work` are a unit; what is less than one is not counted.
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
