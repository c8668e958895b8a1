//! Bugs, planted where the world touches the server, so that each check is seen to bark.
//!
//! Most of them meddle with a record on its way from one shard to another. They know records by
//! their first byte, which `link::record` gives them; should those numbers change, the planted
//! bugs no longer bite, and the tests that expect them to fail say so.

use crate::draws::Draws;

/// What is wrong in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Bug {
    /// A message does not reach the members on one shard.
    LoseMessage,
    /// The very last one does not, so that no gap shows it.
    LoseLastMessage,
    /// A message reaches them twice.
    RepeatMessage,
    /// Two pushes of one shard change places on their way.
    SwapPublishes,
    /// What is said in one room reaches the members of another.
    Misdeliver,
    /// A push is taken for one of somebody else, in whatever room that is.
    SpeakAsAnother,
    /// A push names a membership that is not its connection's.
    SpeakFromAnotherSlot,
    /// Who pushes is no member, for all that the checks know.
    LetStrangersSpeak,
    /// A custom event does not reach the members on one shard.
    LoseCustom,
    /// A custom event reaches them twice.
    RepeatCustom,
    /// Messages for a shard that is behind are lost.
    DropWhenFull,
    /// That a shard is behind is never noticed.
    NeverFull,
    /// The home never hears that somebody left.
    ForgetLeave,
    /// It does not when everybody leaves in the end.
    ForgetLastLeave,
    /// A push is never answered.
    LoseAnswer,
    /// A join is never answered.
    LoseJoined,
    /// A push is answered twice.
    RepeatAnswer,
    /// A push is refused, and done.
    RefuseWhatIsDone,
    /// An answer names the wrong offset.
    WrongReceipt,
    /// A key is forgotten, so that a message that is sent again is a second one.
    ForgetKey,
    /// A message is from long ago.
    TurnBackTime,
    /// A recovery begins one message too late.
    RecoverTooLittle,
    /// A join says that it recovers, and does not.
    ClaimRecovery,
    /// A recovery lacks its first message.
    CutRecovery,
    /// A page of history leaves out a message.
    GapInHistory,
    /// The history keeps less than it says.
    ForgetAcked,
    /// Whatever the token says, its owner may do everything.
    IgnoreRights,
    /// A token that has let somebody in is good for ever.
    IgnoreExpiry,
    /// Another token on a connection is good for ever.
    RenewForEver,
    /// The end of a connection is not moved by another token.
    RenewInVain,
    /// A connection that does not read is kept, and all that is for it.
    UnboundedOutput,
    /// That a socket takes some of what waits for it is not noted.
    ForgetProgress,
    /// A connection that takes nothing is closed before its time.
    HurryReaders,
    /// A connection is closed for how much waits for it, though it takes more and more of that.
    BoundReaders,
    /// A connection that takes nothing is never closed for it.
    WaitForEver,
    /// The history of a shard takes no heed of its bound.
    UnboundedHistory,
    /// What connections ask for is done as it comes, and counted by nobody.
    UnboundedWork,
    /// A connection that ends leaves all its channels at once.
    UnboundedEnds,
    /// One kind of record is handled whatever work is left.
    UnbudgetedEntry,
    /// Rooms are made as they are asked for.
    UnboundedRooms,
    /// Connections are taken as they come.
    UnboundedConnections,
    /// Whatever is kept is kept.
    UnboundedMemory,
    /// Typing is told each time.
    RepeatTyping,
    /// The lobby is not told of a room's change.
    ForgetListing,
    /// A poll that is asked again has the token of the answer that was lost.
    TakeLostForHad,
    /// An upgrade that had to wait is never answered.
    ForgetUpgrade,
    /// A connection that is handed off does not arrive.
    LoseHandoff,
    /// A log says that it keeps what it has only ordered.
    AckUnkept,
    /// Members hear of what a log has not kept, which promises that they do not.
    SeeUnkept,
    /// A log loses what was seen, and the epoch goes on.
    KeepEpoch,
    /// A log gives an offset twice within an epoch.
    ReuseOffset,
    /// A log does not say in which epoch a message was said that is read.
    NameNoEpoch,
    /// A log reads a room as it was before, and has less than its reader.
    ReadTooEarly,
    /// A change of a message does not reach the members on one shard.
    LoseChange,
    /// It has the number behind its own when it does.
    SkipChange,
    /// A recovery leaves out what has changed.
    RecoverWithoutChanged,
    /// A recovery leaves out that a message is deleted which is no longer kept.
    LoseTombstone,
    /// A recovery begins one change too late, as if less had been let go of.
    RecoverTooFewChanges,
    /// A message that all hear says whose it is to one of them.
    TellMine,
    /// A log reads messages as they were said, whatever became of them.
    ReadAsSaid,
    /// A log leaves out deleted messages when it is asked what has changed.
    ForgetTombstone,
    /// A log leaves out a room when it lists those that it keeps.
    ListTooFew,
    /// A log finds what was said in another room.
    FindElsewhere,
    /// A log finds what it has not kept.
    FindUnkept,
    /// A recovery has a gap: memory has moved on while the older part was read.
    GapInRecovery,
    /// A publisher is answered before its message reaches it.
    OvertakeEntry,
    /// Two answers to one member change places.
    SwapAnswers,
    /// A member is given the answer to another.
    AnswerStranger,
    /// What somebody appends reaches the home twice.
    AppendTwice,
    /// Only that it is the end reaches it, and not the last piece.
    AppendNothing,
    /// A piece does not reach the members on one shard.
    LosePiece,
    /// They are told that it comes behind another change.
    WrongPrev,
    /// Who appends is told another length.
    WrongBytes,
    /// A message to which nobody appends is not ended.
    GrowForEver,
    /// A home judges what is said by a clock that is ahead, so that whoever is muted may speak.
    TakeMuted,
    /// The same of what is done to messages, and of custom events.
    DoForMuted,
    /// A home judges who joins by a clock that is ahead, so that whoever is banned may come in.
    LetBannedIn,
    /// Shards are not told that members are put out.
    LosePutOut,
    /// They are not in the end, when nobody says anything more.
    LoseLastPutOut,
    /// A member is not told, in the end, that it stands otherwise.
    LoseYou,
    /// The members on one shard are not told, in the end, that the settings of a room are others.
    LoseSettings,
    /// A log opens a room again without what was decided of its users.
    ForgetDecision,
    /// Of what a log keeps at a time it answers the last only.
    AnswerLastOnly,
    /// A log says that it keeps what is decided before it does.
    AckUndecided,
    /// Whatever tokens say, their owners look after all rooms, and are not told so.
    LetAllModerate,
    /// Others are mentioned than were.
    MentionOthers,
    /// A message has other data than was given.
    AlterData,
    /// Who types is said to do it in another thread.
    TypeElsewhere,
    /// A member is said to own the room when users are listed.
    ListWrongRole,
    /// A log leaves lines out of an audit trail.
    ForgetLine,
    /// All hear what is reported.
    TellReport,
    /// An invite is not good for anything.
    LoseInvite,
    /// Nobody holds an invite, for all that the checks know.
    HoldNothing,
    /// Something in the server is random.
    Unseeded,
}

