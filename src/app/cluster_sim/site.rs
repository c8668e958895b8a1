//! A node with its rooms, and those who are connected to it.

use std::collections::{BTreeMap, VecDeque};

use super::client::{Asked, Client, Member, TOPICS};
use super::judge::Judge;
use super::keeping::check_shown;
use crate::auth::identity::{Identity, NEVER_S};
use crate::base::arena::Key;
use crate::limits::EngineLimits;
use crate::link::facts::{Keep, MemberWish, Sentence, SettingsWish};
use crate::link::given::Given;
use crate::link::ids::{Asker, AudienceKey, ConnKey, RoomKey};
use crate::link::log::{LogEnd, View};
use crate::link::record::{
    Addition, From, NewMessage, Received, ToHome, ToMember, Verb, Who, read,
};
use crate::rooms::Rooms;
use crate::rooms::contract::reader::{Reader, messages, object};
use crate::rooms::shown::{Shown, fold};
use crate::rooms::tests::{Home, conn, hasher};
use crate::side::engine::{EngineLog, PretendedNode};
use crate::wire::phx::Payload;

/// See the module.
pub(super) struct Site {
    pub(super) id: u64,
    pub(super) node: PretendedNode,
    pub(super) home: Home<EngineLog>,
    pub(super) members: Vec<Member>,
    /// Those who wait to be let in, by their connection.
    pub(super) joining: BTreeMap<u64, Joining>,
    /// Those who are gone from here, and may come back anywhere.
    pub(super) gone: Vec<Client>,
    /// Who is in each room, as its members are told.
    pub(super) shown: [Option<Shown>; TOPICS.len()],
    /// Up to which offset each room had let go of messages here when it was looked at last.
    floors: [u64; TOPICS.len()],
    connections: u64,
}

/// Somebody who waits to be let in.
pub(super) struct Joining {
    pub(super) client: Client,
    /// Whether it has heard more than the room knew here when it came.
    is_ahead: bool,
    /// Whether the engine has all that it has heard, and nothing has gone wrong since: then it is
    /// told all that it missed,
    is_exact: bool,
    /// if it has not waited for as long as a room may take to catch up. Since when it waits.
    since_ms: u64,
    /// Up to which offset the room had let go of messages here when it came, if nothing has gone
    /// wrong since.
    floor: u64,
}

fn audience(topic: usize) -> AudienceKey {
    Key::from_u64(9 << 32 | topic as u64)
}

fn topic_of(audience: AudienceKey) -> usize {
    usize::try_from(audience.to_u64() & 0xff).expect("small")
}

impl Site {
    pub(super) fn new(id: u64, keep: Keep, now_ms: u64) -> Self {
        let (node, log) = PretendedNode::new(id, keep);
        let mut home = Home::with_log(log);
        home.rooms = Rooms::new(id << 32, hasher);
        home.now_ms = now_ms;
        home.settings.history.messages = [100, 3][usize::try_from(id % 2).expect("small")];
        Self {
            id,
            node,
            home,
            members: Vec::new(),
            joining: BTreeMap::new(),
            gone: Vec::new(),
            shown: Default::default(),
            floors: Default::default(),
            connections: 0,
        }
    }

    /// Whether nothing is under way here.
    pub(super) fn is_at_rest(&self) -> bool {
        let is_answered = self.members.iter().all(|member| member.asked.is_empty());
        let is_let_in = self.joining.is_empty() && self.gone.is_empty();
        is_answered && is_let_in && self.node.is_still() && self.home.mesh.log.is_idle()
    }

    /// Everything that is there is heard, by the follower, the rooms and the clients.
    pub(super) fn turn(&mut self, judge: &mut Judge, now_ms: u64) {
        (self.home.now_ms, judge.now_ms) = (now_ms, now_ms);
        self.home.mesh.log.end_turn();
        self.node.turn(now_ms);
        self.hear_log(judge);
        self.home.with(Rooms::greet);
        self.tell(judge);
        while self.home.fire_next() {
            self.tell(judge);
        }
        self.home.mesh.log.end_turn();
        self.check_floors(judge);
    }

    /// What is gone stays gone, and no room takes for gone what the engine has.
    fn check_floors(&mut self, judge: &Judge) {
        for (topic, known) in self.floors.iter_mut().enumerate() {
            let Some(floor) = self.home.rooms.floor(TOPICS[topic]) else { continue };
            judge.check_floor(topic, floor, *known);
            *known = floor;
        }
    }

