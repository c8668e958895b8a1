//! Defects of a follower that the contract suite must find: `app/engine_contract.rs` tries them
//! all.

use std::cell::Cell;

/// What is wrong with all followers of this thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Planted {
    #[default]
    Nothing,
    /// What is told before replicas have it is told as kept.
    KeptBeforeReplicas,
    /// A room turns into the epoch that it had.
    EpochReused,
    /// What was pushed while a room was read is forgotten.
    HeldForgotten,
    /// Pages of another epoch are told.
    PageOfAnotherEpoch,
    /// What was under way when the connection ended is taken for refused.
    DoubtDenied,
    /// What was missed from before a turn is told behind it.
    TurnToldFirst,
    /// Nobody looks whether a push was lost.
    AuditOff,
    /// What changes in the list of rooms is not heard.
    ListsUnheard,
    /// The list of rooms is read on the first connection alone.
    ListsReadOnce,
    /// A room of which nothing is kept any more stays in the list.
    ListsUnswept,
    /// What a node said of its rooms stays when its life is over.
    CountsOfTheDead,
    /// Of rooms that were not told nobody hears later.
    CountsStale,
    /// Whoever wants to be told is taken to know all.
    CountsUncompared,
    /// A difference of counts is applied to whatever is known.
    CountsMisapplied,
    /// Parts of different versions are taken for one whole.
    PartsMixed,
    /// Nobody says again that it wants to be told.
    CountsUnwanted,
    /// The answer to a request that was passed on goes to whoever waits the longest.
    AnswerMisled,
    /// A post that may have been taken is told as not taken.
    PostDenied,
    /// What waits at another node is not given up.
    PassWithoutEnd,
    /// Of a room that lost its place nobody hears that its members are gone.
    PartsUnsaid,
    /// The script does not look at what an entry was judged by,
    JudgedByIgnored,
    /// at which change of a message one was made of,
    ExpectedIgnored,
    /// or at keys.
    KeysIgnored,
    /// A room lets go of one message more than is too old, or too much.
    YoungLetGo,
    /// No home hears that its room has let go of messages.
    FloorUntold,
    /// When a room is set to keep less, nobody looks at it.
    KeepUnheard,
}

thread_local! {
    static PLANTED: Cell<Planted> = const { Cell::new(Planted::Nothing) };
}

/// Plants a defect from now on.
pub(crate) fn plant(planted: Planted) {
    PLANTED.set(planted);
}

/// Whether this defect is planted.
pub(in crate::side::engine) fn is(planted: Planted) -> bool {
    PLANTED.get() == planted
}
