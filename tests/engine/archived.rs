//! What the script keeps of a room for an archive, and for how long.

use chinwag::link::log::Marks;
use chinwag::side::engine::command::{Act, Entry, Receipt, Reply};
use chinwag::side::engine::redis::{Library, Target};
use redis::{Connection, FromRedisValue};

use super::node::{Node, message, runtime, target};
use super::servers::{KINDS, Kind, Server};
use super::world::{library, load, planted};

const TOPIC: &str = "room:tea";

/// So many messages are kept, and so many more for an archive that does not come.
const HISTORY: u64 = 64;
const SLACK: u32 = 100;

fn change(offset: u64, expected: u64, is_pinned: bool, heard: u64) -> Entry {
    let act = Act::Change { offset, expected, is_deleted: false, is_pinned, heard };
    Entry { act, ..message(b"pot") }
}

/// A room, and what is done behind the script's back.
struct Room {
    node: Node,
    look: Connection,
}

impl Room {
    async fn of(server: &Server, library: &str) -> Self {
        let mut look = server.look();
        load(&mut look, library);
        let target = Target { archive_slack: SLACK, ..target(server, 1) };
        Self { node: Node::connect(&target).await.expect("a connection"), look }
    }

    async fn say(&mut self, count: usize) {
        self.node.append(TOPIC, 1, vec![message(b"tea"); count]).await;
    }

    async fn change(&mut self, entry: Entry) -> Receipt {
        match self.node.append(TOPIC, 1, vec![entry]).await {
            Reply::Appended { receipts, .. } => receipts[0],
            other => panic!("{other:?}"),
        }
    }

    /// The first message that is there, and the changed ones.
    async fn offsets(&mut self) -> (u64, Vec<u64>) {
        let state = self.node.read(TOPIC).await;
        let changed = state.changed.iter().map(|changed| changed.offset).collect();
        let stream = self.key("s:room:tea");
        let first: Vec<(String, Vec<String>)> =
            self.ask(&["XRANGE", &stream, "-", "+", "COUNT", "1"]);
        let first = first[0].0.strip_suffix("-0").and_then(|first| first.parse().ok());
        (first.expect("an offset"), changed)
    }

    /// The key of a kind, which is there.
    fn key(&mut self, kind: &str) -> String {
        let meta: Vec<String> = self.ask(&["KEYS", "cw:*:m:room:tea"]);
        meta[0].replace("m:room:tea", kind)
    }

    fn ask<A: FromRedisValue>(&mut self, words: &[&str]) -> A {
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]).query(&mut self.look).expect("an answer")
    }

    /// All of the room is in the archive, up to there, and nothing of what it has let go of up to
    /// this offset.
    fn archive(&mut self, offset: u64, change: u64, gone: u64) {
        let keys = ["m:room:tea", "s:room:tea", "h", "d"].map(|kind| self.key(kind));
        let epoch = format!("{:016x}", 1);
        let [offset, change] = [offset, change].map(|number| number.to_string());
        let mut note = redis::cmd("FCALL");
        note.arg(Library::ours().function("archived")).arg(4).arg(&keys).arg(TOPIC).arg(epoch);
        note.arg(offset).arg(change).arg(0).arg(0).arg(60).arg(gone);
        note.query::<i64>(&mut self.look).expect("an answer");
    }

    /// Whether it waits for the archive, and whether its messages expire.
    fn waits_and_expires(&mut self) -> (bool, bool) {
        let [stream, waiting] = ["s:room:tea", "d"].map(|kind| self.key(kind));
        let score: Option<String> = self.ask(&["ZSCORE", &waiting, TOPIC]);
        (score.is_some(), self.ask::<i64>(&["TTL", &stream]) > 0)
    }
}

fn check<T: PartialEq + std::fmt::Debug>(what: &str, is: &T, expected: &T) -> Result<(), String> {
    if is == expected { Ok(()) } else { Err(format!("{what}: {is:?} and not {expected:?}")) }
}

