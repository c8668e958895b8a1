//! A client: what it wants, what it knows, and its connection. What it does is in `acts`, what it
//! reads in `ears`.
//!
//! What it does not model, and which test could notice: a stock client's own queues and timers
//! (`tests/clients`), and the page (`tests/browser`).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde_json::Value;

use crate::deciding::Wish;
use crate::draws::Draws;
use crate::ears::number;
use crate::frames::Inbox;
use crate::inviting::Invited;
use crate::merge::Has;
use crate::poll::Relay;
use crate::presence::Fold;
use crate::rights::Moment;
use crate::site::{USERS, User};

/// Somebody with a program that speaks the protocol, for the length of a run.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "habits, each on its own")]
pub(crate) struct Client {
    pub(crate) id: usize,
    /// Which of [`USERS`] it is.
    pub(crate) user: usize,
    pub(crate) v1: bool,
    /// Whether it polls, and has no socket.
    pub(crate) polls: bool,
    /// Whether it sends joins without a ref of their own.
    pub(crate) refless: bool,
    /// Whether it asks not to be listed.
    pub(crate) hides: bool,
    pub(crate) draws: Draws,
    /// Topics that it would be in.
    pub(crate) wants: BTreeSet<String>,
    /// Whether it knows that messages change.
    pub(crate) knows_changes: bool,
    /// Where it stands in each room, by topic.
    pub(crate) cursors: BTreeMap<String, Cursor>,
    /// What it has of each room, by topic: only if it knows that messages change.
    pub(crate) has: BTreeMap<String, Has>,
    /// Messages with a key that have not been answered: topic, body, key.
    pub(crate) unanswered: Vec<(String, String, String)>,
    pub(crate) link: Option<Link>,
    /// Numbers what it says.
    pub(crate) said: u64,
}

/// Where a client stands in a room.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) epoch: String,
    pub(crate) offset: u64,
    /// If it knows that messages change.
    pub(crate) change: Option<u64>,
}

/// What is done to a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Deed {
    Edit(String),
    Delete,
    Pin(bool),
}

/// A connection, as the client sees it.
#[derive(Debug)]
pub(crate) struct Link {
    /// Which of all connections of the run.
    pub(crate) serial: u64,
    pub(crate) host: usize,
    pub(crate) pipe: usize,
    /// Of one that polls: what it polls by. Then `host` and `pipe` are where it does.
    pub(crate) relay: Option<Box<Relay>>,
    pub(crate) is_open: bool,
    /// What has been read of the answer to the upgrade.
    pub(crate) http: Vec<u8>,
    pub(crate) inbox: Inbox,
    pub(crate) refs: u64,
    /// What waits for an answer, in the order in which it was asked.
    pub(crate) pending: VecDeque<Pending>,
    /// What may be answered or not: its channel has ended.
    pub(crate) orphans: BTreeMap<String, Pending>,
    pub(crate) channels: BTreeMap<String, Channel>,
    /// When it ends, in seconds of Unix time, by the token that counts as far as it knows.
    pub(crate) expires_at_s: u64,
    /// The number of the push that brought that token; 0, if it came with the connection.
    pub(crate) renewed: u64,
    /// The ends of all tokens that it has shown. No two are the same.
    pub(crate) ends_s: BTreeSet<u64>,
    /// Rooms that a token of a story has closed, by their names.
    pub(crate) closed: BTreeSet<String>,
    /// The ends that it has been warned of: on the topic of the heartbeat, and on its user's.
    pub(crate) warned_s: [BTreeSet<u64>; 2],
    pub(crate) pings: VecDeque<Vec<u8>>,
    /// What was sent that must end it, and how.
    pub(crate) poison: Option<u16>,
    /// How many messages had been sent when the client sent its close frame.
    pub(crate) said_close: bool,
    pub(crate) heard_close: Option<u16>,
    /// Whether the client reads.
    pub(crate) stalled: bool,
    pub(crate) opened_ms: u64,
    /// When it last wrote something, in milliseconds.
    pub(crate) wrote_ms: u64,
    /// When something it wrote last reached the server.
    pub(crate) reached_ms: u64,
    /// The longest that the server heard nothing of it, in milliseconds.
    pub(crate) silent_ms: u64,
    /// Not before this it tries again what was refused for its pace.
    pub(crate) patience_ms: u64,
    /// How many messages it has said on this connection.
    pub(crate) said: u64,
}

