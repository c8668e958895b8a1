//! Did each receiver get each sender's messages once, and in order?
//!
//! A receiver keeps one number per sender of its room: which message must come next. A jump forward
//! leaves gaps. A late message fills one: it was reordered. Any other message that is not the next
//! is a duplicate. What is still missing at the end was lost.
//!
//! A receiver that joins while others write cannot know which message is the first it must get.
//! The server takes it in at some moment between its join and the answer. So the first message it
//! sees may be any up to the first that was sent after the answer. From then on none may be
//! missing.
//!
//! Deliberately absent: the order of different senders' messages, which is
//! [`Order`](crate::order::Order).

use std::collections::BTreeMap;
use std::ops::Range;

use crate::base::at;

/// What a message was to its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The next one.
    InOrder,
    /// A later one than the next: some are missing, for now.
    Early,
    /// One that had been missing.
    Late,
    /// One that had come already.
    Duplicate,
    /// From a sender this room does not have.
    Unknown,
}

/// What one receiver must still get from one sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// Exactly this.
    Is(u32),
    /// This or an earlier one, after a join in the midst of things.
    AtMost(u32),
    /// Not known: what others sent is counted in another process.
    Any,
}

/// One receiver's view of one room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Receiver {
    next: Vec<Next>,
    /// What is missing: a sender and the first of a run of its messages, and the one after the
    /// last.
    gaps: BTreeMap<(u32, u32), u32>,
}

impl Receiver {
    /// A member that is there before anything is sent by any of `publishers`.
    pub(crate) fn from_the_start(publishers: u32) -> Self {
        Self { next: vec![Next::Is(0); at(publishers)], ..Self::default() }
    }

    /// The member (re)joined, and the answer has just come: from now on all that is sent must come.
    /// `sent` is how many messages each sender has sent by now, `None` where that is not known
    /// here.
    ///
    /// Gaps of before are forgotten: that was another membership.
    pub(crate) fn rejoined(&mut self, sent: impl Iterator<Item = Option<u32>>) {
        self.gaps.clear();
        self.next.clear();
        self.next.extend(sent.map(|sent| sent.map_or(Next::Any, Next::AtMost)));
    }

    /// A message has come.
    pub(crate) fn received(&mut self, rank: u32, seq: u32) -> Verdict {
        let Some(next) = self.next.get_mut(at(rank)) else { return Verdict::Unknown };
        let due = match *next {
            Next::Is(due) => due,
            Next::AtMost(due) => due.min(seq),
            Next::Any => seq,
        };
        if seq == due {
            *next = Next::Is(seq + 1);
            return Verdict::InOrder;
        }
        if seq < due {
            return if self.fill(rank, seq) { Verdict::Late } else { Verdict::Duplicate };
        }
        *next = Next::Is(seq + 1);
        self.gaps.insert((rank, due), seq);
        Verdict::Early
    }

    /// The gap that a message is missing in, if it is.
    fn gap(&self, rank: u32, seq: u32) -> Option<Range<u32>> {
        let ((of, start), end) = self.gaps.range(..=(rank, seq)).next_back()?;
        (*of == rank && seq < *end).then_some(*start..*end)
    }

    /// Takes a message out of the gap it was missing in; `false` if it was in none.
    fn fill(&mut self, rank: u32, seq: u32) -> bool {
        let Some(gap) = self.gap(rank, seq) else { return false };
        self.gaps.remove(&(rank, gap.start));
        for rest in [gap.start..seq, seq + 1..gap.end] {
            if !rest.is_empty() {
                self.gaps.insert((rank, rest.start), rest.end);
            }
        }
        true
    }

    /// Whether a message has come.
    pub(crate) fn has(&self, rank: u32, seq: u32) -> bool {
        matches!(self.next.get(at(rank)), Some(Next::Is(due)) if seq < *due)
            && self.gap(rank, seq).is_none()
    }