    /// Up to which offset a room has let go of messages here, if it is open.
    pub(super) fn floor(&self, judge: &Judge, topic: usize) -> u64 {
        let floor = self.home.rooms.floor(TOPICS[topic]).unwrap_or(0);
        judge.surely_gone(topic, floor)
    }

    /// The rooms hear what their log has to say.
    pub(super) fn hear_log(&mut self, judge: &mut Judge) {
        self.home.mesh.log.woke();
        while let Some(answer) = self.home.mesh.log.next() {
            self.home.with(|rooms, cx, told| rooms.hear_log(cx, told, answer.said()));
            self.tell(judge);
        }
        while self.home.with(Rooms::let_in_awaiting).is_some() {
            self.tell(judge);
        }
    }

    /// Something goes wrong: of those who wait to be let in nothing is known any more.
    pub(super) fn note_wrong(&mut self) {
        for joining in self.joining.values_mut() {
            (joining.is_exact, joining.floor) = (false, 0);
        }
        for (_, asked, _) in self.members.iter_mut().flat_map(|member| &mut member.asked) {
            if let Asked::Page { floor, .. } = asked {
                *floor = 0;
            }
        }
    }

    /// A client comes. `is_exact`: the engine has all that it has heard, and can be asked.
    pub(super) fn join(&mut self, judge: &mut Judge, client: Client, is_exact: bool) {
        let cursor = client.reader.as_ref().map(Reader::cursor);
        let is_ahead =
            cursor.is_some_and(|cursor| self.home.rooms.is_behind(TOPICS[client.topic], cursor));
        self.connections += 1;
        let number = self.connections;
        let identity = Identity::new(&client.user, &client.user, NEVER_S, None).expect("valid");
        let join = ToHome::Join {
            conn: conn(number),
            audience: audience(client.topic),
            topic: TOPICS[client.topic],
            who: Who::Here(&identity),
            level: client.level,
            visible: true,
            since: cursor,
            limit: 100_000,
            meta: None,
            replaces: None,
            address: None,
            invite: None,
        };
        self.home.with(|rooms, cx, told| rooms.ask_for_room(cx, told, 0, join));
        let since_ms = self.home.now_ms;
        let floor = self.floor(judge, client.topic);
        self.joining.insert(number, Joining { client, is_ahead, is_exact, since_ms, floor });
        self.tell(judge);
    }

    /// A member goes.
    pub(super) fn leave(&mut self, judge: &mut Judge, index: usize) {
        self.let_go(index);
        self.tell(judge);
    }

    fn let_go(&mut self, index: usize) {
        let member = self.members.remove(index);
        let leave = ToHome::Leave { home: member.room, asker: member.asker, reference: None };
        let topic = member.client.topic;
        self.gone.push(member.into_client());
        if self.members.iter().all(|member| member.client.topic != topic) {
            // Nobody is there to be told any more.
            self.shown[topic] = None;
        }
        self.home.hear(0, leave);
    }

    /// A member pushes something.
    pub(super) fn push(&mut self, judge: &mut Judge, index: usize, wanted: &Asked) {
        let member = &mut self.members[index];
        let reference = judge.step.to_string();
        let (home, asker, topic) = (member.room, member.asker, member.client.topic);
        let reference = &*reference;
        member.asked.push_back((reference.to_owned(), wanted.clone(), judge.step));
        let push = match wanted {
            Asked::Message { key, body } => {
                let message = NewMessage { body, key: Some(key), ..NewMessage::default() };
                ToHome::Publish { home, asker, reference, message }
            }
            Asked::Edit { offset, body } => {
                let (mentions, data) = (Given::Nothing, Given::Nothing);
                let verb = Verb::Edit { body: Some(body), mentions, data };
                ToHome::Change { home, asker, reference, offset: *offset, verb }
            }
            Asked::Delete { offset } => {
                ToHome::Change { home, asker, reference, offset: *offset, verb: Verb::Delete }
            }
            Asked::Pin { offset, on } => {
                let verb = Verb::Pin { on: *on };
                ToHome::Change { home, asker, reference, offset: *offset, verb }
            }
            Asked::React { offset, emoji } => {
                let addition = Addition::Reaction { emoji, on: true };
                ToHome::Add { home, asker, reference, offset: *offset, addition }
            }
            Asked::Page { before, .. } => {
                let (view, from, limit) = (View::Room, From::Before(*before), 3);
                ToHome::History { home, asker, reference, view, from, limit }
            }
            Asked::Mute { user, on } => {
                if !on {
                    judge.unmutes(topic, user);
                }
                let sentence = if *on { Sentence::ForEver } else { Sentence::Lifted };
                let wish = MemberWish { user, mute: Some(sentence), ..MemberWish::default() };
                ToHome::Stand { home, asker, reference, wish }
            }
            Asked::Keep(own) => {
                let given = |of: Option<u64>| of.map_or(Given::Null, Given::Value);
                let wish = SettingsWish {
                    keep_s: given(own.seconds),
                    keep_messages: given(own.messages),
                    keep_bytes: given(own.bytes),
                    ..SettingsWish::default()
                };
                ToHome::Set { home, asker, reference, wish }
            }
        };
        self.home.hear(0, push);
        self.tell(judge);
    }

