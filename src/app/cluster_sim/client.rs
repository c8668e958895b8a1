//! Somebody who chats: goes to another node when the one before is gone, with its cursor, and says
//! again what nobody has acknowledged.

use std::collections::VecDeque;

use super::judge::{Judge, author};
use crate::auth::level::Level;
use crate::link::facts::RoomKeep;
use crate::link::ids::{Asker, RoomKey};
use crate::rooms::contract::reader::{Reader, messages, number, object};

/// The rooms that there are.
pub(super) const TOPICS: [&str; 2] = ["room:tea", "room:mate"];

/// What a member asked for.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    /// To say something. `key` is the client's, and used by nobody else.
    Message {
        key: String,
        body: String,
    },
    Edit {
        offset: u64,
        body: String,
    },
    Delete {
        offset: u64,
    },
    React {
        offset: u64,
        emoji: &'static str,
    },
    Pin {
        offset: u64,
        on: bool,
    },
    Mute {
        user: String,
        on: bool,
    },
    /// The messages before an offset. `floor`: those up to it are gone.
    Page {
        before: u64,
        floor: u64,
    },
    /// That the room keeps so much.
    Keep(RoomKeep),
}

/// See the module.
#[derive(Clone)]
pub(super) struct Client {
    pub(super) user: String,
    pub(super) level: Level,
    pub(super) topic: usize,
    /// What it knows, unless it has never been there.
    pub(super) reader: Option<Reader>,
    /// What it has said and nobody has acknowledged: keys and bodies.
    pub(super) unacked: VecDeque<(String, String)>,
    /// At which node it was last.
    pub(super) was_at: Option<u64>,
}

impl Client {
    /// Somebody who has never been there.
    pub(super) fn new(user: &str, level: Level, topic: usize) -> Self {
        let (reader, unacked, was_at) = (None, VecDeque::new(), None);
        Self { user: user.to_owned(), level, topic, reader, unacked, was_at }
    }
}

/// A client that is in its room.
pub(super) struct Member {
    pub(super) client: Client,
    pub(super) room: RoomKey,
    pub(super) asker: Asker,
    pub(super) reader: Reader,
    /// What is still to be answered, by its ref, and at which step it was asked.
    pub(super) asked: VecDeque<(String, Asked, u64)>,
    /// Whether it has missed something and comes back for it: what it is told meanwhile is of no
    /// use.
    pub(super) is_behind: bool,
    /// Whether its channel has ended.
    pub(super) is_ended: bool,
    /// Whether a page has told it that nothing is before.
    pub(super) has_first: bool,
}

impl Member {
    /// The client, as it goes away: with all that nobody has acknowledged.
    pub(super) fn into_client(self) -> Client {
        let Self { mut client, reader, asked, .. } = self;
        client.reader = Some(reader);
        for (_, asked, _) in asked {
            if let Asked::Message { key, body } = asked {
                client.unacked.push_back((key, body));
            }
        }
        client
    }

    /// Hears an event of its room.
    pub(super) fn hear(&mut self, judge: &mut Judge, event: &str, payload: &str) {
        if self.is_behind {
            return;
        }
        match event {
            "new_msg" => {
                judge.sees(self.client.topic, &object(payload));
                self.reader.said(payload);
            }
            "msg_changed" if number(payload, "change") == self.reader.at.change + 1 => {
                self.reader.changed(payload);
            }
            "msg_changed" => {
                let is_later = number(payload, "change") > self.reader.at.change;
                assert!(is_later, "no change is told twice: {payload}");
                judge.reached.insert("changes left out");
                self.is_behind = true;
            }
            "room_epoch" => {
                judge.reached.insert("turned");
                self.reader.turned(payload);
            }
            _ => {}
        }
    }

    /// Its answer to a push, the first of those that are left.
    pub(super) fn answered(
        &mut self,
        judge: &mut Judge,
        (reference, status, response): (&str, &str, &str),
    ) {
        let (expected, asked, since) = self.asked.pop_front().expect("it has asked");
        assert_eq!(expected, reference, "answers come in the order of their questions");
        let by = (self.client.topic, &*self.client.user);
        if let Asked::Mute { user, on: false } = &asked {
            judge.has_unmuted(by.0, user);
        }
        match (status, &asked) {
            ("ok", Asked::Page { before, floor }) => {
                let page = messages(&object(response), "messages");
                let has_more = object(response)["more"] != false;
                judge.check_page(by.0, (*before, *floor), &page, has_more);
                for message in &page {
                    judge.sees(by.0, message);
                }
                self.reader.read(&page);
                self.has_first = !has_more;
            }
            ("ok", _) => judge.acked(by, &asked, since, response),
            (_, Asked::Message { key, body }) => {
                if response.contains("muted") {
                    judge.reached.insert("refused as muted");
                } else {
                    self.client.unacked.push_back((key.clone(), body.clone()));
                }
            }
            _ => {}
        }
    }

    /// A message of its own that it knows, one of the last.
    pub(super) fn own(&self, draw: u64) -> Option<u64> {
        let known = self.reader.messages.iter().rev();
        let mut own = known.filter(|(_, message)| author(message) == self.client.user);
        own.nth(usize::try_from(draw % 2).expect("small")).map(|(offset, _)| *offset)
    }

    /// A message that it knows, one of the last.
    pub(super) fn some(&self, draw: u64) -> Option<u64> {
        let mut known = self.reader.messages.keys().rev();
        known.nth(usize::try_from(draw % 4).expect("small")).copied()
    }
}
