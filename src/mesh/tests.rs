//! The mesh in one thread, where every step can be seen, and in several, where none can.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::Duration;

use super::{Port, Wake, connect};
use crate::base::rng::SplitMix64;

/// Counts its calls, and can be slept on.
#[derive(Default)]
struct Alarm {
    calls: AtomicUsize,
    is_ringing: Mutex<bool>,
    rang: Condvar,
}

impl Wake for Alarm {
    fn wake(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        *self.is_ringing.lock().unwrap() = true;
        self.rang.notify_one();
    }
}

impl Alarm {
    fn for_port(port: &Port) -> Arc<Self> {
        let alarm = Arc::new(Self::default());
        let waker: Arc<dyn Wake> = Arc::clone(&alarm) as _;
        port.set_waker(waker);
        alarm
    }

    /// Fails rather than hangs when a wake-up is lost.
    fn sleep(&self) {
        let is_ringing = self.is_ringing.lock().unwrap();
        let patience = Duration::from_secs(30);
        let (mut is_ringing, waited) =
            self.rang.wait_timeout_while(is_ringing, patience, |is_ringing| !*is_ringing).unwrap();
        assert!(!waited.timed_out(), "nobody woke this shard");
        *is_ringing = false;
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }
}

fn pair(ring_words: usize) -> (Port, Port) {
    let [a, b] = <[Port; 2]>::try_from(connect(2, ring_words)).ok().unwrap();
    (a, b)
}

fn recv(port: &mut Port) -> Option<(u16, Vec<u8>)> {
    let mut record = Vec::new();
    port.recv(&mut record).map(|from| (from, record))
}

#[test]
fn a_record_reaches_the_shard_it_was_sent_to_and_names_its_sender() {
    let mut ports = connect(3, 64);
    assert_eq!(
        ports.iter().map(|port| (port.me(), port.shards())).collect::<Vec<_>>(),
        [(0, 3), (1, 3), (2, 3)]
    );
    for from in 0..3 {
        for to in 0..3 {
            ports[usize::from(from)].send(to, &[u8::try_from(10 * from + to).unwrap()]);
        }
    }
    for to in 0..3 {
        for from in 0..3 {
            let record = vec![u8::try_from(10 * from + to).unwrap()];
            assert_eq!(recv(&mut ports[usize::from(to)]), Some((from, record)));
        }
        assert_eq!(recv(&mut ports[usize::from(to)]), None);
    }
}

#[test]
fn shards_are_received_from_in_turn() {
    let mut ports = connect(3, 64);
    for record in [b"1", b"2"] {
        ports[0].send(2, record);
        ports[1].send(2, record);
    }
    let order: Vec<_> = std::iter::from_fn(|| recv(&mut ports[2])).map(|(from, _)| from).collect();
    assert_eq!(order, [0, 1, 0, 1]);
}

#[test]
fn a_sleeping_shard_is_woken_once_a_batch() {
    let (mut a, mut b) = pair(64);
    let alarm = Alarm::for_port(&b);
    a.send(1, b"before");
    a.end_turn();
    assert_eq!(alarm.calls(), 0, "it does not sleep");
    assert!(!b.may_sleep(), "there is something to receive");
    assert!(recv(&mut b).is_some());

    assert!(b.may_sleep());
    a.end_turn();
    assert_eq!(alarm.calls(), 0, "nothing was sent");
    for _ in 0..5 {
        a.send(1, b"x");
    }
    assert_eq!(alarm.calls(), 0, "the batch goes on");
    a.end_turn();
    a.send(1, b"y");
    a.end_turn();
    assert_eq!(alarm.calls(), 1);
    b.woke();
    assert_eq!(std::iter::from_fn(|| recv(&mut b)).count(), 6);
}

#[test]
fn a_shard_that_nobody_can_wake_does_not_sleep() {
    let (_a, mut b) = pair(64);
    assert!(!b.may_sleep());
    Alarm::for_port(&b);
    assert!(b.may_sleep());
}

#[test]
fn a_shard_that_woke_by_itself_is_not_woken() {
    let (mut a, mut b) = pair(64);
    let alarm = Alarm::for_port(&b);
    assert!(b.may_sleep());
    b.woke();
    a.send(1, b"x");
    a.end_turn();
    assert_eq!(alarm.calls(), 0);
}

