//! Each rule is seen to bark: a defect is planted, and the rule that is for it must find it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::pretend::{LogDefect, PretendLog, Pretends};
use super::{Bugs, Subject, failing_over, run, with_others};
use crate::link::log::MemoryLog;
use crate::room::planted::Planted as InRoom;
use crate::rooms::held::Planted;

/// Runs with a defect until one of these rules finds it.
#[track_caller]
fn bark<L: Subject>(log: impl Fn(u64) -> L, bugs: Bugs, rules: &[&str]) {
    let mut others = Vec::new();
    for seed in 0..600 {
        let failure = catch_unwind(AssertUnwindSafe(|| run(log(seed), seed, bugs)));
        let Err(failure) = failure else { continue };
        let text = failure.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| failure.downcast_ref::<&str>().copied()).unwrap_or_default();
        if rules.iter().any(|rule| text.contains(rule)) {
            return;
        }
        others.push(text.to_owned());
    }
    panic!("not found by {rules:?}, but by {others:#?}");
}

const NONE: Bugs = Bugs { held: Planted::Nothing, gap_in_recovery: false, room: InRoom::Nothing };

#[test]
fn an_answer_before_it_is_kept_is_found() {
    let rules = ["ok comes after it is kept"];
    let defect = Some(LogDefect::AckedBeforeKept);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn a_message_that_is_heard_before_it_is_kept_is_found() {
    let defect = Some(LogDefect::SeenBeforeKept);
    let log = |seed| PretendLog::new(seed, Pretends::SeenIsKept, defect);
    bark(log, NONE, &["what is heard is kept"]);
}

#[test]
fn an_epoch_that_outlives_a_loss_is_found() {
    let defect = Some(LogDefect::EpochKept);
    let rules = ["a recovery is exact", "a room is as its log is", "an offset has one message"];
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn an_offset_that_is_used_again_is_found() {
    let defect = Some(LogDefect::OffsetReused);
    let rules = ["an offset has one message"];
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn an_epoch_whose_cursors_are_good_for_nothing_is_found() {
    bark_in_room(InRoom::EndedUnjudged, &["a cursor at what is kept is recovered"]);
}

#[test]
fn an_id_that_names_another_epoch_is_found() {
    let rules = ["an id names the epoch of its message"];
    let defect = Some(LogDefect::LineageForgotten);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
    bark(|seed| failing_over(seed, Some(LogDefect::EpochUnnamed)), NONE, &rules);
    let bugs = Bugs { room: InRoom::NamesForgotten, ..NONE };
    bark(|seed| failing_over(seed, None), bugs, &rules);
}

#[test]
fn an_answer_that_is_left_out_of_those_of_a_batch_is_found() {
    let defect = Some(LogDefect::LastAnsweredOnly);
    let rules = ["everything is answered"];
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn a_load_that_crosses_with_what_is_said_is_found() {
    let defect = Some(LogDefect::TailCrossed);
    let rules = ["an offset has one message", "a page of a join is the truth"];
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
}

#[test]
fn an_answer_that_overtakes_is_found() {
    let rules = ["answers do not overtake", "a leave is answered last"];
    let bugs = Bugs { held: Planted::Overtakes, ..NONE };
    bark(|seed| PretendLog::new(seed, Pretends::Store, None), bugs, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, None), bugs, &rules);
}

#[test]
fn an_answer_given_to_the_slots_next_owner_is_found() {
    let rules = ["nobody is answered what another asked"];
    let bugs = Bugs { held: Planted::NextOwner, ..NONE };
    bark(|seed| PretendLog::new(seed, Pretends::Store, None), bugs, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, None), bugs, &rules);
}

#[test]
fn a_page_that_is_older_than_what_its_reader_heard_is_found() {
    let rules = ["a page has all that its reader has heard"];
    let defect = Some(LogDefect::ReadTooEarly);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn a_page_that_another_asked_for_is_found() {
    let rules = [
        "a page has all that its reader has heard",
        "a page is what was asked for",
        "what is gone was deleted",
    ];
    let defect = Some(LogDefect::ReadsSwapped);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn a_recovery_with_a_gap_where_memory_has_moved_on_is_found() {
    let bugs = Bugs { gap_in_recovery: true, ..NONE };
    bark(|seed| PretendLog::new(seed, Pretends::Store, None), bugs, &["a recovery is exact"]);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, None), bugs, &["a recovery is exact"]);
}

/// Runs all logs, but for those that have all in memory, with a defect of the room.
#[track_caller]
fn bark_in_room(planted: InRoom, rules: &[&str]) {
    let bugs = Bugs { room: planted, ..NONE };
    bark(|seed| PretendLog::new(seed, Pretends::Store, None), bugs, rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, None), bugs, rules);
}

#[test]
fn a_change_whose_number_is_left_out_is_found() {
    let rules = ["no change is left out without a turn"];
    bark_in_room(InRoom::ChangeSkipped, &rules);
    bark(|_| MemoryLog, Bugs { room: InRoom::ChangeSkipped, ..NONE }, &rules);
    let defect = Some(LogDefect::ChangeSkipped);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn a_tombstone_that_is_forgotten_with_its_message_is_found() {
    let rules = ["a recovery makes equal"];
    bark_in_room(InRoom::TombstoneForgotten, &rules);
    bark(|_| MemoryLog, Bugs { room: InRoom::TombstoneForgotten, ..NONE }, &rules);
    let defect = Some(LogDefect::TombstoneForgotten);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
}

#[test]
fn a_floor_that_stays_when_a_changed_message_goes_is_found() {
    let rules = ["a recovery makes equal"];
    bark_in_room(InRoom::FloorStays, &rules);
    bark(|_| MemoryLog, Bugs { room: InRoom::FloorStays, ..NONE }, &rules);
}

#[test]
fn an_old_page_that_is_laid_over_a_newer_state_is_found() {
    let rules = [
        "a page is never older than what its reader has heard",
        "a deleted body never appears again",
        "a recovery makes equal",
    ];
    bark_in_room(InRoom::OldPage, &rules);
    let defect = Some(LogDefect::ReadAsSaid);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn a_recovery_that_leaves_out_what_has_changed_is_found() {
    let rules = ["a recovery makes equal"];
    bark_in_room(InRoom::RecoveryWithoutChanged, &rules);
    bark(|_| MemoryLog, Bugs { room: InRoom::RecoveryWithoutChanged, ..NONE }, &rules);
}

#[test]
fn a_view_that_is_older_than_what_its_reader_heard_is_found() {
    let rules = ["a view has all that its reader has heard"];
    let defect = Some(LogDefect::ReadTooEarly);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn an_answer_in_another_thread_is_found() {
    let rules = ["an answer is in the thread of what it answers"];
    let bugs = Bugs { room: InRoom::ThreadsGuessed, ..NONE };
    bark(|seed| PretendLog::new(seed, Pretends::Store, None), bugs, &rules);
}

#[test]
fn a_message_that_overtakes_one_that_waits_for_a_read_is_found() {
    bark_in_room(InRoom::OwnOvertaken, &["own messages come back in order"]);
}

#[test]
fn answers_that_are_not_counted_are_found() {
    bark_in_room(InRoom::RepliesUncounted, &["a message is answered as often as was heard"]);
    let bugs = Bugs { room: InRoom::RepliesStay, ..NONE };
    let rules = ["a message is answered as often as its log has it"];
    bark(|seed| PretendLog::new(seed, Pretends::Engine, None), bugs, &rules);
}

#[test]
fn reactors_that_are_forgotten_are_found() {
    let rules =
        ["an answered reaction is there for good", "who reacts is told", "nobody reacts unseen"];
    bark_in_room(InRoom::ReactorsForgotten, &rules);
}

#[test]
fn a_reaction_that_is_answered_before_it_is_kept_is_found() {
    let rules = ["a reaction is answered after it is kept"];
    bark_in_room(InRoom::ReactionsUnkept, &rules);
}

#[test]
fn an_own_reaction_that_is_not_said_to_be_is_found() {
    let rules = ["what is one's own is said"];
    bark_in_room(InRoom::MineForgotten, &rules);
}

#[test]
fn a_pin_that_is_not_taken_back_by_a_turn_is_found() {
    let rules = ["whoever joins is told what is pinned"];
    let bugs = Bugs { room: InRoom::PinsStay, ..NONE };
    bark(|seed| PretendLog::new(seed, Pretends::Engine, None), bugs, &rules);
}

#[test]
fn a_pin_that_is_not_counted_is_found() {
    let rules = ["no more is pinned than may be"];
    let bugs = Bugs { room: InRoom::PinsUncounted, ..NONE };
    bark(|seed| PretendLog::new(seed, Pretends::Store, None), bugs, &rules);
}

#[test]
fn a_change_that_is_answered_before_it_is_kept_is_found() {
    let rules = ["a change is answered after it is kept"];
    let defect = Some(LogDefect::AckedBeforeKept);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn settings_that_do_not_hold_after_a_reload_are_found() {
    let rules = ["a room is told as was decided"];
    bark_in_room(InRoom::SettingsForgotten, &rules);
}

#[test]
fn a_ban_that_is_lost_where_something_else_is_refused_is_found() {
    let rules = [
        "a list of users has all of them",
        "who comes in is told how it stands, and is not banned",
        "an answered decision is that",
    ];
    bark_in_room(InRoom::StandingsDropped, &rules);
    let rules = ["what was decided is there when a room is opened again"];
    let defect = Some(LogDefect::DecisionsDropped);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
}

#[test]
fn how_users_stand_that_is_forgotten_by_its_log_is_found() {
    let rules = ["what was decided is there when a room is opened again"];
    let defect = Some(LogDefect::DecisionForgotten);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn a_list_of_users_that_lacks_its_last_one_is_found() {
    let rules = ["a list of users has all of them, up to its bound"];
    bark_in_room(InRoom::ListsShort, &rules);
    bark(|_| MemoryLog, Bugs { room: InRoom::ListsShort, ..NONE }, &rules);
}

#[test]
fn a_decision_that_is_answered_before_it_is_kept_is_found() {
    let rules = ["a decision is answered after it is kept"];
    bark_in_room(InRoom::DecisionsUnkept, &rules);
    let rules = ["what was decided is there when a room is opened again"];
    let defect = Some(LogDefect::AckedBeforeKept);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
}

#[test]
fn a_decision_that_is_refused_and_done_is_found() {
    bark_in_room(InRoom::DoneRefused, &["a refused decision is nowhere"]);
}

#[test]
fn a_report_that_is_answered_before_it_is_kept_is_found() {
    bark_in_room(InRoom::ReportsUnkept, &["a report is answered after it is kept"]);
}

#[test]
fn what_is_done_without_a_line_is_found() {
    let rules = ["what is done has a line"];
    bark_in_room(InRoom::LinesLeftOut, &rules);
    bark(|_| MemoryLog, Bugs { room: InRoom::LinesLeftOut, ..NONE }, &rules);
}

#[test]
fn a_line_that_is_kept_without_what_was_done_or_lost_without_it_is_found() {
    let rules = ["a line is kept with what was done, or neither is"];
    for defect in [LogDefect::LineOutlives, LogDefect::LineTorn] {
        bark(|seed| PretendLog::new(seed, Pretends::Store, Some(defect)), NONE, &rules);
    }
}

#[test]
fn a_line_that_a_trail_leaves_out_is_found() {
    let rules = ["the trail has all that was done"];
    let defect = Some(LogDefect::LineForgotten);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn a_line_that_says_something_else_than_was_done_is_found() {
    let rules = ["a line says what was done"];
    let defect = Some(LogDefect::LineMisattributed);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn a_trail_that_is_said_to_go_on_and_does_not_is_found() {
    let rules = ["a trail goes on if it says so"];
    let defect = Some(LogDefect::MoreClaimed);
    bark(|seed| PretendLog::new(seed, Pretends::Store, defect), NONE, &rules);
    bark(|seed| PretendLog::new(seed, Pretends::Engine, defect), NONE, &rules);
}

#[test]
fn an_invite_that_is_good_after_it_was_taken_back_is_found() {
    let rules = ["an invite is good until it is taken back"];
    bark_in_room(InRoom::InvitesOutlive, &rules);
    bark(|_| MemoryLog, Bugs { room: InRoom::InvitesOutlive, ..NONE }, &rules);
}

#[test]
fn an_invite_that_was_taken_back_before_it_is_made_is_found() {
    let rules = ["an invite is of now"];
    bark_in_room(InRoom::InvitesStale, &rules);
    bark(|_| MemoryLog, Bugs { room: InRoom::InvitesStale, ..NONE }, &rules);
}

#[test]
fn who_comes_in_though_banned_is_found() {
    let rules = ["who comes in is told how it stands, and is not banned"];
    bark_in_room(InRoom::BansIgnored, &rules);
    bark(|_| MemoryLog, Bugs { room: InRoom::BansIgnored, ..NONE }, &rules);
}

#[test]
fn who_is_told_of_a_ban_that_there_is_not_is_found() {
    let rules = ["only who is banned is told so"];
    bark_in_room(InRoom::MutedKeptOut, &rules);
    bark(|_| MemoryLog, Bugs { room: InRoom::MutedKeptOut, ..NONE }, &rules);
}

/// Runs an engine at which other nodes decide, with a defect of the home.
#[track_caller]
fn bark_with_others(planted: InRoom, rules: &[&str]) {
    bark(with_others, Bugs { room: planted, ..NONE }, rules);
}

#[test]
fn a_kick_by_another_node_that_is_not_heard_is_found() {
    bark_with_others(InRoom::OthersUnheard, &["whoever is kicked anywhere is put out"]);
}

#[test]
fn a_decision_that_is_done_before_it_comes_back_is_found() {
    bark_with_others(InRoom::DecidedTwice, &["a room is told as was decided"]);
}

#[test]
fn a_reaction_that_is_dropped_where_it_is_a_conflict_is_found() {
    bark_with_others(InRoom::ConflictsDropped, &["everything is answered"]);
}

#[test]
fn a_reaction_that_is_judged_by_the_message_as_it_was_is_found() {
    let rules = [
        "what is proposed is made of what is there",
        "an answered change is there for good",
        "an answered reaction is there for good",
    ];
    bark_with_others(InRoom::JudgedByOld, &rules);
}

#[test]
fn a_decision_that_is_answered_before_it_is_applied_is_found() {
    let rules = ["an answered decision is that", "a room is told as was decided"];
    bark_with_others(InRoom::AnsweredUnapplied, &rules);
}
