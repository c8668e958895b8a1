//! Instructions per step of the parts that matter most, counted by `valgrind --tool=callgrind`: the
//! same on a busy machine as on a quiet one.
//!
//! `cargo bench --bench instructions` runs each part twice under valgrind, the second time with
//! more steps; the difference is what the steps alone took.

mod support;

use std::process::{Command, ExitCode};

use chinwag::wire::phx::{Decoder, Payload, Serializer};
use support::{Bench, join, publish};

/// A part: its name, and what does so many steps of it.
type Part = (&'static str, fn(u32));

const PARTS: [Part; 6] = [
    ("decode a message of 100 B", decode),
    ("encode a broadcast of 100 B", encode),
    ("publish to a room of 10", |steps| say(10, &publish(0), steps)),
    ("publish to a room of 1,000", |steps| say(1_000, &publish(0), steps)),
    ("heartbeat", |steps| say(1, r#"[null,"9","phoenix","heartbeat",{}]"#, steps)),
    ("join and leave a room of 1,000", join_and_leave),
];

const FEW: u32 = 100;
const MANY: u32 = 600;

fn decode(steps: u32) {
    let text = publish(0);
    let mut decoder = Decoder::default();
    for _ in 0..steps {
        assert!(decoder.text(&text, Serializer::V2).is_ok());
    }
}

fn encode(steps: u32) {
    let payload = format!(r#"{{"body":"{}"}}"#, "x".repeat(100));
    let mut out = Vec::with_capacity(1_024);
    for _ in 0..steps {
        out.clear();
        Serializer::V2.broadcast(&mut out, "room:tea", "new_msg", Payload::Json(&payload));
    }
}

fn say(members: u32, message: &str, steps: u32) {
    let (mut bench, key) = Bench::filled(members, 1);
    for _ in 0..steps {
        bench.say(key, message);
    }
}

fn join_and_leave(steps: u32) {
    let (mut bench, _) = Bench::filled(1_000, 1);
    let key = bench.connect(1_000_000, 1);
    for _ in 0..steps {
        bench.say(key, &join(0));
        bench.say(key, r#"["1","2","room:r0","phx_leave",{}]"#);
    }
}

/// All instructions of a run of this program with so many steps of a part.
fn count(part: usize, steps: u32) -> Result<u64, String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .args(["part", &part.to_string(), &steps.to_string()])
        .output()
        .map_err(|error| format!("valgrind cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&run.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : "));
    collected
        .and_then(|(_, count)| count.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| format!("valgrind did not count: {said}"))
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, word, part, steps] = &arguments[..]
        && word == "part"
        && let (Ok(part), Ok(steps)) = (part.parse::<usize>(), steps.parse())
    {
        PARTS[part].1(steps);
        return ExitCode::SUCCESS;
    }
    println!("instructions a step:");
    for (part, (name, _)) in PARTS.iter().enumerate() {
        match count(part, FEW).and_then(|few| Ok((few, count(part, MANY)?))) {
            Ok((few, many)) => {
                println!("{:>10}  {name}", many.saturating_sub(few) / u64::from(MANY - FEW));
            }
            Err(problem) => {
                eprintln!("{problem}");
                return ExitCode::FAILURE;
            }
        }
    }
    ExitCode::SUCCESS
}
