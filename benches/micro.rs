//! The parts of a message's way, each on its own: `cargo bench --bench micro`.

mod support;

use std::hint::black_box;
use std::time::Duration;

use chinwag::auth::identity::{Identity, NEVER_S};
use chinwag::limits::{Limits, PresenceLimits};
use chinwag::mesh;
use chinwag::room::presence::Presence;
use chinwag::wire::phx::{Decoder, Payload, Serializer};
use chinwag::wire::ws::frame::{Opcode, decode_header, next_frame, push_client_frame, unmask};
use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use support::{Bench, join, publish};

fn frames(c: &mut Criterion) {
    let mut group = c.benchmark_group("frame");
    let mut frame = Vec::new();
    push_client_frame(&mut frame, Opcode::Text, &[b'x'; 100]);
    group.bench_function("header", |b| b.iter(|| decode_header(black_box(&frame))));
    let limits = Limits::default();
    group.bench_function("whole, 100 B", |b| {
        b.iter(|| next_frame(black_box(&mut frame), &limits).is_ok());
    });
    for bytes in [80, 300, 4_096] {
        let mut payload = vec![b'x'; bytes];
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(BenchmarkId::new("unmask", bytes), |b| {
            b.iter(|| unmask(black_box(&mut payload), black_box([1, 2, 3, 4])));
        });
    }
    group.finish();
}

fn envelopes(c: &mut Criterion) {
    let mut group = c.benchmark_group("envelope");
    let mut decoder = Decoder::default();
    for (name, body) in [
        ("80 B", "x".repeat(40)),
        ("300 B", "x".repeat(260)),
        ("300 B, escapes", r"a\nb\u00e9 ".repeat(24)),
        ("4 KiB", "x".repeat(4_050)),
    ] {
        let text = format!(r#"["1","7","room:tea","new_msg",{{"body":"{body}"}}]"#);
        group.bench_function(BenchmarkId::new("decode", name), |b| {
            b.iter(|| decoder.text(black_box(&text), Serializer::V2).is_ok());
        });
        let payload = format!(r#"{{"body":"{body}"}}"#);
        let mut out = Vec::with_capacity(8_192);
        group.bench_function(BenchmarkId::new("encode", name), |b| {
            b.iter(|| {
                out.clear();
                Serializer::V2.broadcast(
                    &mut out,
                    "room:tea",
                    "new_msg",
                    Payload::Json(black_box(&payload)),
                );
            });
        });
    }
    group.finish();
}

fn rooms(c: &mut Criterion) {
    let mut group = c.benchmark_group("room");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    for members in [10, 1_000, 100_000] {
        let (mut bench, key) = Bench::filled(members, 1);
        let message = publish(0);
        group.throughput(Throughput::Elements(u64::from(members)));
        group.bench_function(BenchmarkId::new("publish to all", members), |b| {
            b.iter(|| bench.say(key, &message));
        });
    }
    group.throughput(Throughput::Elements(1));
    let (mut bench, key) = Bench::filled(1_000, 1);
    let (join, leave) = (join(1), r#"["1","2","room:r1","phx_leave",{}]"#);
    group.bench_function("join and leave", |b| {
        b.iter(|| {
            bench.say(key, &join);
            bench.say(key, leave);
        });
    });
    let heartbeat = r#"[null,"9","phoenix","heartbeat",{}]"#;
    group.bench_function("heartbeat", |b| b.iter(|| bench.say(key, heartbeat)));
    group.finish();
}

fn presence(c: &mut Criterion) {
    let mut group = c.benchmark_group("presence tick, a tenth changes");
    group.sample_size(20).measurement_time(Duration::from_secs(2));
    let limits = PresenceLimits { full_max: 0, ..PresenceLimits::default() };
    for members in [10, 1_000, 100_000] {
        group.bench_function(BenchmarkId::from_parameter(members), |b| {
            b.iter_batched_ref(
                || {
                    let identity = |number: u32| {
                        let user = format!("g_{number:016}");
                        Identity::new(&user, &user, NEVER_S, None).expect("a valid user")
                    };
                    let mut presence = Presence::default();
                    let slots: Vec<_> = (0..members)
                        .map(|number| presence.join(identity(number), (), None, 0, true))
                        .collect();
                    presence.tick(&limits);
                    presence.announce();
                    slots.iter().step_by(20).for_each(|slot| presence.leave(*slot));
                    for number in 0..members / 20 {
                        presence.join(identity(members + number), (), None, 0, true);
                    }
                    presence
                },
                |presence| {
                    presence.tick(&limits);
                    presence.announce();
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();
}

fn rings(c: &mut Criterion) {
    let mut ports = mesh::connect(2, 16 * 1_024);
    let (mut there, mut here) = (ports.pop().expect("two"), ports.pop().expect("two"));
    let record = [b'x'; 300];
    let mut into = Vec::new();
    c.bench_function("mesh hop, 300 B", |b| {
        b.iter(|| {
            here.send(1, black_box(&record));
            there.recv(&mut into)
        });
    });
}

criterion_group!(benches, frames, envelopes, rooms, presence, rings);
criterion_main!(benches);
