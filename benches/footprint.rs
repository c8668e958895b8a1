//! What a connection costs in memory, and a broadcast in our own time: one shard, no sockets,
//! counted exactly.
//!
//! `cargo bench --bench footprint -- 100000 1000` connects 100,000 members in 1,000 rooms and
//! prints bytes of heap per joined connection, presence on, and the time of a broadcast per member
//! into a sink that takes everything. With one room it also prints what it costs at most that a
//! tenth of its members stop reading while 6 MB are said.

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use chinwag::link::ids::ConnKey;

use support::{Bench, publish, publish_bytes};

/// Counts what is allocated and not freed.
struct Counting;

static HEAP_BYTES: AtomicUsize = AtomicUsize::new(0);

/// The most that there ever was.
static PEAK_BYTES: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "an allocator is unsafe by its trait; it only counts and passes on")]
// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let before = HEAP_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        PEAK_BYTES.fetch_max(before + layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HEAP_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let mut counts = std::env::args().filter_map(|argument| argument.parse::<u32>().ok());
    let conns = counts.next().unwrap_or(100_000).max(1);
    let rooms = counts.next().unwrap_or(1_000).max(1);
    let before = HEAP_BYTES.load(Ordering::Relaxed);
    let began = Instant::now();
    let (mut bench, key) = Bench::filled(conns, rooms);
    let spent = began.elapsed().as_secs_f64();
    let heap_bytes = HEAP_BYTES.load(Ordering::Relaxed) - before;
    println!(
        "{conns} connections joined {rooms} rooms, {:.1} us of our own each",
        spent * 1e6 / f64::from(conns)
    );
    println!("{} bytes of heap a connection", heap_bytes / conns as usize);

    let message = publish((conns - 1) % rooms);
    bench.say(key, &message);
    let writes = bench.sink.writes;
    let began = Instant::now();
    for _ in 0..100 {
        bench.say(key, &message);
    }
    let spent = began.elapsed().as_nanos();
    println!(
        "{} ns of our own a member and broadcast",
        spent / u128::from(bench.sink.writes - writes)
    );
    if rooms == 1 {
        sleep(bench, key, conns / 10);
    }
}

/// So many members stop reading while others say 6 MB, after some of it that everybody has read.
fn sleep(mut bench: Bench, speaker: ConnKey, sleepers: u32) {
    let message = publish_bytes(0, 6_000);
    (0..100).for_each(|_| bench.say(speaker, &message));
    let before = HEAP_BYTES.load(Ordering::Relaxed);
    PEAK_BYTES.store(before, Ordering::Relaxed);
    bench.sink.sleepers = sleepers;
    (0..1_000).for_each(|_| bench.say(speaker, &message));
    let grown = PEAK_BYTES.load(Ordering::Relaxed) - before;
    println!("{grown} bytes of heap more at most while {sleepers} do not read and 6 MB are said");
}