impl Bug {
    /// Whether it is one of what becomes of messages.
    pub(crate) fn is_of_changes(self) -> bool {
        let is_told = matches!(self, Self::LoseChange | Self::SkipChange);
        let is_of_recovery = matches!(
            self,
            Self::RecoverWithoutChanged | Self::LoseTombstone | Self::RecoverTooFewChanges
        );
        is_told || is_of_recovery || self.is_of_what_is_read()
    }

    /// Whether it is one of messages that grow.
    pub(crate) fn is_of_growing(self) -> bool {
        let is_of_told = matches!(self, Self::LosePiece | Self::WrongPrev | Self::WrongBytes);
        let is_of_asked = matches!(self, Self::AppendTwice | Self::AppendNothing);
        is_of_told || is_of_asked || self == Self::GrowForEver
    }

    /// Whether it is there only while the last words are said, and behind them.
    pub(crate) fn is_late(self) -> bool {
        let is_of_words = matches!(self, Self::LoseLastMessage | Self::ForgetLastLeave);
        is_of_words || matches!(self, Self::LoseLastPutOut | Self::LoseYou | Self::LoseSettings)
    }

    /// Whether it is one of what is decided of rooms.
    pub(crate) fn is_of_rights(self) -> bool {
        matches!(
            self,
            Self::TakeMuted
                | Self::LetBannedIn
                | Self::DoForMuted
                | Self::LosePutOut
                | Self::LoseLastPutOut
                | Self::LoseYou
                | Self::LoseSettings
                | Self::ForgetDecision
                | Self::AckUndecided
        ) || self.is_of_looking_after()
    }