/// A request that is not answered yet.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// The ref, as JSON.
    pub(crate) reference: String,
    /// The join's ref that it carries, as JSON.
    pub(crate) join_ref: String,
    pub(crate) topic: String,
    pub(crate) ask: Ask,
    /// When it was asked, in milliseconds,
    pub(crate) asked_ms: u64,
    /// and among all that happens.
    pub(crate) asked: Moment,
    /// Whether its topic was joined then, or about to be, for all that the client knew.
    pub(crate) is_within: bool,
}

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) enum Ask {
    Join {
        since: Option<Cursor>,
        limit: Option<u64>,
        visible: bool,
        /// What it brings, if that is an invite.
        invited: Option<Invited>,
    },
    Leave,
    Publish {
        body: String,
        key: Option<String>,
        too_large: bool,
        /// Whether it mentions everybody.
        calls_all: bool,
    },
    Custom {
        number: String,
        /// Whether its payload may be longer than a body.
        may_be_too_large: bool,
    },
    History {
        before: Option<u64>,
        after: Option<u64>,
        limit: Option<u64>,
        /// The last message that had been heard by then, and in which epoch: it may turn before
        /// the answer.
        heard: (String, u64),
    },
    Change {
        offset: u64,
        deed: Deed,
        /// Whether everybody is mentioned from then on.
        calls_all: bool,
        /// The epoch that it was in.
        epoch: String,
    },
    /// To react, or not any more.
    React {
        on: bool,
    },
    /// To attach another meta to its presence, or none.
    Attach {
        meta: Value,
    },
    /// To append a piece to a message.
    Append {
        offset: u64,
        piece: String,
    },
    /// That something be decided of a room, or of somebody in it.
    Decide(Wish),
    /// How users stand in a room: what was wanted.
    ListMembers(Value),
    /// That the message at this offset be looked at.
    Report(u64),
    /// For lines of the audit trail: what was wanted.
    Audit(Value),
    /// For an invite.
    Invite,
    /// For messages with this text in them.
    Search(String),
    Echo(Payload),
    Heartbeat,
    /// To go on with another token, which ends then, in seconds of Unix time.
    Renew {
        expires_at_s: u64,
    },
    /// Something that is refused for this reason, should nothing else stand in its way.
    Wrong(&'static str),
}

/// A payload of either kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Payload {
    Json(Value),
    Binary(Vec<u8>),
}

/// A topic on one connection.
#[derive(Debug, Default)]
pub(crate) struct Channel {
    /// The membership that the server has confirmed.
    pub(crate) member: Option<Member>,
    /// Joins that have ended and whose `phx_close` is due, by their refs.
    pub(crate) closes_due: VecDeque<String>,
}

/// A membership, from the join's `ok` on.
#[derive(Debug)]
pub(crate) struct Member {
    /// The ref of the join, as JSON; `null` if it had none.
    pub(crate) join_ref: String,
    pub(crate) epoch: String,
    /// The last offset that was read.
    pub(crate) last: u64,
    /// The last change that was read.
    pub(crate) change: u64,
    /// The messages of which it has heard that they are deleted.
    pub(crate) deleted: BTreeSet<u64>,
    pub(crate) visible: bool,
    pub(crate) fold: Fold,
    /// What it has attached to its presence since it joined.
    pub(crate) meta: Option<Value>,
    /// What `presence_count` said last.
    pub(crate) count: Option<Value>,
    /// Custom events since the last offset, and whether all of them: the member was there when it
    /// was given out.
    pub(crate) since_last: Vec<String>,
    pub(crate) since_whole: bool,
    /// Those heard at all.
    pub(crate) customs: BTreeSet<String>,
    /// When the join was asked for, in milliseconds.
    pub(crate) asked_ms: u64,
    /// How often each was said to be typing.
    pub(crate) typing: BTreeMap<String, u64>,
    /// The lobby: members by room.
    pub(crate) rooms: BTreeMap<String, Value>,
    /// When the join was asked for, among all that happens.
    pub(crate) asked: Moment,
    /// A room: what it was told last of its settings, and of how it stands there.
    pub(crate) settings: Value,
    pub(crate) you: Value,
}

impl Client {
    pub(crate) fn user(&self) -> &'static User {
        &USERS[self.user]
    }

    /// Whether nothing it has asked for is still to be answered.
    pub(crate) fn is_answered(&self) -> bool {
        self.link.as_ref().is_none_or(|link| {
            link.pending.is_empty()
                && link.channels.values().all(|channel| channel.closes_due.is_empty())
        })
    }
}

impl Link {
    pub(crate) fn new(
        serial: u64,
        host: usize,
        pipe: usize,
        expires_at_s: u64,
        now_ms: u64,
    ) -> Self {
        Self {
            serial,
            host,
            pipe,
            relay: None,
            is_open: false,
            http: Vec::new(),
            inbox: Inbox::default(),
            refs: 0,
            pending: VecDeque::new(),
            orphans: BTreeMap::new(),
            channels: BTreeMap::new(),
            expires_at_s,
            renewed: 0,
            ends_s: [expires_at_s].into(),
            closed: BTreeSet::new(),
            warned_s: Default::default(),
            pings: VecDeque::new(),
            poison: None,
            said_close: false,
            heard_close: None,
            stalled: false,
            opened_ms: now_ms,
            wrote_ms: now_ms,
            reached_ms: now_ms,
            silent_ms: 0,
            patience_ms: 0,
            said: 0,
        }
    }

