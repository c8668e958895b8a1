//! What may be wrong with a pretend log: each must be found by a check.

/// Defects of a log that the suite must find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogDefect {
    /// It says `Kept` of what it has only ordered.
    AckedBeforeKept,
    /// It loses what was seen, and the epoch goes on.
    EpochKept,
    /// It turns, and calls the new epoch as the old one: an offset has two messages.
    OffsetReused,
    /// It reads a room as it was kept when it was opened: that is less than its reader has heard.
    ReadTooEarly,
    /// It reads messages as they were said, whatever became of them.
    ReadAsSaid,
    /// Two who read at a time are given each other's answers.
    ReadsSwapped,
    /// It tells members of what it has not kept.
    SeenBeforeKept,
    /// It leaves a room out when it lists those that it keeps.
    ListsTooFew,
    /// It finds what was said in another room.
    FindsElsewhere,
    /// It finds what it has not kept.
    FindsUnkept,
    /// It gives a change the number behind the next one.
    ChangeSkipped,
    /// It leaves deleted messages out when it is asked what has changed.
    TombstoneForgotten,
    /// It opens a room again without what was decided of its users.
    DecisionForgotten,
    /// Of what it keeps at a time it answers the last only.
    LastAnsweredOnly,
    /// It opens a room again without the epochs that it has been in.
    LineageForgotten,
    /// It looks where a room stands before the last thing is kept, and reads its tail behind that.
    TailCrossed,
    /// It leaves out lines when it is asked for an audit trail.
    LineForgotten,
    /// It keeps the lines of audit trails whose entries it has lost.
    LineOutlives,
    /// With the entries that it loses it loses a line of one that it has kept.
    LineTorn,
    /// It keeps lines of audit trails as of another than who did it.
    LineMisattributed,
    /// It says of each page of an audit trail that there is more.
    MoreClaimed,
    /// When it cannot keep something it forgets what was decided and is not kept.
    DecisionsDropped,
    /// It reads messages without the epochs in which they were said, which their room may have
    /// forgotten.
    EpochUnnamed,
}
