//! Commands as the engine reads them.

use redis::{Cmd, Pipeline, cmd, pipe};

use super::super::command::{Act, Append, Command, Entry, Founded};
use super::Target;
use super::keys::Names;
use super::library::fcall;
use super::slots::slot;
use crate::base::word;

/// About how many rooms are listed at a time: so that nobody waits for that.
const LISTED_AT_ONCE: u32 = 256;

/// A command, written.
pub(super) enum Written {
    /// Answered by one value.
    One(Cmd),
    /// Done in one step, and answered by one value for all of it.
    Transaction {
        /// What is done.
        commands: Pipeline,
        /// What does the same where transactions are refused for want of memory.
        otherwise: Cmd,
    },
}

/// Which primary does a command.
pub(super) enum Whom {
    /// The one that has this slot.
    HasSlot(u16),
    /// The one with this number.
    Primary(u16),
}

impl Whom {
    pub(super) fn of(command: &Command, names: &Names) -> Self {
        Self::HasSlot(match command {
            Command::Append(Append { topic, .. })
            | Command::Read { topic }
            | Command::Look { topic }
            | Command::Subscribe { topic }
            | Command::Unsubscribe { topic }
            | Command::Say { topic, .. }
            | Command::Lines { topic, .. } => names.slot_of_room(topic),
            Command::HearList { partition }
            | Command::List { partition, .. }
            | Command::Age { partition, .. }
            | Command::Due { partition, .. }
            | Command::Forget { partition, .. } => names.slot_of(*partition),
            Command::Tell { node, .. } => slot(&names.node(*node)),
            Command::Beat { .. } | Command::Leave { .. } => slot(&names.nodes()),
            Command::Wait { primary, .. } => return Self::Primary(*primary),
            // Whoever looks at a cluster asks all of them, and more.
            Command::Ping => return Self::Primary(0),
        })
    }
}

/// Writes a command.
pub(super) fn write(command: &Command, names: &Names, target: &Target) -> Written {
    Written::One(match command {
        Command::Append(append) => write_append(append, names, target),
        Command::Read { topic } => return write_read(topic, names, target),
        Command::Look { topic } => {
            let mut look = cmd("GET");
            look.arg(names.of(topic).meta());
            look
        }
        Command::Subscribe { topic } => subscribe(names.of(topic).channel()),
        Command::Unsubscribe { topic } => {
            let mut unsubscribe = cmd("SUNSUBSCRIBE");
            unsubscribe.arg(names.of(topic).channel());
            unsubscribe
        }
        Command::Say { topic, record } => say(names.of(topic).channel(), b"S", record),
        Command::Tell { node, record } => say(names.node(*node), b"", record),
        Command::Lines { topic, before, count } => {
            let mut lines = cmd("XREVRANGE");
            lines.arg(names.of(topic).audit()).arg(before.saturating_sub(1)).arg("-");
            lines.arg("COUNT").arg(count);
            lines
        }
        Command::Beat { node, life, lease_ms } => {
            let mut beat = fcall("beat");
            beat.arg(1).arg(names.nodes());
            beat.arg(&word::hex(*node)).arg(life).arg(lease_ms);
            beat
        }
        Command::Leave { node, life } => {
            let mut leave = cmd("ZREM");
            let [node, life] = [*node, *life].map(word::hex);
            leave.arg(names.nodes()).arg([&node[..], b":", &life[..]].concat());
            leave
        }
        Command::HearList { partition } => subscribe(names.list_channel(*partition)),
        Command::List { partition, cursor } => {
            let mut scan = cmd("HSCAN");
            scan.arg(names.listed(*partition)).arg(cursor).arg("COUNT").arg(LISTED_AT_ONCE);
            scan
        }
        Command::Forget { partition, topics } => {
            let mut forget = fcall("forget");
            forget.arg(2 + topics.len());
            forget.arg(names.listed(*partition)).arg(names.archived(*partition));
            for topic in topics {
                forget.arg(names.of(topic).meta());
            }
            for topic in topics {
                forget.arg(&**topic);
            }
            forget
        }
        Command::Age { partition, topics, in_ms } => {
            let mut age = fcall("age");
            age.arg(1).arg(names.due(*partition)).arg(or_nothing(*in_ms));
            for topic in topics {
                age.arg(&**topic);
            }
            age
        }
        Command::Due { partition, count, again_ms } => {
            let mut due = fcall("due");
            due.arg(1).arg(names.due(*partition)).arg(count).arg(again_ms);
            due
        }
        Command::Ping => cmd("PING"),
        Command::Wait { replicas, timeout_ms, .. } => {
            let mut wait = cmd("WAIT");
            wait.arg(replicas).arg(timeout_ms);
            wait
        }
    })
}