    /// Clients hear what they are told.
    pub(super) fn tell(&mut self, judge: &mut Judge) {
        while !self.home.told.0.is_empty() {
            for (_, record) in std::mem::take(&mut self.home.told.0) {
                let Received::ToMember(message) = read(&record) else { panic!("for a member") };
                self.hear(judge, message);
            }
            // Their shard lets go of them, as of those who lag.
            while let Some(index) = self.members.iter().position(|member| member.is_ended) {
                self.let_go(index);
            }
        }
    }

    fn hear(&mut self, judge: &mut Judge, message: ToMember<'_>) {
        match message {
            ToMember::Joined { conn, slot, home, response, .. } => {
                let asker = Asker { conn, slot };
                self.joined(judge, asker, home, response);
            }
            ToMember::Refused { conn, .. } => {
                let joining = self.joining.remove(&number_of(conn)).expect("it wants to join");
                self.gone.push(joining.client);
            }
            ToMember::Deliver { audience, event, payload: Payload::Json(payload) } => {
                let topic = topic_of(audience);
                fold(&mut self.shown[topic], &message);
                for member in self.members.iter_mut().filter(|of| of.client.topic == topic) {
                    member.hear(judge, event, payload);
                }
            }
            ToMember::State { audience, .. } => {
                fold(&mut self.shown[topic_of(audience)], &message);
            }
            ToMember::Reply { conn, slot, reference, status, response, .. } => {
                let Payload::Json(response) = response else { panic!("text") };
                let asker = Asker { conn, slot };
                let member = self.members.iter_mut().find(|member| member.asker == asker);
                let member = member.expect("nobody else is answered");
                member.answered(judge, (reference, status, response));
            }
            ToMember::Ended { audience, .. } => {
                judge.reached.insert("ended");
                self.note_wrong();
                let topic = topic_of(audience);
                for member in self.members.iter_mut().filter(|of| of.client.topic == topic) {
                    (member.is_ended, member.is_behind) = (true, true);
                }
            }
            _ => {}
        }
    }

    fn joined(&mut self, judge: &mut Judge, asker: Asker, room: RoomKey, response: &str) {
        let number = number_of(asker.conn);
        let joining = self.joining.remove(&number).expect("it wants to join");
        let Joining { mut client, is_ahead, is_exact, since_ms, floor } = joining;
        let is_late = judge.now_ms - since_ms >= EngineLimits::default().timeout_ms;
        let whole = object(response);
        let told = messages(&whole, "messages");
        check_shown(client.topic, floor, &told);
        for message in &told {
            judge.sees(client.topic, message);
        }
        let reader = match client.reader.take() {
            None => Reader::joined(client.topic, response),
            Some(mut reader) => {
                let cursor = reader.cursor();
                let is_elsewhere = client.was_at.is_some_and(|at| at != self.id);
                let is_recovered = reader.rejoined(response);
                judge.reached.insert(if is_recovered { "recovered" } else { "not recovered" });
                if is_recovered && is_elsewhere {
                    judge.reached.insert("came back elsewhere");
                }
                if is_recovered && is_ahead {
                    judge.reached.insert("came back ahead");
                }
                let is_gone = judge.is_gone(client.topic, cursor);
                let is_right = is_recovered || !is_exact || is_late || is_gone;
                if is_gone && !is_recovered {
                    judge.reached.insert("came back for what is gone");
                }
                assert!(is_right, "what the engine has is told: {cursor:?}, {response}");
                reader
            }
        };
        client.was_at = Some(self.id);
        self.members.push(Member {
            client,
            room,
            asker,
            reader,
            asked: VecDeque::new(),
            is_behind: false,
            is_ended: false,
            has_first: false,
        });
    }
}

fn number_of(key: ConnKey) -> u64 {
    key.to_u64() & 0xffff_ffff
}
