//! Each check is seen to bark: a bug is planted, and the check that is for it must be the one that
//! finds it.

use crate::faults::Bug;
use crate::logs::LogKind;
use crate::try_run;

/// How many seeds a bug may take to be found.
const SEEDS: u64 = 768;

/// The same, of one that shows only where much comes together.
const RARE_SEEDS: u64 = 3_072;

/// Runs with a bug until one of these checks finds it.
#[track_caller]
fn check(bug: Bug, checks: &[&str]) {
    check_within(SEEDS, bug, checks);
}

/// The same, with so many seeds at most.
#[track_caller]
fn check_within(seeds: u64, bug: Bug, checks: &[&str]) {
    check_seeds((0..seeds).collect(), bug, checks);
}

/// The same, where seeds have one log or another: at this one.
#[track_caller]
fn check_at(kind: LogKind, bug: Bug, checks: &[&str]) {
    let seeds = (0..2 * RARE_SEEDS).filter(|seed| LogKind::of(*seed, Some(bug)) == kind).collect();
    check_seeds(seeds, bug, checks);
}

#[track_caller]
fn check_seeds(seeds: Vec<u64>, bug: Bug, checks: &[&str]) {
    let (count, mut others) = (seeds.len(), Vec::new());
    for seed in seeds {
        match try_run(seed, Some(bug)) {
            Err(failure) if checks.iter().any(|check| failure.contains(check)) => return,
            Err(failure) => others.push(format!("{seed:#x}: {failure}")),
            Ok(_) => {}
        }
    }
    panic!("{bug:?} is not found by {checks:?} in {count} seeds, but by {others:#?}");
}

#[test]
fn a_lost_message_is_a_gap() {
    check(Bug::LoseMessage, &["no member misses an offset"]);
}

#[test]
fn a_message_that_comes_twice_is_seen_twice() {
    check(Bug::RepeatMessage, &["no member misses an offset"]);
}

#[test]
fn a_last_message_that_is_lost_is_missed_in_the_end() {
    check(Bug::LoseLastMessage, &["nothing is lost without a word"]);
}

#[test]
fn two_pushes_that_change_places_are_out_of_order() {
    check(Bug::SwapPublishes, &["in the order in which it was said"]);
}

#[test]
fn a_message_in_another_room_is_heard_by_strangers() {
    check(Bug::Misdeliver, &["a message is heard where it was said", "only members hear"]);
}

#[test]
fn who_is_taken_for_another_speaks_in_another_name_or_room() {
    check(Bug::SpeakAsAnother, &["a message is heard where it was said"]);
    check(Bug::SpeakAsAnother, &["a message names who said it"]);
}

#[test]
fn who_speaks_in_a_strangers_slot_is_found_out_by_the_home() {
    check(Bug::SpeakFromAnotherSlot, &["a member speaks for itself"]);
}

#[test]
fn who_is_not_a_member_is_not_to_be_granted_anything() {
    check(Bug::LetStrangersSpeak, &["only members speak"]);
}

#[test]
fn an_event_that_is_lost_or_comes_twice_is_missed_or_seen_twice() {
    check(Bug::LoseCustom, &["all members hear the same between"]);
    check(Bug::RepeatCustom, &["an event is heard once"]);
}

#[test]
fn messages_that_are_dropped_for_a_shard_that_is_behind_are_missed() {
    check(Bug::DropWhenFull, &["no member misses an offset"]);
}

#[test]
fn a_leave_that_is_forgotten_makes_a_ghost() {
    check(Bug::ForgetLeave, &["presence is the truth"]);
    check(Bug::ForgetLastLeave, &["nothing is left of those who have gone"]);
}

#[test]
fn a_message_that_is_sent_again_with_its_key_is_not_to_stand_twice() {
    check(Bug::ForgetKey, &["a message stands in one place"]);
    check(Bug::ForgetKey, &["a message has its key"]);
}

#[test]
fn a_clock_that_goes_back_is_seen_in_the_messages() {
    check(Bug::TurnBackTime, &["time does not go back"]);
}

