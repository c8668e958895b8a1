//! Work that one turn may still do.
//!
//! Work is counted in units and not by a clock, so that a run can be repeated; a unit is about a
//! microsecond. What does not fit into a turn waits where it stands, in order, and is called in the
//! next ones: nothing that a peer asks for, however often at once, costs others more than a turn.
//!
//! Deliberately absent: what costs how much. That stands in `limits`, with its reasons.

/// What is left of a turn's work.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    per_turn: u32,
    left: u32,
}

impl Budget {
    /// A full budget of so many units a turn.
    #[must_use]
    pub const fn new(per_turn: u32) -> Self {
        Self { per_turn, left: per_turn }
    }

    /// A turn begins: it may do all its work.
    pub const fn refill(&mut self) {
        self.left = self.per_turn;
    }

    /// Whether something may be begun in this turn. What is begun is finished, whatever it costs.
    #[must_use]
    pub const fn has_left(self) -> bool {
        self.left > 0
    }

    /// Counts work that was done.
    pub const fn spend(&mut self, work: u32) {
        self.left = self.left.saturating_sub(work);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_begins_nothing_once_its_work_is_done_and_the_next_has_all_of_it_again() {
        let mut budget = Budget::new(3);
        budget.spend(2);
        assert!(budget.has_left());
        budget.spend(u32::MAX);
        assert!(!budget.has_left(), "what was begun may cost more than was left");
        budget.refill();
        budget.spend(2);
        assert!(budget.has_left(), "and nothing is owed");
    }
}