    /// How many messages have not come, given how many each sender sent in all and how many of a
    /// run of a sender's messages were `refused`.
    pub(crate) fn missing(&self, sent: &[u32], refused: impl Fn(u32, Range<u32>) -> u64) -> u64 {
        let missing = |rank, run: Range<u32>| {
            (u64::from(run.end) - u64::from(run.start)) - refused(rank, run)
        };
        let mut sum =
            self.gaps.iter().map(|((rank, start), end)| missing(*rank, *start..*end)).sum();
        for ((rank, next), sent) in (0..).zip(&self.next).zip(sent) {
            if let Next::Is(due) | Next::AtMost(due) = *next
                && due < *sent
            {
                sum += missing(rank, due..*sent);
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(receiver: &mut Receiver, seqs: &[u32], verdicts: &[Verdict], sent: u32, lost: u64) {
        let found: Vec<Verdict> = seqs.iter().map(|seq| receiver.received(0, *seq)).collect();
        assert_eq!(found, verdicts);
        assert_eq!(receiver.missing(&[sent], |_, _| 0), lost);
    }

    use Verdict::{Duplicate, Early, InOrder, Late, Unknown};

    #[test]
    fn all_in_order_is_nothing_to_tell() {
        check(&mut Receiver::from_the_start(1), &[0, 1, 2], &[InOrder; 3], 3, 0);
    }

    #[test]
    fn a_gap_that_stays_is_lost_and_so_is_the_end() {
        check(&mut Receiver::from_the_start(1), &[0, 2], &[InOrder, Early], 5, 3);
    }

    #[test]
    fn two_swapped_messages_are_reordered_not_lost() {
        check(&mut Receiver::from_the_start(1), &[1, 0, 2], &[Early, Late, InOrder], 3, 0);
    }

    #[test]
    fn a_second_copy_is_a_duplicate_even_of_a_late_one() {
        check(
            &mut Receiver::from_the_start(1),
            &[0, 0, 2, 1, 1],
            &[InOrder, Duplicate, Early, Late, Duplicate],
            3,
            0,
        );
    }

    #[test]
    fn a_sender_the_room_does_not_have_is_unknown() {
        assert_eq!(Receiver::from_the_start(1).received(1, 0), Unknown);
    }

    #[test]
    fn who_joins_later_misses_nothing_sent_after_the_answer() {
        let mut receiver = Receiver::default();
        receiver.rejoined([Some(10)].into_iter());
        check(&mut receiver.clone(), &[8, 9, 10], &[InOrder; 3], 11, 0);
        check(&mut receiver.clone(), &[8, 10], &[InOrder, Early], 11, 1);
        check(&mut receiver.clone(), &[11], &[Early], 12, 1);
        check(&mut receiver, &[], &[], 12, 2);
    }

    #[test]
    fn where_the_count_is_not_known_the_first_seen_is_the_first() {
        let mut receiver = Receiver::default();
        receiver.rejoined([None].into_iter());
        assert_eq!(receiver.missing(&[9], |_, _| 0), 0);
        check(&mut receiver, &[5, 7], &[InOrder, Early], 9, 2);
    }

    #[test]
    fn what_was_refused_is_not_missing() {
        let mut receiver = Receiver::from_the_start(1);
        receiver.received(0, 0);
        receiver.received(0, 2);
        let refused = |_, run: Range<u32>| {
            crate::base::count64([1, 4].iter().filter(|seq| run.contains(seq)).count())
        };
        assert_eq!(receiver.missing(&[5], refused), 1);
        assert_eq!([0, 1, 2, 3].map(|seq| receiver.has(0, seq)), [true, false, true, false]);
    }

    #[test]
    fn a_long_gap_is_filled_from_anywhere_and_what_was_refused_in_it_is_not_lost() {
        let mut receiver = Receiver::from_the_start(2);
        check(
            &mut receiver,
            &[1_000_000, 0, 999_999, 500_000, 500_000],
            &[Early, Late, Late, Late, Duplicate],
            1_000_001,
            999_997,
        );
        assert_eq!(
            [0, 1, 500_000, 999_998, 999_999].map(|seq| receiver.has(0, seq)),
            [true, false, true, false, true]
        );
        let all_refused = |_, run: Range<u32>| u64::from(run.end - run.start);
        assert_eq!(
            (
                receiver.missing(&[1_000_001, 7], all_refused),
                receiver.missing(&[1_000_001, 7], |_, _| 0)
            ),
            (0, 1_000_004)
        );
    }
}
