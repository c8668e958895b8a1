//! The generator is believed because it notices: each fault that is planted in a server is named by
//! the run, and fails it.
//!
//! Faults are counted out by the server, so the numbers are exact. Nothing here depends on how fast
//! the machine is.

mod common;

use common::{Server, run};

const LOAD: [&str; 4] = ["--members", "20", "--rate", "100"];

/// Every delivery of the run: 1.2 s of 100 messages a second to 20 members.
const DELIVERIES: u64 = 120 * 20;

#[test]
fn a_server_without_faults_passes_and_every_delivery_is_counted() {
    let outcome = run(&Server::faulty(&[]), "fanout", &LOAD);
    outcome.is_ok();
    assert_eq!(
        (outcome.count("sent"), outcome.count("delivered"), outcome.count("answered")),
        (120, DELIVERIES, 120)
    );
}

/// Plants a fault, and gives how often the run named it.
#[track_caller]
fn planted(fault: &[&str], name: &str) -> u64 {
    let outcome = run(&Server::faulty(fault), "fanout", &LOAD);
    assert_eq!(outcome.code, 1, "the run must fail\n{}", outcome.said);
    assert!(outcome.said.contains(&format!("FAILED {name}: ")), "it must say so\n{}", outcome.said);
    outcome.count(name)
}

#[test]
fn one_message_in_a_thousand_dropped_is_lost() {
    assert_eq!(planted(&["--drop", "1000"], "lost"), DELIVERIES / 1_000);
}

#[test]
fn one_message_in_a_thousand_sent_twice_is_a_duplicate() {
    assert_eq!(planted(&["--duplicate", "1000"], "duplicate"), DELIVERIES / 1_000);
}

#[test]
fn two_messages_swapped_are_out_of_the_rooms_order() {
    assert!(planted(&["--swap", "1001"], "room_order") >= DELIVERIES / 1_001);
}

#[test]
fn they_are_too_where_messages_have_no_offset() {
    // The member that sees a message first sets the order, so a swap at the first member shows at
    // all the others.
    let swapped = planted(&["--unnumbered", "--swap", "1001"], "room_order");
    assert!(swapped >= DELIVERIES / 1_001);
}

#[test]
fn a_message_under_another_offset_is_out_of_the_rooms_order() {
    // It stands where the next one of the same member stands too.
    assert!(planted(&["--renumber", "1000"], "room_order") >= 2 * (DELIVERIES / 1_000));
}

#[test]
fn a_message_that_is_dropped_leaves_a_gap_in_the_rooms_order() {
    assert_eq!(planted(&["--drop", "1000"], "room_order"), DELIVERIES / 1_000);
}

#[test]
fn two_messages_of_one_sender_swapped_are_reordered() {
    let outcome = run(
        &Server::faulty(&["--swap", "1001"]),
        "fanout",
        &[&LOAD[..], &["--publishers", "1"]].concat(),
    );
    assert_eq!(
        (outcome.code, outcome.count("reordered")),
        (1, DELIVERIES / 1_001),
        "{}",
        outcome.said
    );
}

#[test]
fn a_changed_byte_is_corrupt() {
    assert_eq!(planted(&["--corrupt", "1000"], "corrupt"), DELIVERIES / 1_000);
}

#[test]
fn a_message_under_another_rooms_topic_is_stray() {
    assert_eq!(planted(&["--stray", "1000"], "stray"), DELIVERIES / 1_000);
}

#[test]
fn a_push_without_an_answer_is_unanswered() {
    assert_eq!(planted(&["--mute", "50"], "unanswered"), 2);
}

#[test]
fn a_connection_that_is_hung_up_is_closed_by_the_server() {
    assert_eq!(planted(&["--hang-up", "100"], "closed_by_server"), 1);
}

#[test]
fn a_continuation_of_nothing_is_malformed() {
    assert!(planted(&["--break-off", "2000"], "malformed") >= 1);
}

#[test]
fn a_refused_push_is_told_with_its_reason_and_is_not_lost() {
    let server = Server::faulty(&["--refuse", "50"]);
    let outcome = run(&server, "fanout", &LOAD);
    assert_eq!((outcome.code, outcome.count("lost")), (1, 0), "{}", outcome.said);
    assert_eq!(outcome.report["counts"]["refused"]["rate_limited"], 2, "{}", outcome.said);
    let allowed = run(&server, "fanout", &[&LOAD[..], &["--allow-refused"]].concat());
    assert_eq!(allowed.code, 0, "{}", allowed.said);
}

#[test]
fn a_delay_of_5_ms_is_in_every_latency_and_breaks_a_limit() {
    let outcome = run(
        &Server::faulty(&["--delay-ms", "5"]),
        "fanout",
        &[&LOAD[..], &["--limit", "p50=5ms"]].concat(),
    );
    assert!(outcome.time("delivery", "min_ns") >= 5_000_000, "{}", outcome.said);
    assert_eq!((outcome.code, outcome.count("lost")), (1, 0), "{}", outcome.said);
    assert!(outcome.said.contains("FAILED limit p50=5ms exceeded"), "{}", outcome.said);
}

#[test]
fn faults_are_found_across_processes_too() {
    let outcome = run(
        &Server::faulty(&["--drop", "1000"]),
        "fanout",
        &[&LOAD[..], &["--processes", "3"]].concat(),
    );
    assert_eq!((outcome.code, outcome.count("lost")), (1, DELIVERIES / 1_000), "{}", outcome.said);
}