#[test]
fn an_answer_that_is_lost_is_waited_for() {
    check(Bug::LoseAnswer, &["every request is answered"]);
    check(Bug::LoseJoined, &["every request is answered"]);
}

#[test]
fn an_answer_that_comes_twice_answers_nothing() {
    check(Bug::RepeatAnswer, &["one answer for one request"]);
}

#[test]
fn a_push_that_is_refused_and_done_is_half_accepted() {
    check(Bug::RefuseWhatIsDone, &["a push is refused or done, never both"]);
}

#[test]
fn a_wrong_receipt_is_compared_with_what_was_said() {
    check(
        Bug::WrongReceipt,
        &[
            "is the one that was acknowledged",
            "says where the message stands",
            "stands in one place",
        ],
    );
}

#[test]
fn a_recovery_that_begins_too_late_is_not_all_that_was_missed() {
    check(Bug::RecoverTooLittle, &["a recovery is all that was missed"]);
}

#[test]
fn the_latest_page_is_no_recovery() {
    check(Bug::ClaimRecovery, &["only a cursor can be recovered"]);
    check(Bug::CutRecovery, &["a recovery is all that was missed"]);
}

#[test]
fn a_gap_in_the_history_is_seen() {
    check(Bug::GapInHistory, &["a page has no gaps"]);
}

#[test]
fn what_was_acknowledged_and_is_gone_is_missed() {
    check(Bug::ForgetAcked, &["nothing that was acknowledged is forgotten"]);
    check(Bug::ForgetAcked, &["what is kept can be recovered"]);
}

#[test]
fn rights_that_are_not_looked_at_let_strangers_in() {
    check(Bug::IgnoreRights, &["only who may joins"]);
    check(Bug::IgnoreRights, &["is told what it may do"]);
    check(Bug::IgnoreRights, &["the lobby shows only what may be seen"]);
}

#[test]
fn a_token_that_has_ended_is_not_to_be_spoken_by() {
    check(Bug::IgnoreExpiry, &["nobody speaks after its token ended"]);
}

#[test]
fn another_token_moves_the_end_to_its_own() {
    check(Bug::RenewForEver, &["nobody speaks after its token ended"]);
    check(Bug::RenewInVain, &["a token is good until it expires"]);
}

#[test]
fn a_lost_answer_that_is_taken_for_had_is_a_gap() {
    // Whatever was in it: a message, an answer, the end of a join.
    let gaps = ["no member misses an offset", "answers come in order", "only members hear"];
    check(Bug::TakeLostForHad, &gaps);
}

#[test]
fn output_without_a_bound_is_seen_to_grow() {
    check(Bug::UnboundedOutput, &["who does not read is bounded"]);
}

#[test]
fn a_reader_that_is_closed_for_what_it_was_sent_is_found() {
    let found_by = ["only who does not read is closed"];
    check(Bug::ForgetProgress, &found_by);
    check(Bug::HurryReaders, &found_by);
    check(Bug::BoundReaders, &found_by);
}

#[test]
fn a_member_that_takes_nothing_and_is_kept_is_found() {
    check(Bug::WaitForEver, &["who takes nothing is closed in time"]);
}

#[test]
fn what_has_no_bound_is_seen_to_grow() {
    check(Bug::UnboundedHistory, &["history is bounded"]);
    check(Bug::UnboundedRooms, &["rooms are bounded"]);
    check(Bug::UnboundedConnections, &["connections are bounded"]);
}

#[test]
fn work_that_nobody_counts_is_found() {
    check(Bug::UnboundedWork, &["no turn does more than its work"]);
    check(Bug::UnbudgetedEntry, &["no turn does more than its work"]);
    check(Bug::UnboundedEnds, &["channels left of"]);
}

#[test]
fn memory_without_a_bound_is_seen_to_grow() {
    check(Bug::UnboundedMemory, &["memory is bounded"]);
}

#[test]
fn typing_that_is_told_each_time_is_too_much() {
    check(Bug::RepeatTyping, &["typing is told once a tick"]);
}

