//! How near a shard's memory is to its bound.

use crate::limits::MEMORY_MARKS_PERCENT;

/// How near the bound it is. Each mark includes those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Pressure {
    /// Far from it.
    #[default]
    None,
    /// Nobody is accepted.
    Conns,
    /// And nobody joins.
    Joins,
    /// And those who hold the most let go of it.
    Over,
}

impl Pressure {
    /// The pressure of so many bytes in use beside a bound.
    pub(crate) fn of(used_bytes: usize, bytes_max: usize) -> Self {
        let is_past = |percent: usize| used_bytes / 100 >= bytes_max / 10_000 * percent;
        let [conns, joins, over] = MEMORY_MARKS_PERCENT;
        match () {
            () if is_past(over) => Self::Over,
            () if is_past(joins) => Self::Joins,
            () if is_past(conns) => Self::Conns,
            () => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_are_passed_one_after_another() {
        let percent = |percent: usize| Pressure::of(percent * 10_000, 1_000_000);
        assert_eq!(percent(79), Pressure::None);
        assert_eq!([percent(80), percent(89)], [Pressure::Conns; 2]);
        assert_eq!([percent(90), percent(99)], [Pressure::Joins; 2]);
        assert_eq!(percent(100), Pressure::Over);
        assert_eq!(Pressure::of(1 << 60, usize::MAX), Pressure::None, "without a bound");
    }
}