#[test]
fn a_shard_with_something_waiting_is_woken_when_there_is_room() {
    let (mut a, mut b) = pair(4);
    let (alarm, _b_alarm) = (Alarm::for_port(&a), Alarm::for_port(&b));
    for record in [b"1", b"2", b"3"] {
        a.send(1, record);
    }
    assert_eq!((a.waiting_bytes(0), a.waiting_bytes(1), a.has_waiting()), (0, 16, true));
    assert!(a.may_sleep(), "there is no room");
    assert!(recv(&mut b).is_some());
    b.end_turn();
    assert_eq!(alarm.calls(), 1);
    a.woke();
    assert!(
        !a.may_sleep(),
        "ending the turn moved it, and whoever waited for that has not seen it"
    );
    assert_eq!((a.waiting_bytes(1), a.has_waiting()), (0, false));
    assert!(a.may_sleep());
    assert_eq!(std::iter::from_fn(|| recv(&mut b)).count(), 2);
    b.end_turn();
    assert_eq!(alarm.calls(), 1, "nobody waits any more");
}

#[test]
fn a_shard_does_not_sleep_while_there_is_room_for_what_waits() {
    let (mut a, mut b) = pair(2);
    Alarm::for_port(&a);
    a.send(1, b"1");
    a.send(1, b"2");
    a.end_turn();
    assert!(recv(&mut b).is_some());
    a.send(1, b"3");
    assert!(a.may_sleep(), "the turn's end filled the ring again");
    a.woke();
    assert!(recv(&mut b).is_some());
    assert_eq!(recv(&mut b), None);
    assert!(a.outboxes[1].can_flush());
}

/// What is sent as the `n`th record of a pair of shards: of random length, and told apart from any
/// other.
fn record(from: u16, to: u16, n: u64) -> Vec<u8> {
    let mut rng = SplitMix64::new(u64::from(from) << 48 | u64::from(to) << 32 | n);
    let length = match rng.below(10) {
        0 => 0,
        1 => rng.below(5_000),
        _ => rng.below(60),
    };
    std::iter::repeat_with(|| rng.next_u64().to_le_bytes()[0])
        .take(usize::try_from(length).unwrap())
        .collect()
}

/// How much may wait for a shard before no more is sent to it: little, so that it is often reached.
const PAUSE_BYTES: usize = 1_000;

/// Every shard sends to every other, sleeping whenever it may. A wake-up that is lost hangs this
/// test.
#[track_caller]
fn check_threads(shards: u16, ring_words: usize, records: u64) {
    let threads: Vec<_> = connect(shards, ring_words)
        .into_iter()
        .map(|mut port| {
            thread::spawn(move || {
                let alarm = Alarm::for_port(&port);
                let mut rng = SplitMix64::new(u64::from(port.me()));
                let others = || 0..shards;
                let mut sent = vec![0_u64; usize::from(shards)];
                let mut received = vec![0_u64; usize::from(shards)];
                let mut buffer = Vec::new();
                let is_done = |counts: &[u64]| counts.iter().all(|&count| count == records);
                while !(is_done(&sent) && is_done(&received) && !port.has_waiting()) {
                    for to in others() {
                        let count = &mut sent[usize::from(to)];
                        let batch = rng.below(20).min(records - *count);
                        if port.waiting_bytes(to) < PAUSE_BYTES {
                            for n in *count..*count + batch {
                                port.send(to, &record(port.me(), to, n));
                            }
                            *count += batch;
                        }
                    }
                    let budget = rng.below(100);
                    for _ in 0..budget {
                        let Some(from) = port.recv(&mut buffer) else { break };
                        let count = &mut received[usize::from(from)];
                        assert_eq!(
                            buffer,
                            record(from, port.me(), *count),
                            "{from} to {}",
                            port.me()
                        );
                        *count += 1;
                    }
                    let has_more = others().any(|to| {
                        sent[usize::from(to)] < records && port.waiting_bytes(to) < PAUSE_BYTES
                    });
                    if has_more {
                        port.end_turn();
                    } else if port.may_sleep()
                        && !(is_done(&sent) && is_done(&received) && !port.has_waiting())
                    {
                        alarm.sleep();
                        port.woke();
                    }
                }
                port.end_turn();
                assert_eq!(port.recv(&mut buffer), None);
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn two_threads_exchange_records_of_random_sizes() {
    check_threads(2, 256, 20_000);
}

#[test]
fn rings_of_two_words_lose_nothing() {
    check_threads(2, 2, 300);
}

#[test]
fn many_threads_exchange_records_of_random_sizes() {
    check_threads(4, 64, 2_000);
}
