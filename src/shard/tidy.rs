//! What a storm needed and nobody needs now is given back, a few times a second.
//!
//! Whatever is filled and emptied again keeps its memory, so that a steady load allocates nothing;
//! and a storm would leave all of it behind for as long as the process lives, in tables by
//! connection and in buffers that once held the list of a large room.

use super::Shard;
use crate::base::slack::Slack;

/// How many entries of each kind keep their memory when there are none.
const ENTRIES_KEPT: usize = 128;

/// How many bytes keep their memory in each buffer that is emptied before a function ends.
const SCRATCH_BYTES_KEPT: usize = 32 * 1_024;

impl Shard {
    /// Gives back memory that most of is not needed.
    pub(super) fn tidy(&mut self) {
        self.buffers.tidy(ENTRIES_KEPT);
        self.log_memory.tidy();
        self.let_lists_go();
        self.spare_lists.tidy();
        for scratch in [
            &mut self.scratch,
            &mut self.response,
            &mut self.record,
            &mut self.signed,
            &mut self.list,
        ] {
            scratch.trim(SCRATCH_BYTES_KEPT);
        }
        self.inputs.trim(ENTRIES_KEPT);
        self.exchanges.trim(ENTRIES_KEPT);
        self.arrivals.trim(ENTRIES_KEPT);
        self.odd_refs.trim(ENTRIES_KEPT);
        self.sessions.trim(ENTRIES_KEPT);
        self.audience_by_topic.trim(ENTRIES_KEPT);
        self.home_by_topic.trim(ENTRIES_KEPT);
        self.upkeep.trim(ENTRIES_KEPT);
        self.admission.trim(ENTRIES_KEPT);
        self.timers.trim(ENTRIES_KEPT);
        self.greeting.trim(ENTRIES_KEPT);
        self.listed.trim(ENTRIES_KEPT);
        self.touched.trim(ENTRIES_KEPT);
        self.touched_conns.trim(ENTRIES_KEPT);
        self.laggards.trim(ENTRIES_KEPT);
        self.dismissed.trim(ENTRIES_KEPT);
        self.unparked.trim(ENTRIES_KEPT);
        self.stirred.trim(ENTRIES_KEPT);
        self.paused.trim(ENTRIES_KEPT);
    }
}