/// A number, or an empty argument.
fn or_nothing(number: Option<u64>) -> String {
    number.map(|number| number.to_string()).unwrap_or_default()
}

/// Hears a channel from now on. Channels are of slots, so that a cluster tells no node that hears
/// nothing there.
pub(super) fn subscribe(channel: String) -> Cmd {
    let mut subscribe = cmd("SSUBSCRIBE");
    subscribe.arg(channel);
    subscribe
}

/// The first byte on a room's channel tells what a node says from what the engine does.
fn say(channel: String, kind: &[u8], record: &[u8]) -> Cmd {
    let mut publish = cmd("SPUBLISH");
    publish.arg(channel).arg([kind, record].concat());
    publish
}

fn write_read(topic: &str, names: &Names, target: &Target) -> Written {
    let room = names.of(topic);
    let (meta, stream, changed, facts) = (room.meta(), room.stream(), room.changed(), room.facts());
    let (archived, history) = (room.archived(), target.history_at_most());
    let mut commands = pipe();
    commands.atomic();
    commands.cmd("GET").arg(&meta);
    commands.cmd("XREVRANGE").arg(&stream).arg("+").arg("-").arg("COUNT").arg(history);
    commands.cmd("HGETALL").arg(&changed);
    commands.cmd("HGETALL").arg(&facts);
    commands.cmd("HGET").arg(&archived).arg(topic);
    let mut otherwise = fcall("read");
    otherwise.arg(5).arg(&[meta, stream, changed, facts, archived]);
    otherwise.arg(history).arg(topic);
    Written::Transaction { commands, otherwise }
}

fn write_append(append: &Append, names: &Names, target: &Target) -> Cmd {
    let room = names.of(&append.topic);
    let keys = room.all();
    let mut call = fcall("append");
    call.arg(keys.len()).arg(&keys);
    call.arg(&word::hex(append.fresh_epoch)).arg(room.channel()).arg(&*append.topic);
    call.arg(target.history).arg(target.history_s).arg(target.room_s).arg(target.key_s);
    call.arg(target.audit_lines).arg(room.list_channel()).arg(target.archive_slack);
    for entry in &append.entries {
        write_entry(&mut call, entry);
    }
    call
}

fn write_entry(call: &mut Cmd, entry: &Entry) {
    let kind = match entry.act {
        Act::Message { .. } => "m",
        Act::Change { .. } => "c",
        Act::Decision { .. } => "d",
        Act::Note => "n",
        Act::LetGo { .. } => "o",
    };
    let judged = entry.judged.map(|(epoch, rev)| format!("{epoch:016x} {rev}"));
    call.arg(kind).arg(judged.unwrap_or_default()).arg(&entry.record).arg(&entry.line);
    match &entry.act {
        Act::Message { key } => {
            let key = key.map(|key| word::hex(u64::from_be_bytes(key)));
            call.arg(key.as_ref().map_or(&b""[..], |key| key));
        }
        Act::Change { offset, expected, is_deleted, is_pinned, heard } => {
            let fate = match (is_deleted, is_pinned) {
                (true, _) => "d",
                (false, true) => "p",
                (false, false) => "-",
            };
            call.arg(offset).arg(expected).arg(fate).arg(heard);
        }
        Act::Decision { founded, facts } => {
            let kind = |of: &Founded| if of.is_private { 'p' } else { 'o' };
            let founded = founded.as_ref().map(|of| format!("{}{}", kind(of), of.title));
            call.arg(founded.unwrap_or_default()).arg(facts.len());
            for (field, value) in facts {
                call.arg(&**field).arg(value);
            }
        }
        Act::LetGo { upto, due_in_ms } => {
            call.arg(upto.offset).arg(upto.change).arg(or_nothing(*due_in_ms));
        }
        Act::Note => {}
    }
}