#[test]
fn a_listing_that_is_lost_leaves_the_lobby_wrong() {
    check(Bug::ForgetListing, &["the lobby counts right", "a room with members is listed"]);
}

#[test]
fn an_upgrade_that_waits_and_is_forgotten_is_missed() {
    check(Bug::ForgetUpgrade, &["every upgrade is answered"]);
}

#[test]
fn a_connection_that_is_lost_between_two_shards_is_missed() {
    check(Bug::LoseHandoff, &["every request is answered"]);
}

#[test]
fn an_answer_before_it_is_kept_is_found() {
    check(Bug::AckUnkept, &["ok comes after it is kept"]);
}

#[test]
fn a_message_that_is_heard_before_it_is_kept_is_found() {
    check(Bug::SeeUnkept, &["what is heard is kept"]);
}

#[test]
fn an_answer_before_ones_own_message_is_found() {
    check(Bug::OvertakeEntry, &["ok comes after one's own message"]);
}

#[test]
fn an_answer_that_overtakes_is_found() {
    check(Bug::SwapAnswers, &["answers come in order"]);
}

#[test]
fn an_answer_that_is_given_to_a_stranger_is_found() {
    check(Bug::AnswerStranger, &["one answer for one request"]);
}

#[test]
fn a_loss_that_turns_no_epoch_is_found() {
    check(Bug::KeepEpoch, &["a room is as its log is", "what was acknowledged is there"]);
}

#[test]
fn an_offset_that_is_given_twice_is_found() {
    check(Bug::ReuseOffset, &["an offset has one message within an epoch"]);
}

#[test]
fn an_id_that_names_another_epoch_is_found() {
    let found_by = [
        "a message stands in one place",
        "in one life of the room",
        "a client has what the log has",
    ];
    check_within(RARE_SEEDS, Bug::NameNoEpoch, &found_by);
}

#[test]
fn an_answer_that_is_left_out_of_those_of_a_batch_is_waited_for() {
    check(Bug::AnswerLastOnly, &["every request is answered"]);
}

#[test]
fn a_page_that_is_older_than_what_its_reader_heard_is_found() {
    check(Bug::ReadTooEarly, &["a page has all that its reader has heard"]);
}

#[test]
fn a_recovery_with_a_gap_where_memory_has_moved_on_is_found() {
    check(Bug::GapInRecovery, &["a page has no gaps"]);
}

#[test]
fn a_change_that_is_lost_or_has_another_number_is_missed() {
    check(Bug::LoseChange, &["no member misses a change"]);
    check(Bug::SkipChange, &["no member misses a change"]);
}

#[test]
fn a_recovery_that_leaves_out_what_has_changed_is_found() {
    check(Bug::RecoverWithoutChanged, &["who recovers has all that changed"]);
}

#[test]
fn a_deleted_message_that_a_recovery_leaves_out_is_found() {
    let found_by =
        ["who recovers has all that changed", "has what the log has", "all have the same"];
    check_within(RARE_SEEDS, Bug::ForgetTombstone, &found_by);
}

#[test]
fn a_page_that_is_older_than_a_change_that_its_reader_heard_is_found() {
    for kind in [LogKind::Engine, LogKind::Store] {
        check_at(kind, Bug::ReadAsSaid, &["a page is never older than what its reader has heard"]);
    }
}

#[test]
fn a_deleted_body_that_is_in_a_later_frame_is_found() {
    // An engine has other things to say of such reads before this one.
    check_at(LogKind::Store, Bug::ReadAsSaid, &["a deleted body is in no frame after that"]);
}

#[test]
fn a_tombstone_that_is_forgotten_is_missed() {
    check(Bug::LoseTombstone, &["who recovers has all that changed"]);
}

#[test]
fn a_recovery_from_before_what_was_let_go_of_is_found() {
    check(Bug::RecoverTooFewChanges, &["who recovers has all that changed"]);
}