    /// Its connections: shard and pipe of each.
    pub(crate) fn pipes(&self) -> Vec<(usize, usize)> {
        match &self.relay {
            Some(relay) => {
                vec![(relay.poll.host, relay.poll.pipe), (relay.post.host, relay.post.pipe)]
            }
            None => vec![(self.host, self.pipe)],
        }
    }

    /// Whether the client would still write.
    pub(crate) fn speaks(&self) -> bool {
        self.is_open && self.poison.is_none() && !self.said_close && self.heard_close.is_none()
    }

    /// The ends of the tokens that may count now, in seconds of Unix time: which do whose answers
    /// have not come, or never will, is not known.
    fn ends_now_s(&self) -> impl Iterator<Item = u64> {
        let asked = self.pending.iter().chain(self.orphans.values());
        let renewals = asked.filter_map(|pending| match pending.ask {
            Ask::Renew { expires_at_s } => Some(expires_at_s),
            _ => None,
        });
        renewals.chain([self.expires_at_s])
    }

    /// Whether it has ended by now, for all that is known.
    pub(crate) fn has_ended(&self, unix_ms: u64) -> bool {
        self.ends_now_s().all(|end_s| end_s <= unix_ms / 1_000)
    }

    /// Whether it may have.
    pub(crate) fn may_have_ended(&self, unix_ms: u64) -> bool {
        self.ends_now_s().any(|end_s| end_s <= unix_ms / 1_000)
    }

    pub(crate) fn member(&self, topic: &str) -> Option<&Member> {
        self.channels.get(topic)?.member.as_ref()
    }

    /// The ref of the newest join of a topic that was asked for, whether confirmed or not.
    pub(crate) fn newest_join_ref(&self, topic: &str) -> Option<&str> {
        let asked = self
            .pending
            .iter()
            .rev()
            .find(|pending| pending.topic == topic && matches!(pending.ask, Ask::Join { .. }));
        asked.map(|pending| &*pending.join_ref).or_else(|| Some(&*self.member(topic)?.join_ref))
    }

    fn join_under_way(&self, topic: &str, join_ref: &str) -> Option<usize> {
        let is_it = |pending: &Pending| {
            let is_join = matches!(pending.ask, Ask::Join { .. });
            is_join && pending.topic == topic && pending.join_ref == join_ref
        };
        self.pending.iter().position(is_it)
    }

    /// Whether a topic's join with this ref has not been answered.
    pub(crate) fn is_under_way(&self, topic: &str, join_ref: &str) -> bool {
        join_ref != "null" && self.join_under_way(topic, join_ref).is_some()
    }

    /// A join will not be answered any more, and what it was to replace has ended with it.
    pub(crate) fn forget_join(&mut self, topic: &str, join_ref: &str) {
        let at = self.join_under_way(topic, join_ref);
        at.and_then(|at| self.pending.remove(at));
        self.orphan(topic, join_ref);
        let old = self.channels.get_mut(topic).and_then(|channel| channel.member.take());
        if let Some(old) = old {
            self.orphan(topic, &old.join_ref);
        }
    }

    /// The channel of a topic has ended: what was asked in it need not be answered any more.
    pub(crate) fn orphan(&mut self, topic: &str, join_ref: &str) {
        let (gone, rest): (VecDeque<Pending>, VecDeque<Pending>) =
            std::mem::take(&mut self.pending).into_iter().partition(|pending| {
                pending.topic == topic
                    && pending.join_ref == join_ref
                    && !matches!(pending.ask, Ask::Join { .. })
            });
        self.pending = rest;
        self.let_go(gone);
    }

    /// A join has put another membership in the place of one: the same of what was asked before it.
    pub(crate) fn orphan_before(&mut self, topic: &str, join: u64) {
        let (gone, rest): (VecDeque<Pending>, VecDeque<Pending>) =
            std::mem::take(&mut self.pending).into_iter().partition(|pending| {
                pending.topic == topic
                    && number(&pending.reference) < join
                    && !matches!(pending.ask, Ask::Join { .. })
            });
        self.pending = rest;
        self.let_go(gone);
    }

    fn let_go(&mut self, gone: VecDeque<Pending>) {
        self.orphans.extend(gone.into_iter().map(|pending| (pending.reference.clone(), pending)));
    }
}