async fn run(server: &Server, library: &str) -> Result<(), String> {
    let mut room = Room::of(server, library).await;
    for _ in 0..2 {
        room.say(64).await;
    }
    room.change(change(1, 0, false, 0)).await;
    room.change(change(2, 0, true, 1)).await;
    check("nothing is let go of", &room.offsets().await, &(3, vec![1, 2]))?;
    check("it waits", &room.waits_and_expires(), &(true, false))?;
    room.archive(127, 2, 0);
    check("it waits for the last one", &room.waits_and_expires(), &(true, false))?;
    room.archive(128, 2, 0);
    check("all is there", &room.waits_and_expires(), &(false, true))?;
    room.say(1).await;
    check("it waits for what is new", &room.waits_and_expires(), &(true, false))?;
    room.archive(129, 2, 0);
    // What is there has become something else, which is not.
    room.change(change(3, 0, false, 2)).await;
    check("it waits again", &room.waits_and_expires(), &(true, false))?;
    room.say(64).await;
    let (first, changed) = room.offsets().await;
    check("what is there goes", &(120..=130).contains(&first), &true)?;
    check("pins stay, and what is shown otherwise in the archive", &changed, &vec![2, 3])?;
    // It does not come.
    for _ in 0..2 {
        room.say(64).await;
    }
    let (first, changed) = room.offsets().await;
    let bound = 322 - HISTORY - u64::from(SLACK);
    check("it is waited for so long", &(bound - 10..=bound).contains(&first), &true)?;
    check("changes of what is there stay", &changed, &vec![2, 3])?;
    // The first message is in the archive alone.
    let unheard = room.change(change(1, 1, false, 0)).await;
    check("who has not heard of its change", &unheard, &Receipt::Conflict)?;
    let heard = room.change(change(1, 1, false, 3)).await;
    check("who has", &heard, &Receipt::Change { change: 4 })?;
    let again = room.change(change(1, 1, false, 4)).await;
    check("once", &again, &Receipt::Conflict)?;
    // It is there, and then too old.
    room.archive(321, 4, 0);
    check("all is there", &room.waits_and_expires(), &(false, true))?;
    let act = Act::LetGo { upto: Marks { offset: 300, change: 0 }, due_in_ms: None };
    room.change(Entry { act, record: Vec::new(), ..message(b"") }).await;
    check("what is too old goes", &room.offsets().await, &(301, vec![]))?;
    check("the archive is to know that", &room.waits_and_expires(), &(true, false))?;
    room.archive(321, 4, 299);
    check("all of it", &room.waits_and_expires(), &(true, false))?;
    room.archive(321, 4, 300);
    check("it does", &room.waits_and_expires(), &(false, true))?;
    // A later version has the room.
    let [meta, archived] = ["m:room:tea", "h"].map(|kind| room.key(kind));
    room.ask::<()>(&["SET", &meta, "2 something else"]);
    let before: Vec<String> = room.ask(&["HGETALL", &archived]);
    room.archive(400, 9, 0);
    check("it is left alone", &room.ask::<Vec<String>>(&["HGETALL", &archived]), &before)
}

fn try_with(kind: Kind, library: &str) -> Result<(), String> {
    let server = Server::start(kind, &["--stream-node-max-entries", "10"]);
    runtime().block_on(run(&server, library))
}

#[test]
fn what_an_archive_does_not_have_waits_for_it_up_to_a_bound() {
    for kind in KINDS {
        try_with(kind, library()).unwrap_or_else(|why| panic!("{kind:?}: {why}"));
    }
    for (what, good, bad) in [
        (
            "nothing waits",
            "first = math.min(first, math.max(offset_there + 1, first - room.slack))",
            "",
        ),
        ("it waits for ever", "math.max(offset_there + 1, first - room.slack)", "offset_there + 1"),
        ("what has changed goes", "change > change_there and offset <= offset_there", "false"),
        ("pins go", "fate == 'p' or ", ""),
        ("what was heard is not looked at", "room.floor > tonumber(heard)", "false"),
        (
            "what is new does not wait",
            "call('ZADD', room.unarchived, 'NX', room.at, room.topic) == 1",
            "false",
        ),
        (
            "what goes does not wait",
            "(room.turned or is_said or room.lets_go)",
            "(room.turned or is_said)",
        ),
        ("what goes stays there", " or gone ~= args[8]", ""),
        ("what waits expires", "== 1\n  then\n    call('PERSIST', room.stream)", "== 1\n  then"),
        ("what another version has is noted", "  if not of then return 0 end\n", ""),
        ("all is there too soon", "if of ~= epoch or top ~= args[3]", "if of ~= epoch or false"),
    ] {
        let found = try_with(Kind::Redis, &planted(what, good, bad));
        assert!(found.is_err(), "{what}: nothing differs");
    }
}
