//! What must be so when nothing goes wrong any more: all nodes show the same, which is what the
//! engine has, and every client has it, too.

use std::collections::BTreeMap;

use serde_json::Value;

use super::client::{Asked, Client, TOPICS};
use super::keeping::check_bounds;
use super::site::Site;
use super::world::{NODES, World};
use crate::auth::level::Level;
use crate::limits::{ROOM_COOLS_MS, SLICE_AUDIT_MS};
use crate::rooms::contract::reader::{Message, Reader};

/// In so many rounds everything comes to rest.
const ROUNDS_MAX: u32 = 5_000;

/// Who comes to look, when all is over.
const VISITOR: &str = "visitor";

/// What a room is, as a client has it: without how often messages were answered, which nobody here
/// does.
type Shown = BTreeMap<u64, Message>;

impl World {
    /// Nothing goes wrong any more. Everything comes to rest, and then everything must be right.
    pub(super) fn rest(&mut self) {
        self.is_calm = true;
        for at in 0..NODES {
            if self.sites[at].is_none() {
                self.boot(at);
            }
        }
        self.settle();
        // So that all that was lost is noticed.
        self.settle_for(SLICE_AUDIT_MS / 4 * 5 + 30_000);
        for topic in 0..TOPICS.len() {
            self.check_room(topic);
        }
        self.check_kept();
        self.check_empty();
    }

    /// When all have left, no node has a room any more, or hears one.
    fn check_empty(&mut self) {
        for site in self.sites.iter_mut().flatten() {
            while !site.members.is_empty() {
                site.leave(&mut self.judge, 0);
            }
            site.gone.clear();
        }
        self.settle_for(2 * ROOM_COOLS_MS);
        for site in self.sites.iter().flatten() {
            let has = (site.home.rooms.len(), site.node.heard_count());
            assert_eq!(has, (0, 0), "an empty room is let go of at {}", site.id);
        }
    }

    /// What is too old is gone, and what is too much.
    fn check_kept(&self) {
        for topic in TOPICS {
            let held = self.engine.holding(topic);
            check_bounds(&held, self.keep, self.engine.now_ms);
        }
    }

    /// So much time passes.
    fn settle_for(&mut self, ms: u64) {
        let until_ms = self.engine.now_ms + ms;
        while self.engine.now_ms < until_ms {
            // So little that no connection is taken for dead.
            self.engine.now_ms += 1_000;
            self.settle();
        }
    }

    /// Until nothing is under way, and everybody is somewhere.
    fn settle(&mut self) {
        for round in 0.. {
            assert!(round < ROUNDS_MAX, "everything comes to rest");
            self.engine.now_ms += 20;
            for at in 0..NODES {
                self.connect(at);
                self.come_back(at);
                while self.sites[at].as_ref().is_some_and(|site| site.node.asked_count() > 0) {
                    self.do_next(at);
                }
                for _ in 0..8 {
                    self.tell_next(at);
                }
                self.turn(at);
            }
            if self.away.is_empty() && self.sites.iter().flatten().all(Site::is_at_rest) {
                break;
            }
        }
    }

    /// Whoever is away or behind comes back.
    fn come_back(&mut self, at: usize) {
        let Some(site) = &mut self.sites[at] else { return };
        while let Some(index) = site.members.iter().position(|member| member.is_behind) {
            site.leave(&mut self.judge, index);
        }
        self.turn(at);
        if self.away.len() > at {
            self.come(at);
        }
    }

    fn check_room(&mut self, topic: usize) {
        let mut all: Option<Shown> = None;
        for at in 0..NODES {
            let site = self.sites[at].as_mut().expect("all are up");
            site.join(&mut self.judge, Client::new(VISITOR, Level::Speak, topic), false);
            self.settle_for(30_000);
            self.check_shown(at, topic);
            let (index, shown) = self.read_all(at);
            let site = self.sites[at].as_mut().expect("all are up");
            site.leave(&mut self.judge, index);
            site.gone.clear();
            self.settle();
            // Some may have gone meanwhile.
            let gone = self.engine.gone(TOPICS[topic]).offset;
            let shown: Shown = shown.into_iter().filter(|(offset, _)| *offset > gone).collect();
            let bodies: Vec<_> = shown.values().map(|of| of["body"].to_string()).collect();
            assert_eq!(bodies, self.engine.bodies(TOPICS[topic]), "it is what the engine has");
            let first = all.get_or_insert_with(|| shown.clone());
            first.retain(|offset, _| *offset > gone);
            assert_eq!(*first, shown, "all nodes show the same");
        }
        let all = all.expect("there are nodes");
        self.judge.check_end(topic, &all);
        let gone = self.engine.gone(TOPICS[topic]).offset;
        for member in self.sites.iter().flatten().flat_map(|site| &site.members) {
            let Reader { topic: of, messages, .. } = &member.reader;
            for (offset, message) in
                messages.iter().filter(|(offset, _)| *of == topic && **offset > gone)
            {
                let there = all.get(offset).map(without_when_deleted);
                let has = Some(without_when_deleted(message));
                assert_eq!(has, there, "a client has what is there");
            }
            let is_answered = member.asked.is_empty();
            assert!(is_answered, "everything is answered: {:?}", member.asked);
        }
    }

    /// The only visitor of a node reads page by page all that there is.
    fn read_all(&mut self, at: usize) -> (usize, Shown) {
        loop {
            self.judge.step += 1;
            let site = self.sites[at].as_mut().expect("all are up");
            let index = site.members.iter().position(|member| member.client.user == VISITOR);
            let index = index.expect("it is let in");
            let member = &site.members[index];
            if member.has_first {
                return (index, member.reader.messages.clone());
            }
            let first = member.reader.messages.keys().next().copied();
            let before = first.unwrap_or(member.reader.at.offset + 1);
            // Everybody has heard of it, for nothing is under way.
            let floor = self.engine.gone(TOPICS[member.client.topic]).offset;
            site.push(&mut self.judge, index, &Asked::Page { before, floor });
            self.settle();
        }
    }

    /// Members at a node are shown all who are there, at all nodes.
    fn check_shown(&self, at: usize, topic: usize) {
        let site = self.sites[at].as_ref().expect("all are up");
        let users = |users: &mut dyn Iterator<Item = &str>| {
            let mut counts: BTreeMap<String, usize> = BTreeMap::new();
            users.for_each(|user| *counts.entry(user.to_owned()).or_default() += 1);
            counts
        };
        let shown = site.shown[topic].as_ref().expect("whoever is in has the list");
        let shown = users(&mut shown.values().map(|(user, _)| &**user));
        let there = self.sites.iter().flatten().flat_map(|site| &site.members);
        let there = there.filter(|member| member.client.topic == topic);
        let there = users(&mut there.map(|member| &*member.client.user));
        let elsewhere = site.home.rooms.elsewhere(TOPICS[topic]);
        assert_eq!(shown, there, "everybody at {} is shown who is there: {elsewhere:?}", site.id);
    }
}

/// A message, but for who has deleted it and when: that is not told of one that nobody keeps any
/// more.
fn without_when_deleted(message: &Message) -> Message {
    let mut message = message.clone();
    if let Some(deleted) = message.get_mut("deleted") {
        *deleted = Value::Null;
    }
    message
}