#[test]
fn what_depends_on_its_reader_is_found_in_what_is_shared() {
    check(Bug::TellMine, &["what is shared is the same for all"]);
}

#[test]
fn a_muted_members_message_that_is_taken_is_found() {
    check(Bug::TakeMuted, &["nobody speaks against what was decided"]);
    check(Bug::DoForMuted, &["nobody acts against what was decided"]);
}

#[test]
fn a_banned_user_that_is_let_in_again_is_found() {
    check(Bug::LetBannedIn, &["who is kept out is not let in"]);
}

#[test]
fn a_member_that_is_put_out_and_hears_on_is_found() {
    check(Bug::LosePutOut, &["who is out hears nothing"]);
    check(Bug::LoseLastPutOut, &["nobody is where it may not be"]);
}

#[test]
fn what_is_decided_and_not_told_is_missed() {
    check(Bug::LoseYou, &["what members were told of themselves is the truth"]);
    check(Bug::LoseSettings, &["what members were told of their room is the truth"]);
}

#[test]
fn a_decision_that_a_log_forgets_is_missed() {
    check(Bug::ForgetDecision, &["nobody speaks against what was decided"]);
    check(Bug::ForgetDecision, &["a member is told how it stands"]);
}

#[test]
fn a_decision_that_is_answered_before_it_is_kept_is_found() {
    check(Bug::AckUndecided, &["a decision is answered after it is kept"]);
}

#[test]
fn whoever_does_what_only_others_may_is_found() {
    check(Bug::LetAllModerate, &["who mentions everybody looks after the room"]);
    check(Bug::LetAllModerate, &["nobody decides what it may not"]);
    check(Bug::LetAllModerate, &["nobody acts against what was decided"]);
}

#[test]
fn what_a_message_has_besides_its_body_is_compared_with_what_was_given() {
    check(Bug::MentionOthers, &["a message has what was given"]);
    check(Bug::AlterData, &["a message has what was given"]);
}

#[test]
fn who_types_elsewhere_than_it_is_told_is_found() {
    check(Bug::TypeElsewhere, &["whoever types is told to"]);
}

#[test]
fn a_line_that_an_audit_trail_leaves_out_is_missed() {
    check(Bug::ForgetLine, &["the trail has all that was done"]);
}

#[test]
fn a_report_that_others_hear_of_is_found() {
    check(Bug::TellReport, &["what is reported is told to nobody else"]);
}

#[test]
fn an_invite_that_is_good_for_nothing_or_for_others_is_found() {
    check(Bug::LoseInvite, &["who brings a good invite is let in as a member"]);
    check(Bug::HoldNothing, &["an invite lets in exactly those who hold it"]);
}

#[test]
fn a_list_of_users_that_is_wrong_is_found() {
    check(Bug::ListWrongRole, &["a list of users is the truth"]);
}

#[test]
fn a_piece_that_is_appended_twice_is_found() {
    check(Bug::AppendTwice, &["a piece stands once"]);
}

#[test]
fn a_piece_that_is_lost_is_missed() {
    check(Bug::AppendNothing, &["what was answered is appended"]);
    check(Bug::LosePiece, &["a message is the same for all by a change"]);
}

#[test]
fn a_piece_that_comes_behind_another_change_is_found() {
    check(Bug::WrongPrev, &["a patch that appends names the change before it"]);
}

#[test]
fn who_appends_and_is_told_another_length_notices() {
    check(Bug::WrongBytes, &["who appends is told how long it is by then"]);
}

#[test]
fn a_message_that_grows_for_ever_is_found() {
    check(Bug::GrowForEver, &["no message grows for ever"]);
}

#[test]
fn a_run_is_the_same_each_time_unless_something_in_it_is_random() {
    let digest = |seed, bug| try_run(seed, bug).expect("the run ends").digest;
    for seed in 0..SEEDS {
        assert_eq!(digest(seed, None), digest(seed, None), "seed {seed:#x}");
    }
    assert_ne!(digest(0, Some(Bug::Unseeded)), digest(0, Some(Bug::Unseeded)));
}
