//! What became of messages, of users and of rooms is there after `kill -9` as far as it was acked;
//! and a cursor recovers it exactly, or its client is told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use serde_json::{Value, json};

use crate::acts::{Act, Courses, ROOM, Said, standing, state, topic};
use crate::peer::{Peer, TEXT, text};
use crate::server::{Server, until};
use crate::store::{Folder, Killed};

/// How many pushes of a client are under way at once: of one each answer waits for its own commit
/// only, of many a commit is under way while the next one gathers.
const UNDER_WAY: [usize; 3] = [1, 5, 30];

/// Messages as clients know them, by offset.
type Messages = BTreeMap<u64, Value>;

/// Where a client stands in a room.
#[derive(Clone, Debug, Default)]
struct Cursor {
    epoch: String,
    offset: u64,
    change: u64,
}

impl Cursor {
    /// Of an answer to a join.
    fn of(response: &Value) -> Self {
        let epoch = response["epoch"].as_str().expect("an epoch").to_owned();
        Self { epoch, offset: number(response, "offset"), change: number(response, "change") }
    }

    fn reached(&mut self, offset: u64, change: u64) {
        self.offset = self.offset.max(offset);
        self.change = self.change.max(change);
    }
}

/// A number; 0, if it is not there.
fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or_default()
}

fn messages(list: &Value) -> impl Iterator<Item = (u64, &Value)> {
    list.as_array().into_iter().flatten().map(|message| (number(message, "offset"), message))
}

/// A client that remembers what it was told. Its room is its own.
struct Client {
    room: String,
    token: String,
    /// The number of its last push.
    last: u64,
    said: Said,
    courses: Courses,
    /// The number of the push, by the offset that was acked.
    acked: BTreeMap<u64, u64>,
    /// The changes that were acked, each with its message.
    changes: BTreeMap<u64, u64>,
    /// How far it was acked.
    kept: Cursor,
    /// How far it has heard, and all messages up to there.
    heard: Cursor,
    shown: Messages,
}

impl Client {
    /// Who has made a room.
    fn new(server: &Server, room: String) -> Self {
        let token = server.token("Ann");
        server.found(&token, &room);
        let mut peer = Peer::open(server, &token);
        let begun = Cursor::of(&join(&mut peer, &room, None));
        Self {
            room,
            token,
            last: 0,
            said: Said::default(),
            courses: Courses::default(),
            acked: BTreeMap::new(),
            changes: BTreeMap::new(),
            kept: begun.clone(),
            heard: begun,
            shown: Messages::new(),
        }
    }

    /// Looks at all that there is, and comes in where it was. True, if it was told that something
    /// that it has heard may be lost.
    fn enter(&mut self, server: &Server) -> (Peer, bool) {
        let mut peer = Peer::open(server, &self.token);
        let told = join(&mut peer, &self.room, Some(&self.kept));
        assert_eq!(told["recovered"], true, "{}: {:?}: {told}", self.room, self.kept);
        let top = Cursor::of(&told);
        let start = Cursor { epoch: top.epoch.clone(), ..Cursor::default() };
        let all = join(&mut Peer::open(server, &self.token), &self.room, Some(&start));
        let all: Messages =
            messages(&all["messages"]).map(|(offset, of)| (offset, of.clone())).collect();
        // What a cursor recovers is what is behind it, and nothing else.
        let expected = all.iter().filter(|(offset, _)| **offset > self.kept.offset);
        assert!(messages(&told["messages"]).eq(expected.map(|(offset, of)| (*offset, of))));
        let expected = all.iter().filter(|(offset, of)| {
            **offset <= self.kept.offset && number(of, "change") > self.kept.change
        });
        let changed: BTreeMap<u64, &Value> = messages(&told["changed"]).collect();
        assert!(changed.into_iter().eq(expected.map(|(offset, of)| (*offset, of))), "{told}");
        self.check(&all, &top);
        self.check_decisions(&mut peer, &told["room"]);
        let is_told = self.come_back(server, &all);
        self.kept.epoch = top.epoch;
        (peer, is_told)
    }

    /// All that was acked is there.
    fn check(&self, all: &Messages, top: &Cursor) {
        assert!(all.keys().copied().eq(1..=top.offset), "{}: a gap", self.room);
        for (offset, message) in all {
            let fates = [("deleted", "deleted"), ("pinned", "pinned"), ("reactions", "reacted")];
            let fates = fates.into_iter().filter(|(field, _)| message[field].is_object());
            let fates: Vec<&str> = fates.map(|(_, fate)| fate).collect();
            let said = message["key"].as_str().map_or_else(String::new, body);
            let body = message["body"].as_str().expect("a body");
            let checked = self.courses.check(&offset.to_string(), state(&said, body, &fates));
            checked.unwrap_or_else(|what| panic!("{}: {what}", self.room));
            if let Some(number) = self.acked.get(offset).filter(|_| fates != ["deleted"]) {
                assert_eq!(message["key"].as_str(), Some(&*number.to_string()), "at {offset}");
            }
        }
        assert!(self.acked.keys().all(|offset| all.contains_key(offset)));
        for (change, offset) in &self.changes {
            assert!(number(&all[offset], "change") >= *change, "change {change} of {offset}");
        }
        let mut once: Vec<u64> = all.values().map(|of| number(of, "change")).collect();
        once.retain(|change| *change > 0);
        let count = once.len();
        once.sort_unstable();
        once.dedup();
        assert!(once.len() == count && once.last().is_none_or(|last| *last <= top.change));
    }