    /// Whether it is one of what is asked of a room.
    pub(crate) fn is_of_looking_after(self) -> bool {
        let is_of_trail = matches!(self, Self::ForgetLine | Self::TellReport);
        let is_of_invites = matches!(self, Self::LoseInvite | Self::HoldNothing);
        let is_told = matches!(self, Self::LetAllModerate | Self::ListWrongRole);
        is_of_trail || is_of_invites || is_told
    }

    /// Whether it is one of what messages have besides their bodies.
    pub(crate) fn is_of_rich(self) -> bool {
        let is_told = matches!(self, Self::MentionOthers | Self::AlterData | Self::TypeElsewhere);
        is_told || self == Self::LetAllModerate
    }

    /// Whether it is one of what a log says of them when it is asked.
    pub(crate) fn is_of_what_is_read(self) -> bool {
        matches!(self, Self::ReadAsSaid | Self::ForgetTombstone | Self::NameNoEpoch)
    }
}

/// The first bytes of the records in question.
mod record {
    pub(super) const JOIN: u8 = 1;
    pub(super) const LEAVE: u8 = 2;
    pub(super) const PUBLISH: u8 = 3;
    pub(super) const CUSTOM: u8 = 4;
    pub(super) const LISTING: u8 = 9;
    pub(super) const CHANGE: u8 = 13;
    pub(super) const ADD: u8 = 17;
    pub(super) const REPORT: u8 = 18;
    pub(super) const JOINED: u8 = 21;
    pub(super) const REPLY: u8 = 24;
    pub(super) const DELIVER: u8 = 25;
    pub(super) const ENDED: u8 = 29;
    pub(super) const TOLD: u8 = 30;
    pub(super) const REMOVED: u8 = 31;
}

fn find(record: &[u8], text: &str) -> Option<usize> {
    record.windows(text.len()).position(|window| window == text.as_bytes())
}

/// Puts another text of the same length in place of one, if it is there.
fn replace(record: &mut [u8], text: &str, other: &str) {
    assert_eq!(text.len(), other.len());
    if let Some(at) = find(record, text) {
        record[at..at + text.len()].copy_from_slice(other.as_bytes());
    }
}

/// Whether a record is handled though no work is left for it.
pub(crate) fn is_unbudgeted(bug: Option<Bug>, record: &[u8]) -> bool {
    bug == Some(Bug::UnbudgetedEntry) && record[0] == record::PUBLISH
}

/// Whether a record is handled by a clock that is ahead of all others.
pub(crate) fn is_ahead(bug: Option<Bug>, record: &[u8]) -> bool {
    match bug {
        Some(Bug::TakeMuted) => record[0] == record::PUBLISH,
        Some(Bug::DoForMuted) => matches!(record[0], record::CUSTOM | record::CHANGE),
        Some(Bug::LetBannedIn) => record[0] == record::JOIN,
        _ => false,
    }
}

