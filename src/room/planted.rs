//! Defects of a room that the contract suite must find: `rooms/contract/planted.rs` tries them all.
//! Only in tests of the library. The simulator plants others, where its world touches the server:
//! `tests/sim/faults.rs`.

use std::cell::Cell;

use crate::room::Room;

/// What is wrong with all rooms of this thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Planted {
    #[default]
    Nothing,
    /// The number of a change is left out when it is told.
    ChangeSkipped,
    /// A deleted message is forgotten when it is no longer kept.
    TombstoneForgotten,
    /// The floor stays where it is when a changed message is no longer kept.
    FloorStays,
    /// What a log has read is told as it was read, though memory knows something newer.
    OldPage,
    /// A recovery leaves out what has changed.
    RecoveryWithoutChanged,
    /// A turn takes back no pin that it has lost.
    PinsStay,
    /// Pins are not counted.
    PinsUncounted,
    /// A message that is not all told is taken for all that there is of it.
    ReactorsForgotten,
    /// Who reacts is answered though that is not kept.
    ReactionsUnkept,
    /// Of what a log has read nothing is one's own.
    MineForgotten,
    /// Answers that are said while something is read are not counted.
    RepliesUncounted,
    /// A turn takes back no answer that it has lost from the count.
    RepliesStay,
    /// What is not in memory is taken for the first of a thread.
    ThreadsGuessed,
    /// A message that waits for a read is overtaken by what its member says next.
    OwnOvertaken,
    /// The settings that a log has kept do not hold when it opens a room.
    SettingsForgotten,
    /// How users stand is forgotten when the log refuses what is decided of another.
    StandingsDropped,
    /// A list of users that is not all of them lacks its last one.
    ListsShort,
    /// A decision is answered though it is not kept.
    DecisionsUnkept,
    /// What was reported once is answered though it is not kept.
    ReportsUnkept,
    /// What is done has no line in the audit trail.
    LinesLeftOut,
    /// An invite that was taken back is good.
    InvitesOutlive,
    /// An invite is made as if none had been taken back.
    InvitesStale,
    /// Who is banned comes in.
    BansIgnored,
    /// Who is muted is refused as if it were banned.
    MutedKeptOut,
    /// What is decided is refused, though its log has taken it.
    DoneRefused,
    /// What another home has decided is not heard.
    OthersUnheard,
    /// What was decided here is done when it is proposed, and when it comes back.
    DecidedTwice,
    /// What was collected is forgotten where it is a conflict.
    ConflictsDropped,
    /// What was collected is judged by the message as it was.
    JudgedByOld,
    /// A decision is answered when it is kept, though the room does not know it yet.
    AnsweredUnapplied,
    /// A turn forgets all epochs but the last ones, though they name messages in memory.
    NamesForgotten,
    /// No cursor of an epoch that has ended is good.
    EndedUnjudged,
    /// What a node has said whose life is over is believed when it comes late.
    TombstonesForgotten,
    /// Slices of different lives of a node are compared by their versions.
    LivesIgnored,
    /// A node that has another life goes on in the one before.
    NewLifeUnheard,
    /// What is not known of a node is not asked for.
    WantsUnsaid,
    /// Nodes do not say that what they said still holds.
    AuditsUnsaid,
    /// A difference is applied to whatever is known.
    DiffsMisapplied,
    /// An empty room goes before others know that it is empty.
    FarewellsUnheard,
    /// A node that answers nothing any more is taken for present.
    SilenceBelieved,
}

thread_local! {
    static PLANTED: Cell<Planted> = const { Cell::new(Planted::Nothing) };
}

/// Plants a defect from now on.
pub(crate) fn plant(planted: Planted) {
    PLANTED.set(planted);
}

impl Room {
    /// The defect of [`Planted::StandingsDropped`].
    pub(crate) fn drop_standings(&mut self) {
        if let Some(facts) = &mut self.facts {
            facts.standings.clear();
        }
    }
}

/// Whether the number of this change is left out.
pub(super) fn skips(change: u64) -> bool {
    is(Planted::ChangeSkipped) && change.is_multiple_of(5)
}

/// Whether this one is planted.
pub(crate) fn is(planted: Planted) -> bool {
    PLANTED.get() == planted
}