    /// And all that was decided.
    fn check_decisions(&self, peer: &mut Peer, room: &Value) {
        let mut stand: HashMap<String, [bool; 3]> = HashMap::new();
        for (at, wanted) in
            ["{}", r#"{"state":"muted"}"#, r#"{"state":"banned"}"#].iter().enumerate()
        {
            let answer = self.ask(peer, "room_members", wanted);
            assert_eq!(answer["more"], false, "{answer}");
            for member in answer["members"].as_array().expect("a list") {
                let user = member["user"].as_str().expect("a user").to_owned();
                stand.entry(user).or_default()[at] = true;
            }
        }
        for target in self.courses.decided() {
            let found = if target == ROOM {
                room["topic"].as_str().unwrap_or_default().to_owned()
            } else {
                let [is_member, is_muted, is_banned] = stand.remove(target).unwrap_or_default();
                standing(is_member, is_muted, is_banned)
            };
            let checked = self.courses.check(target, &found);
            checked.unwrap_or_else(|what| panic!("{}: {what}", self.room));
        }
        let (mut before, mut lines) = (u64::MAX >> 12, Vec::new());
        loop {
            let page =
                self.ask(peer, "room_audit", &format!(r#"{{"before":{before},"limit":100}}"#));
            lines.extend(page["acts"].as_array().expect("lines").iter().cloned());
            before = lines.last().map_or(0, |line| number(line, "n"));
            if page["more"] == false {
                break;
            }
        }
        assert!(lines.iter().rev().map(|line| number(line, "n")).eq(1..=lines.len() as u64));
        let topics: Vec<&str> =
            lines.iter().filter_map(|line| line["set"]["topic"].as_str()).collect();
        let once: BTreeSet<&str> = topics.iter().copied().collect();
        assert_eq!(once.len(), topics.len(), "a line twice: {topics:?}");
        for number in self.courses.acked(ROOM) {
            assert!(once.contains(&*topic(number)), "{number} is not in {topics:?}");
        }
    }

    /// Comes back where it was when it was put out. It shows what there is, or is told that it
    /// may not. Returns whether it is told.
    fn come_back(&mut self, server: &Server, all: &Messages) -> bool {
        let mut peer = Peer::open(server, &self.token);
        let answer = join(&mut peer, &self.room, Some(&self.heard));
        let is_told = answer["recovered"] == false;
        if is_told {
            self.shown.clone_from(all);
        }
        for (offset, message) in messages(&answer["messages"]).chain(messages(&answer["changed"])) {
            self.show(offset, message);
        }
        let differs = |offset: &&u64| self.shown.get(offset) != all.get(offset);
        if let Some(offset) = self.shown.keys().chain(all.keys()).find(differs) {
            let (shown, there) = (self.shown.get(offset), all.get(offset));
            panic!("{}, {:?}: {shown:?} is shown, and {there:?} is there", self.room, self.heard);
        }
        self.heard = Cursor::of(&answer);
        is_told
    }

    /// A whole message, laid over what is shown.
    fn show(&mut self, offset: u64, message: &Value) {
        let is_new = self.shown.get(&offset).is_none_or(|shown| {
            shown["id"] != message["id"] || number(shown, "change") < number(message, "change")
        });
        if is_new {
            self.shown.insert(offset, message.clone());
        }
    }

    /// What has changed of a message.
    fn patch(&mut self, patch: &Value) {
        let (offset, change) = (number(patch, "offset"), number(patch, "change"));
        let shown = self.shown.get_mut(&offset).expect("it was said");
        if number(shown, "change") >= change {
            return;
        }
        for (name, value) in patch.as_object().expect("an object") {
            match value {
                _ if name == "by" => {}
                Value::Null => drop(shown.as_object_mut().expect("one too").remove(name)),
                value => shown[name] = value.clone(),
            }
        }
    }

    /// A question, and its answer.
    fn ask(&self, peer: &mut Peer, event: &str, payload: &str) -> Value {
        peer.send_raw(&push(&self.room, "q", event, payload));
        let answer = peer.await_text(r#"["1","q","#);
        let answer: Value = serde_json::from_str(&answer).expect("JSON");
        assert_eq!(answer[4]["status"], "ok", "{answer}");
        answer[4]["response"].clone()
    }

    /// Talks and acts until the server has gone, with so much under way. Counts what is acked.
    fn talk(&mut self, peer: &mut Peer, count: usize, acks: &AtomicU32) {
        let mut under_way = BTreeSet::new();
        loop {
            while under_way.len() < count {
                self.last += 1;
                let number = self.last;
                let (event, payload) = if let Some(act) = self.said.act(number) {
                    let Act { event, payload, target, state } = act;
                    self.courses.ask(number, &target, &state);
                    (event, payload)
                } else {
                    let body = body(&number.to_string());
                    ("new_msg", format!(r#"{{"body":"{body}","key":"{number}"}}"#))
                };
                let push = push(&self.room, &number.to_string(), event, &payload);
                if std::io::Write::write_all(&mut peer.stream, &push).is_err() {
                    return;
                }
                under_way.insert(number);
            }
            let Some((opcode, payload)) = peer.frame() else { return };
            if opcode != TEXT {
                continue;
            }
            let frame: Value = serde_json::from_slice(&payload).expect("JSON");
            let payload = &frame[4];
            match frame[3].as_str().expect("an event") {
                "new_msg" => {
                    self.shown.insert(number(payload, "offset"), payload.clone());
                    self.heard.reached(number(payload, "offset"), 0);
                }
                "msg_changed" => {
                    self.patch(payload);
                    self.heard.reached(0, number(payload, "change"));
                }
                "phx_reply" => {
                    assert_eq!(payload["status"], "ok", "{frame}");
                    let number = frame[1].as_str().expect("a reference").parse().expect("ours");
                    assert!(under_way.remove(&number), "{frame}");
                    self.acked(number, &payload["response"]);
                    acks.fetch_add(1, Ordering::Relaxed);
                }
                _ => {}
            }
        }
    }

    fn acked(&mut self, push: u64, response: &Value) {
        let (offset, change) = (number(response, "offset"), number(response, "change"));
        self.kept.reached(offset, change);
        if response["id"].is_string() {
            self.said.acked(offset);
            assert_eq!(self.acked.insert(offset, push), None, "offset {offset} is given twice");
            return;
        }
        let (target, _) = self.courses.ack(push);
        if change > 0 {
            let of = target.parse().expect("a message");
            let before = self.changes.insert(change, of);
            assert!(before.is_none_or(|before| before == of), "change {change} is given twice");
        }
    }
}

/// What a message says that has this key.
fn body(key: &str) -> String {
    format!("m{key}")
}

fn push(room: &str, reference: &str, event: &str, payload: &str) -> Vec<u8> {
    text(&format!(r#"["1","{reference}","room:{room}","{event}",{payload}]"#))
}

/// Joins a room, and returns what is answered.
fn join(peer: &mut Peer, room: &str, since: Option<&Cursor>) -> Value {
    let mut params = json!({"presence": false, "limit": 0});
    if let Some(Cursor { epoch, offset, change }) = since {
        params["since"] = json!({"epoch": epoch, "offset": offset, "change": change});
    }
    let answer = peer.join(room, &params.to_string());
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer[4]["status"], "ok", "{answer}");
    answer[4]["response"].clone()
}

#[test]
fn what_was_acked_of_messages_users_and_rooms_is_there_after_kill_9_and_cursors_are_exact() {
    let folder = Folder::new();
    let mut clients: Vec<Client> = Vec::new();
    // `tests/long/run` has many more.
    let rounds = std::env::var("KILL_ROUNDS").map_or(5, |count| count.parse().unwrap());
    let mut told = 0;
    for round in 0..=rounds {
        let server = folder.serve();
        if round == 0 {
            let names = (0..UNDER_WAY.len()).map(|number| format!("room-{number}"));
            clients.extend(names.map(|name| Client::new(&server, name)));
        }
        let entered: Vec<(Peer, bool)> =
            clients.iter_mut().map(|client| client.enter(&server)).collect();
        told += entered.iter().filter(|(_, is_told)| *is_told).count();
        if round == rounds {
            break;
        }
        let acks = AtomicU32::new(0);
        thread::scope(|scope| {
            // However this ends: they talk until it has.
            let _killed = Killed(&server);
            for ((client, (mut peer, _)), count) in clients.iter_mut().zip(entered).zip(UNDER_WAY) {
                let acks = &acks;
                scope.spawn(move || client.talk(&mut peer, count, acks));
            }
            until("enough is acked", || acks.load(Ordering::Relaxed) > 300 + 50 * (round % 5));
        });
    }
    let changes: usize = clients.iter().map(|client| client.changes.len()).sum();
    println!("{changes} changes were acked; {told} times a client was told of a loss");
    assert!(changes > 50, "{changes}");
}