/// What a record tells an audience, by its key.
pub(crate) enum ToldOf {
    Message { audience: [u8; 8], offset: u64 },
    Receipt { audience: [u8; 8], offset: u64 },
    End { audience: [u8; 8] },
}

/// What a record on its way from a home tells, if it is about a message.
pub(crate) fn told(record: &[u8]) -> Option<ToldOf> {
    let audience_at = |at: usize| record.get(at..at + 8)?.try_into().ok();
    let offset = || {
        let at = find(record, "\"offset\":")? + "\"offset\":".len();
        let digits = record[at..].iter().take_while(|byte| byte.is_ascii_digit());
        Some(digits.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
    };
    match record[0] {
        record::DELIVER if find(record, "new_msg").is_some_and(|at| at < 16) => {
            Some(ToldOf::Message { audience: audience_at(1)?, offset: offset()? })
        }
        record::REPLY if is_receipt(record) => {
            Some(ToldOf::Receipt { audience: audience_at(9)?, offset: offset()? })
        }
        record::ENDED => Some(ToldOf::End { audience: audience_at(1)? }),
        _ => None,
    }
}

/// Whether it answers a publisher: a page has messages before its first offset.
fn is_receipt(record: &[u8]) -> bool {
    record[0] == record::REPLY
        && find(record, "{\"at\":").is_some()
        && find(record, "\"messages\":").is_none()
}

/// The fields of a push in which it says where it belongs: the home's key, the connection's, and
/// the slot.
const ADDRESS: std::ops::Range<usize> = 1..21;

/// Whom an answer is for: connection, audience and slot.
const ASKER: std::ops::Range<usize> = 1..21;

/// Sends a record as the bug has it: appends to `queue` what arrives in its place. `is_full` says
/// whether too much waits there already.
pub(crate) fn meddle(
    bug: Option<Bug>,
    draws: &mut Draws,
    queue: &mut Vec<Vec<u8>>,
    is_full: bool,
    record: &[u8],
) {
    let mut record = record.to_vec();
    let kind = record[0];
    let is_message = kind == record::DELIVER && find(&record, "new_msg").is_some();
    let is_change = kind == record::DELIVER && find(&record, "msg_changed").is_some();
    let is_custom = kind == record::DELIVER && find(&record, "\"n\":\"e").is_some();
    let is_receipt = kind == record::REPLY && find(&record, "\"offset\":").is_some();
    let strikes = draws.one_in(6);
    let mut copies = usize::from(!loses_decision(bug, &record, strikes));
    copies += meddle_with_growing(bug, &mut record, strikes);
    match bug {
        Some(Bug::LoseMessage | Bug::LoseLastMessage) if is_message && strikes => copies = 0,
        Some(Bug::RepeatMessage) if is_message && strikes => copies = 2,
        Some(Bug::SwapPublishes) if kind == record::PUBLISH => {
            if let Some(last) = queue.last_mut().filter(|last| last[0] == record::PUBLISH) {
                std::mem::swap(last, &mut record);
            }
        }
        Some(Bug::Misdeliver) if is_message && strikes => {
            // The audience's key is the field after the number.
            if let Some(other) = queue.iter().find(|other| other[0] == record::DELIVER) {
                record[1..9].copy_from_slice(&other[1..9]);
            }
        }
        Some(Bug::SpeakAsAnother) if kind == record::PUBLISH => {
            let is_another =
                |other: &&Vec<u8>| other[0] == record::PUBLISH && other[ADDRESS] != record[ADDRESS];
            if let Some(other) = queue.iter().find(is_another) {
                record[ADDRESS].copy_from_slice(&other[ADDRESS]);
            }
        }
        Some(Bug::SpeakFromAnotherSlot) if kind == record::PUBLISH && strikes => {
            record[ADDRESS.end - 4] ^= 1;
        }
        Some(Bug::LoseChange) if is_change && strikes => copies = 0,
        Some(Bug::SkipChange) if is_change && strikes => change_digit(&mut record, "\"change\":"),
        Some(Bug::RecoverWithoutChanged) if kind == record::JOINED => {
            replace(&mut record, "\"changed\":", "\"omitted\":");
        }
        Some(Bug::LoseCustom) if is_custom && strikes => copies = 0,
        Some(Bug::RepeatCustom) if is_custom && strikes => copies = 2,
        Some(Bug::DropWhenFull) if is_message && is_full => copies = 0,
        Some(Bug::ForgetLeave | Bug::ForgetLastLeave) if kind == record::LEAVE && strikes => {
            copies = 0;
        }
        Some(Bug::LoseAnswer) if kind == record::REPLY && strikes => copies = 0,
        Some(Bug::LoseJoined) if kind == record::JOINED && strikes => copies = 0,
        Some(Bug::RepeatAnswer) if kind == record::REPLY && strikes => copies = 2,
        Some(Bug::RefuseWhatIsDone) if is_receipt && strikes => refuse(&mut record),
        Some(Bug::WrongReceipt) if is_receipt && strikes => {
            // In the id, and in the offset at the end.
            let id_end = find(&record, "\",\"offset\":").expect("a receipt");
            let offset_end = record.len() - 1;
            for digit in [id_end - 1, offset_end - 1] {
                record[digit] = if record[digit] == b'9' { b'8' } else { record[digit] + 1 };
            }
        }
        Some(Bug::ForgetKey) if kind == record::PUBLISH && strikes => forget_key(&mut record),
        Some(Bug::TurnBackTime) if is_message && strikes => {
            let at = find(&record, "{\"at\":1").expect("a message has a time");
            record[at + "{\"at\":1".len()] = b'0';
        }
        Some(Bug::RecoverTooLittle) if kind == record::JOIN && find(&record, "room:").is_some() => {
            later_cursor(&mut record, false);
        }
        Some(Bug::ClaimRecovery) if kind == record::JOINED && strikes => {
            replace(&mut record, "\"recovered\":false", "\"recovered\":true ");
        }
        Some(bug @ (Bug::CutRecovery | Bug::GapInRecovery))
            if kind == record::JOINED && find(&record, "\"recovered\":true").is_some() =>
        {
            blank(&mut record, usize::from(bug == Bug::GapInRecovery));
        }
        Some(Bug::GapInHistory) if kind == record::REPLY && strikes => blank(&mut record, 1),
        Some(Bug::RepeatTyping) if kind == record::DELIVER && find(&record, "typing").is_some() => {
            copies = 60;
        }
        Some(Bug::OvertakeEntry) if is_receipt && strikes => {
            if let Some(at) = queue.iter().rposition(|other| other[0] == record::DELIVER) {
                return queue.insert(at, record);
            }
        }
        Some(Bug::SwapAnswers) if kind == record::REPLY => {
            let same =
                |other: &&mut Vec<u8>| other[0] == record::REPLY && other[ASKER] == record[ASKER];
            if let Some(other) = queue.iter_mut().rev().find(same) {
                std::mem::swap(other, &mut record);
            }
        }
        Some(Bug::AnswerStranger) if kind == record::REPLY => {
            let another =
                |other: &&Vec<u8>| other[0] == record::REPLY && other[ASKER] != record[ASKER];
            if let Some(other) = queue.iter().find(another) {
                record[ASKER].copy_from_slice(&other[ASKER]);
            }
        }
        Some(Bug::ForgetListing) if kind == record::LISTING && strikes => copies = 0,
        _ => alter(bug, &mut record, is_message, strikes),
    }
    queue.extend(std::iter::repeat_n(record, copies));
}

/// Does what a bug does to what a record says. `is_message`: it tells of one.
fn alter(bug: Option<Bug>, record: &mut Vec<u8>, is_message: bool, strikes: bool) {
    match (bug, record[0]) {
        (Some(Bug::TellMine), _) if is_message && strikes => {
            replace(record, "\"user\":", "\"mine\":");
        }
        (Some(Bug::MentionOthers), _) if is_message => replace(record, "[\"ann\"", "[\"amy\""),
        (Some(Bug::AlterData), _) if is_message => replace(record, "1.5", "2.5"),
        (Some(Bug::TypeElsewhere), record::DELIVER) => change_digit(record, "\"thread\":"),
        (Some(Bug::LoseTombstone), record::JOINED) => lose_tombstone(record),
        (Some(Bug::RecoverTooFewChanges), record::JOIN) if find(record, "room:").is_some() => {
            later_cursor(record, true);
        }
        (Some(Bug::TellReport), record::REPORT) => tell_all(record),
        (Some(Bug::LoseInvite), record::JOIN) => replace(record, "\"inv_", "\"not_"),
        (Some(Bug::ListWrongRole), record::REPLY) if find(record, "{\"members\":[").is_some() => {
            replace(record, "\"role\":\"member\"", "\"role\":\"owner\" ");
        }
        _ => {}
    }
}

/// Does what a bug does to a piece on its way, and says how many more of it arrive.
fn meddle_with_growing(bug: Option<Bug>, record: &mut Vec<u8>, strikes: bool) -> usize {
    let (piece, kind) = (find(record, "\"+"), record[0]);
    match (bug, piece) {
        (Some(Bug::AppendTwice), Some(_)) if kind == record::ADD => return 1,
        (Some(Bug::AppendNothing), Some(at)) if kind == record::ADD => {
            // A text with its length before it, and then whether it is the last.
            let length = u32::from_le_bytes(*record[at - 4..].first_chunk().expect("a length"));
            let end = at + usize::try_from(length).expect("short");
            record.splice(at - 4..end, *b"\x02\0\0\0\"\"");
            *record.last_mut().expect("whether it is the last") = 1;
        }
        (Some(Bug::LosePiece), Some(_)) if kind == record::DELIVER && strikes => {
            replace(record, "\"append\":", "\"lacked\":");
        }
        (Some(Bug::WrongPrev), Some(_)) if kind == record::DELIVER => {
            change_digit(record, "\"prev\":");
        }
        (Some(Bug::WrongBytes), _) if kind == record::REPLY => change_digit(record, "{\"bytes\":"),
        _ => {}
    }
    0
}

/// Makes the number behind a name another one of the same length.
fn change_digit(record: &mut [u8], name: &str) {
    if let Some(at) = find(record, name) {
        let digit = &mut record[at + name.len()];
        *digit = if *digit == b'9' { b'8' } else { *digit + 1 };
    }
}

/// Whether what a record tells of a decision is lost.
fn loses_decision(bug: Option<Bug>, record: &[u8], strikes: bool) -> bool {
    match (bug, record[0]) {
        (Some(Bug::LosePutOut | Bug::LoseLastPutOut), record::REMOVED) => true,
        (Some(Bug::LoseYou), record::TOLD) => strikes,
        (Some(Bug::LoseSettings), record::DELIVER) => {
            strikes && find(record, "room_changed").is_some()
        }
        _ => false,
    }
}

/// Makes of a receipt a refusal.
fn refuse(record: &mut Vec<u8>) {
    let at = find(record, "{\"at\"").expect("a receipt");
    let response = br#"{"reason":"busy","retry_ms":250}"#;
    record.truncate(at - 4);
    record.extend_from_slice(&u32::try_from(response.len()).expect("short").to_le_bytes());
    record.extend_from_slice(response);
    let ok_at = find(record, "\x02\0\0\0ok").expect("a status");
    record.splice(ok_at..ok_at + 6, *b"\x05\0\0\0error");
}

/// What stands behind a text with its length before it.
fn behind(record: &[u8], at: usize) -> usize {
    let length = u32::from_le_bytes(*record[at..].first_chunk().expect("a length"));
    at + 4 + usize::try_from(length).expect("short")
}

/// Makes of a report a custom event with its text. Behind the ref stand the offset, and whether
/// there is a text.
fn tell_all(record: &mut Vec<u8>) {
    let offset = behind(record, ADDRESS.end);
    if record[offset + 8] == 0 {
        return;
    }
    let text = String::from_utf8_lossy(&record[offset + 13..]).into_owned();
    record.truncate(offset);
    record[0] = record::CUSTOM;
    let payload = format!("{{\"n\":{text}}}");
    push_text(record, "wave");
    // A payload of JSON has a zero before it.
    record.push(0);
    push_text(record, &payload);
}

/// Appends a text with its length before it.
fn push_text(record: &mut Vec<u8>, text: &str) {
    record.extend_from_slice(&u32::try_from(text.len()).expect("short").to_le_bytes());
    record.extend_from_slice(text.as_bytes());
}

/// Makes the key of a push another one of the same length. Behind the ref stands which fields there
/// are, a key by the lowest bit; then come the body and the key.
fn forget_key(record: &mut [u8]) {
    let flags = behind(record, ADDRESS.end);
    let key = behind(record, flags + 1);
    if record[flags] & 1 == 1 {
        record[key + 4] = b'K';
    }
}

/// Takes out of a recovery that a message is deleted which is no longer kept.
fn lose_tombstone(record: &mut [u8]) {
    let (begins, ends) = ("{\"body\":\"\",\"change\":", "\"deleted\":{},\"offset\":");
    let Some(at) = find(record, begins) else { return };
    let whole = &record[at + begins.len()..];
    let change = whole.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let Some(rest) = whole[change + 1..].strip_prefix(ends.as_bytes()) else { return };
    let offset = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let length = begins.len() + change + 1 + ends.len() + offset + 1;
    // With the comma behind it, or before.
    let (mut first, mut end) = (at, at + length);
    match (record[first - 1], record[end]) {
        (_, b',') => end += 1,
        (b',', _) => first -= 1,
        _ => {}
    }
    record[first..end].fill(b' ');
}

/// Moves the cursor in a join by one, its offset or its change: an epoch of eight bytes, which
/// begins with the seed's top half, an offset of eight, and a change of eight behind a byte that
/// says whether there is one.
fn later_cursor(record: &mut [u8], is_of_change: bool) {
    let Some(topic) = find(record, "room:") else { return };
    // Behind the topic: user and name (a length and a text each), whether it speaks and is seen,
    // and whether there is a cursor.
    let mut at = topic - 4;
    for _ in 0..3 {
        let length = u32::from_le_bytes(*record[at..].first_chunk().expect("a length"));
        at += 4 + usize::try_from(length).expect("short");
    }
    at += 2;
    let has_change = record[at] == 1 && record[at + 17] == 1;
    if record[at] == 0 || is_of_change && !has_change {
        return;
    }
    let number = if is_of_change { at + 18 } else { at + 9 };
    let number = record[number..].first_chunk_mut::<8>().expect("a number");
    *number = (u64::from_le_bytes(*number) + 1).to_le_bytes();
}

/// Whether a message begins behind the first byte, and not the time of what became of one.
fn begins_message(bytes: &[u8]) -> bool {
    bytes[0] != b':' && bytes[1..].starts_with(b"{\"at\":")
}

/// Takes a message out of a page, if there is another behind it: its place is filled with white
/// space.
fn blank(record: &mut [u8], message: usize) {
    let Some(page) = find(record, "\"messages\":[{\"at\":") else { return };
    let starts: Vec<usize> =
        (page..record.len()).filter(|at| begins_message(&record[*at - 1..])).collect();
    if let Some([first, next]) = starts.get(message..message + 2) {
        record[*first..*next].fill(b' ');
    }
}
