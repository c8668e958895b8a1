//! The mesh in every order that the memory model allows: `cargo test --release
//! --no-default-features --features loom --lib loom_`

use std::sync::Arc;

use loom::sync::Notify;
use loom::thread;

use super::{Port, Wake, connect};
use crate::mesh::stream::stream;

struct Alarm(Notify);

impl Wake for Alarm {
    fn wake(&self) {
        self.0.notify();
    }
}

fn alarm(port: &Port) -> Arc<Alarm> {
    let alarm = Arc::new(Alarm(Notify::new()));
    port.set_waker(Arc::clone(&alarm) as _);
    alarm
}

/// Every order of two threads, and of three up to so many switches that are not forced.
fn model(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.check(run);
}

#[test]
fn loom_words_are_neither_read_early_nor_overwritten_late() {
    loom::model(|| {
        let (mut outbox, mut inbox) = stream(2);
        let sender = thread::spawn(move || {
            for n in 1..=2 {
                outbox.send(&[n]);
            }
            while outbox.is_waiting() {
                outbox.flush();
                thread::yield_now();
            }
        });
        let mut record = Vec::new();
        for n in 1..=2 {
            while !inbox.recv(&mut record) {
                thread::yield_now();
            }
            assert_eq!(record, [n]);
        }
        sender.join().unwrap();
    });
}

/// Sleeps whenever it may, until so many records have come.
fn receive(mut port: Port, alarm: &Alarm, records: usize) {
    let mut record = Vec::new();
    let mut received = 0;
    loop {
        while port.recv(&mut record).is_some() {
            received += 1;
        }
        if received == records {
            return port.end_turn();
        }
        if port.may_sleep() {
            alarm.0.wait();
            port.woke();
        }
    }
}

#[test]
fn loom_no_record_is_slept_over() {
    loom::model(|| {
        let mut ports = connect(2, 4).into_iter();
        let (mut a, b) = (ports.next().unwrap(), ports.next().unwrap());
        let b_alarm = alarm(&b);
        let sender = thread::spawn(move || {
            a.send(1, b"1");
            a.end_turn();
            a.send(1, b"2");
            a.end_turn();
        });
        receive(b, &b_alarm, 2);
        sender.join().unwrap();
    });
}

#[test]
fn loom_no_record_is_slept_over_when_two_send() {
    model(3, || {
        let mut ports = connect(3, 2);
        let c = ports.pop().unwrap();
        let c_alarm = alarm(&c);
        let senders: Vec<_> = ports
            .into_iter()
            .map(|mut port| {
                thread::spawn(move || {
                    port.send(2, b"");
                    port.end_turn();
                })
            })
            .collect();
        receive(c, &c_alarm, 2);
        for sender in senders {
            sender.join().unwrap();
        }
    });
}

/// One shard sends so many records of one word through a ring of two, the other sleeps whenever it
/// may; so does the one while they wait.
fn check_room(records: usize, preemptions: usize) {
    model(preemptions, move || {
        let mut ports = connect(2, 2).into_iter();
        let (mut a, b) = (ports.next().unwrap(), ports.next().unwrap());
        let (a_alarm, b_alarm) = (alarm(&a), alarm(&b));
        let sender = thread::spawn(move || {
            for _ in 0..records {
                a.send(1, b"");
            }
            while a.has_waiting() {
                if a.may_sleep() {
                    a_alarm.0.wait();
                }
                a.woke();
            }
            a.end_turn();
        });
        receive(b, &b_alarm, records);
        sender.join().unwrap();
    });
}

#[test]
fn loom_no_room_is_slept_over() {
    check_room(3, 4);
}

/// Room may be used before it is told of: what is told then must not be all that is ever told.
#[test]
fn loom_room_that_was_used_already_is_not_all_that_is_told_of() {
    check_room(5, 3);
}
