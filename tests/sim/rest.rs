//! What must be so at certain moments: after each event, when all is quiet, and when everybody has
//! gone.

use std::collections::{BTreeMap, BTreeSet};

use chinwag::limits::{AGE_SWEEP_MS, CLIENT_FRAME_HEADER_BYTES_MAX, OUT_FACTOR, READ_BUFFER_BYTES};
use chinwag::shard::{Population, Turn};
use serde_json::{Value, json};

use crate::client::{Client, Member};
use crate::logs::as_told;
use crate::merge::comparable;
use crate::plan::{AROUND_BODY_BYTES, Plan};
use crate::site::USERS;
use crate::world::{Host, World, ledger_of};

/// How long nothing must have happened for the world to be quiet, in milliseconds: longer than any
/// tick.
const QUIET_MS: u64 = 3_000;

/// How long clients let their connections rest, in milliseconds.
const HEARTBEAT_MS: u64 = 20_000;

/// What a shard may hold at any time.
pub(crate) fn check_memory(plan: &Plan, host: &Host) {
    let population = host.shard.population();
    let settings = &plan.settings;
    assert!(
        population.history_bytes <= settings.history_bytes_max,
        "history is bounded: {population:?}"
    );
    let held_max =
        2 * READ_BUFFER_BYTES + settings.limits.message_bytes + CLIENT_FRAME_HEADER_BYTES_MAX;
    assert!(
        population.held_bytes_max <= held_max,
        "what is not handled yet is bounded: {population:?}"
    );
    assert!(population.homes <= settings.rooms_max as usize, "rooms are bounded: {population:?}");
}

/// What it may hold after a turn.
pub(crate) fn check_after_turn(plan: &Plan, host: &Host) {
    let population = host.shard.population();
    let limits = &plan.settings.limits;
    // Of a socket that stops in the middle of a frame the rest is kept, however long.
    let out_bytes_max =
        (limits.conn_out_bytes * OUT_FACTOR).max(limits.message_bytes + AROUND_BODY_BYTES);
    assert!(
        population.memory_bytes <= plan.settings.memory_bytes_max,
        "memory is bounded by {}: {population:?}",
        plan.settings.memory_bytes_max
    );
    assert!(
        population.out_bytes_max <= out_bytes_max,
        "who does not read is bounded: {population:?}"
    );
}

/// Who is visible in a room: the number of devices by user.
type Present = BTreeMap<&'static str, usize>;

impl World {
    /// Goes on until nothing moves any more.
    pub(crate) fn rest(&mut self) {
        let mut quiet_ms = 0;
        for _ in 0..20_000 {
            let before = self.digest();
            while self.settle() {}
            self.check_upgrades();
            self.upkeep();
            if self.settle()
                || self.digest() != before
                || !self.clients.iter().all(Client::is_answered)
            {
                quiet_ms = 0;
            }
            if quiet_ms >= QUIET_MS && self.now.mono_ms >= self.ghosts_until_ms {
                self.calm = self.healed;
                return;
            }
            let ms = self.draws.range(1, 60);
            self.pass(ms);
            quiet_ms += ms;
        }
        let waiting: Vec<_> = self.clients.iter().filter(|client| !client.is_answered()).collect();
        panic!("every request is answered, and the world comes to rest: {waiting:#?}");
    }

    /// Clients come back, rejoin what they want to be in, and say that they are there.
    fn upkeep(&mut self) {
        for id in 0..self.clients.len() {
            if self.draining {
                return;
            }
            self.connect(id);
            let now_ms = self.now.mono_ms;
            self.write(id, |client, mouth| {
                let link = client.link.as_ref().expect("who writes is connected");
                let is_patient = link.patience_ms > now_ms;
                let missing: Vec<String> = client
                    .wants
                    .iter()
                    .filter(|topic| !is_patient && link.newest_join_ref(topic).is_none())
                    .cloned()
                    .collect();
                let is_silent = now_ms - link.wrote_ms >= HEARTBEAT_MS;
                for topic in missing {
                    client.join(mouth, &topic);
                }
                if is_silent {
                    client.heartbeat(mouth);
                }
            });
        }
    }

    /// Nobody waits to come in any more: once all is well, nothing is left that this could be for.
    fn check_upgrades(&self) {
        for client in self.clients.iter().filter(|_| self.healed) {
            let Some(link) = &client.link else { continue };
            let pipe = &self.hosts[link.host].net.pipes[link.pipe];
            let has_ended = pipe.gone || pipe.server_fin || link.heard_close.is_some();
            assert!(
                link.is_open || has_ended || !pipe.to_server.is_empty(),
                "every upgrade is answered: client {}",
                client.id
            );
        }
    }

    /// How many connections the server has for a client: of one that polls its session, and those
    /// it polls and posts by.
    fn connections_of(&self, client: &Client) -> usize {
        let Some(link) = &client.link else { return 0 };
        let is_there = |(host, pipe): &(usize, usize)| !self.hosts[*host].net.pipes[*pipe].gone;
        link.pipes().iter().filter(|way| is_there(way)).count() + usize::from(link.relay.is_some())
    }

    /// Everybody who is in a topic, with what it knows of it.
    pub(crate) fn members<'a>(
        &'a self,
        topic: &'a str,
    ) -> impl Iterator<Item = (&'a Client, &'a Member)> {
        self.clients
            .iter()
            .filter_map(move |client| Some((client, client.link.as_ref()?.member(topic)?)))
    }

    fn present(&self, topic: &str) -> Present {
        let mut present = Present::new();
        for (client, _) in self.members(topic).filter(|(_, member)| member.visible) {
            *present.entry(client.user().id).or_default() += 1;
        }
        present
    }

    /// When all is quiet, what everybody knows is the truth.
    pub(crate) fn check_rest(&self) {
        let open: usize = self.clients.iter().map(|client| self.connections_of(client)).sum();
        let conns: usize = self.hosts.iter().map(|host| host.shard.population().conns).sum();
        assert_eq!(conns, open, "the server has the connections that there are");
        for host in &self.hosts {
            let population = host.shard.population();
            assert_eq!(
                (population.buffers, population.log_bytes),
                (0, 0),
                "who waits, be it for a poll's answer, costs a connection and nothing more"
            );
        }
        let rooms: BTreeSet<String> =
            self.plan.rooms.iter().map(|room| format!("room:{room}")).collect();
        for topic in &rooms {
            let epochs: BTreeSet<&str> =
                self.members(topic).map(|(_, member)| &*member.epoch).collect();
            assert!(
                epochs.len() <= 1,
                "a room has one epoch while somebody is there: {topic} {epochs:?}"
            );
            for (client, member) in self.members(topic) {
                let last = self.truth.known(topic, &member.epoch).map_or(0, |epoch| epoch.last);
                assert_eq!(
                    member.last, last,
                    "nothing is lost without a word: client {} in {topic}",
                    client.id
                );
                let known = self.truth.known(topic, &member.epoch);
                assert_eq!(
                    member.change,
                    known.map_or(0, |epoch| epoch.last_change),
                    "no change is lost without a word: client {} in {topic}",
                    client.id
                );
            }
            self.check_same(topic);
            self.check_log(topic);
            self.check_presence(topic);
            self.check_decisions(topic);
            self.check_grown(topic);
        }
        for (client, lobby) in self.members("lobby") {
            self.check_lobby(client, lobby);
        }
    }

    /// All who are in a room have the same messages: those of its log, if it has one.
    fn check_same(&self, topic: &str) {
        let log = self.hosts.iter().map(|host| &host.net.log).find(|log| log.has(topic));
        let mut known: BTreeMap<u64, &Value> = BTreeMap::new();
        let epoch = log.and_then(|log| log.epoch(topic));
        for (client, member) in self.members(topic).filter(|(client, _)| client.knows_changes) {
            let is_of_epoch = epoch.as_ref().is_none_or(|epoch| *epoch == member.epoch);
            assert!(is_of_epoch, "a room is as its log is: client {} in {topic}", client.id);
            for (offset, mine) in client.has.get(topic).into_iter().flatten() {
                let first = known.entry(*offset).or_insert(mine);
                let (first, same) = comparable(first, mine);
                assert_eq!(first, same, "all have the same: client {} in {topic}", client.id);
                let Some(latest) = log.and_then(|log| log.latest(topic, *offset)) else { continue };
                let said_in = log.and_then(|log| log.said_in(topic, *offset)).expect("it is there");
                let mut latest = as_told((&said_in, *offset), &latest);
                if let Some(replies) = log.and_then(|log| log.replies(topic, *offset)) {
                    latest["replies"] = json!({"count": replies.count, "last": replies.last});
                }
                let (mine, latest) = comparable(mine, &latest);
                assert_eq!(mine, latest, "a client has what the log has: {} in {topic}", client.id);
            }
        }
    }

    /// A room is as its log is, and all that was acknowledged is in it.
    fn check_log(&self, topic: &str) {
        let Some(log) = self.hosts.iter().map(|host| &host.net.log).find(|log| log.has(topic))
        else {
            return;
        };
        let is_there = |offset: u64, body: &str| log.body(topic, offset).as_deref() == Some(body);
        for (offset, body) in self.truth.acked(topic) {
            assert!(is_there(offset, body), "what was acknowledged is there: {topic} at {offset}");
        }
        for (_, offset, body) in self.truth.found.iter().filter(|(of, ..)| of == topic) {
            let is_kept = log.has_had(topic, *offset, body);
            assert!(is_kept, "what was found is kept: {topic} at {offset}");
        }
        for (_, offset, change, deed) in
            self.truth.acked_changes.iter().filter(|(of, ..)| of == topic)
        {
            let then = log.by_change(topic, *offset, *change);
            let is_there = then.is_some_and(|then| deed.is_done_to(&then, *change));
            assert!(is_there, "an answered change is there: {deed:?} by {change} in {topic}");
        }
        let Some((client, member)) = self.members(topic).next() else { return };
        assert_eq!(
            member.last,
            log.last(topic),
            "a room is as its log is: client {} in {topic}",
            client.id
        );
        let known = self.truth.known(topic, &member.epoch);
        for (offset, body) in known.into_iter().flat_map(|epoch| &epoch.views) {
            assert!(is_there(*offset, body), "a room is as its log is: {topic} at {offset}");
        }
    }

    fn check_presence(&self, topic: &str) {
        let present = self.present(topic);
        let count: usize = present.values().sum();
        let full_max = self.plan.settings.presence.full_max as usize;
        let may_be_bounded = full_max > 0 && count > full_max - full_max / 4;
        let mut references: Option<BTreeSet<String>> = None;
        for (client, member) in self.members(topic).filter(|(_, member)| member.visible) {
            assert!(
                member.fold.has_state,
                "who is visible is sent the list: client {} in {topic}",
                client.id
            );
            let state = &member.fold.state;
            let listed: Present = state
                .iter()
                .map(|(user, metas)| {
                    let user =
                        USERS.iter().find(|known| known.id == user).expect("a user there is");
                    assert!(
                        metas.iter().all(|meta| meta["name"] == user.name),
                        "a meta says the name: {metas:?}"
                    );
                    (user.id, metas.len())
                })
                .collect();
            let said =
                member.count.as_ref().map(|said| (said["count"].as_u64(), said["listed"].as_u64()));
            let is_bounded = may_be_bounded && listed != present;
            if is_bounded || full_max > 0 && count > full_max {
                assert_eq!(
                    said.and_then(|said| said.0),
                    Some(count as u64),
                    "the count is true: {topic}"
                );
                assert!(
                    listed.iter().all(|(user, devices)| present
                        .get(user)
                        .is_some_and(|there| devices <= there)),
                    "nobody is listed who is not there: client {} in {topic} sees {listed:?} of {present:?}",
                    client.id
                );
                continue;
            }
            assert_eq!(listed, present, "presence is the truth: client {} in {topic}", client.id);
            if let Some((said, listed)) = said {
                // The last one says that from then on the list is complete, or it is of a room that
                // is still above the bound.
                assert!(
                    said == listed || said == Some(count as u64),
                    "the last count was true too: {topic}"
                );
            }
            for (other, member) in self.members(topic).filter(|(_, member)| member.visible) {
                let Some(meta) = &member.meta else { continue };
                let is_there = state[other.user().id].iter().any(|of| of["meta"] == *meta);
                assert!(is_there, "the last meta is seen: {meta} of {} in {topic}", other.id);
            }
            let mine: BTreeSet<String> = state.values().flatten().map(Value::to_string).collect();
            let known = references.get_or_insert_with(|| mine.clone());
            assert_eq!(*known, mine, "everybody sees the same devices: {topic}");
        }
    }

    fn check_lobby(&self, client: &Client, lobby: &Member) {
        for room in &self.plan.rooms {
            let topic = format!("room:{room}");
            let is_there = self.members(&topic).next().is_some();
            let ledger = ledger_of(&self.hosts, &topic);
            let is_private = ledger.is_some_and(|of| of.facts(&topic).is_private());
            let Some(listing) = lobby.rooms.get(*room) else {
                if is_private {
                    continue;
                }
                let is_kept = self.hosts.iter().any(|host| host.net.log.lists(&topic));
                // Without memory nobody is told of what is not open.
                let is_told = self.plan.settings.limits.memory_bytes == 0;
                assert!(
                    !is_kept || !is_told || !client.user().may_join(room),
                    "the lobby lists all that is kept: {room} for client {}",
                    client.id
                );
                assert!(
                    !is_there || !client.user().may_join(room),
                    "a room with members is listed: {room} for client {}",
                    client.id
                );
                continue;
            };
            assert!(!is_private, "a private room is in no list: {room} for client {}", client.id);
            let present: usize = self.present(&topic).values().sum();
            assert_eq!(
                listing["members"], present,
                "the lobby counts right: {room} for client {}",
                client.id
            );
            let facts = ledger.map(|of| of.facts(&topic)).unwrap_or_default();
            let title = facts.settings["title"].as_str().unwrap_or(room);
            assert_eq!(listing["title"], title, "a room keeps its title: {room}");
        }
        if client.user().rights.is_none() {
            let homes: usize = self.hosts.iter().map(|host| host.shard.population().homes).sum();
            let users: BTreeSet<&str> = USERS.iter().map(|user| user.id).collect();
            let own = users
                .iter()
                .filter(|user| self.members(&format!("user:{user}")).next().is_some())
                .count();
            let is_hidden = |room: &&&str| {
                let topic = format!("room:{room}");
                let ledger = ledger_of(&self.hosts, &topic);
                ledger.is_some_and(|of| of.is_open(&topic) && of.facts(&topic).is_private())
            };
            let hidden = self.plan.rooms.iter().filter(is_hidden).count();
            let listed = lobby.rooms.len() + own + hidden;
            // Those that a log keeps are listed whether they are open or not; without memory not
            // even those that were opened since, as long as nobody is in.
            let is_right = match (self.plan.log.keeps(), self.plan.settings.limits.memory_bytes) {
                (true, 0) => homes <= listed,
                (true, _) => true,
                (false, _) => homes == listed,
            };
            assert!(
                is_right,
                "the lobby lists the rooms there are: {homes} and {own} in {:?}",
                lobby.rooms.keys()
            );
        }
    }

    /// Everybody says one thing more, now that nothing stands in its way.
    pub(crate) fn say_last_words(&mut self) {
        for Host { net, .. } in &mut self.hosts {
            net.is_late = true;
        }
        for client in 0..self.clients.len() {
            self.write(client, |client, mouth| client.publish(mouth, false));
        }
        self.rest();
    }

    /// Everybody who may decides some more, and nobody says anything.
    fn decide_last(&mut self) {
        if !self.plan.decides() {
            return;
        }
        for client in 0..self.clients.len() {
            self.write(client, |client, mouth| (0..3).for_each(|_| client.decide_or_not(mouth)));
        }
        self.rest();
        // What is too old by then is let go of before anybody looks.
        self.pass(AGE_SWEEP_MS);
        self.rest();
    }

    /// Reads the whole history of every room in which there is somebody to read it.
    pub(crate) fn audit(&mut self) {
        for room in self.plan.rooms.clone() {
            let topic = format!("room:{room}");
            let Some((client, member)) = self.members(&topic).next() else { continue };
            let (id, epoch, last) = (client.id, member.epoch.clone(), member.last);
            let mut kept: Vec<u64> = Vec::new();
            let mut asked_ms;
            loop {
                let before = kept.first().copied();
                asked_ms = self.now.unix_ms;
                self.truth.pages.clear();
                let limit = self.draws.range(1, 9);
                self.write(id, |client, mouth| {
                    client.ask_history(mouth, &topic, before, None, Some(limit));
                });
                self.rest();
                if self.members(&topic).all(|(client, _)| client.id != id) {
                    return;
                }
                let Some((mut offsets, more)) = self.truth.pages.pop() else { continue };
                assert!(!offsets.is_empty() || !more, "a page makes headway: {topic}");
                offsets.append(&mut kept);
                kept = offsets;
                if !more {
                    break;
                }
            }
            self.check_history(&topic, &epoch, last, &kept);
            self.check_age(&topic, &epoch, asked_ms, &kept);
        }
    }

    /// Nothing is there that is too old for its room, where that is for the room to see to.
    fn check_age(&self, topic: &str, epoch: &str, asked_ms: u64, kept: &[u64]) {
        let facts = ledger_of(&self.hosts, topic).map(|of| of.facts(topic)).unwrap_or_default();
        let keep_s = facts.settings["keep_s"].as_u64().filter(|_| !self.plan.log.keeps());
        let (Some(keep_s), Some(known)) = (keep_s, self.truth.known(topic, epoch)) else { return };
        for said_ms in kept.iter().filter_map(|offset| known.said_ms(*offset)) {
            assert!(
                said_ms + keep_s * 1_000 + AGE_SWEEP_MS >= asked_ms,
                "what is too old is let go of: of {said_ms} at {asked_ms} in {topic}, {keep_s} s"
            );
        }
    }

    /// What the history keeps is the latest part of what was said, and no less of it than it may.
    fn check_history(&self, topic: &str, epoch: &str, last: u64, kept: &[u64]) {
        let first = kept.first().copied().unwrap_or(last + 1);
        assert_eq!(
            kept,
            (first..=last).collect::<Vec<u64>>(),
            "history is a contiguous suffix: {topic}"
        );
        let Some(known) = self.truth.known(topic, epoch) else { return };
        let expected = known.kept_above(first - 1);
        assert!(
            expected.iter().all(|offset| kept.contains(offset)),
            "what was acknowledged is kept: {topic}"
        );
        let history = &self.plan.settings.history;
        // With the next one, which is not kept alone.
        let logs = self.hosts.iter().map(|host| host.net.log.highest(topic));
        let count = logs.fold(last, u64::max) + 1 - first;
        let bytes = (count + 1) * (self.plan.body_bytes + AROUND_BODY_BYTES) as u64;
        let is_full = !self.plan.log.keeps()
            && (count >= u64::from(history.messages)
                || bytes > history.room_bytes as u64
                || self.plan.forgets_rooms);
        // A clock that was set back has let go of more.
        let keep_ms = ledger_of(&self.hosts, topic).and_then(|of| of.keep_ms(topic));
        let is_old = |keep_ms| {
            let said_ms = known.said_ms(first - 1).filter(|_| self.truth.clock_sets == 0);
            said_ms.is_none_or(|said_ms| said_ms + keep_ms <= self.now.unix_ms)
        };
        let is_aged = first > 1 && keep_ms.is_some_and(is_old);
        assert!(
            first == 1 || is_full || is_aged,
            "nothing that was acknowledged is forgotten: {topic} from {first} on"
        );
    }

    /// Nothing goes wrong any more, everybody says one thing more and reads everything: then what
    /// everybody knows is the truth.
    pub(crate) fn finish(&mut self) {
        self.heal();
        self.rest();
        self.say_last_words();
        self.decide_last();
        self.check_rest();
        self.audit();
        self.check_rest();
    }

    /// Everybody leaves, in one of the ways there are, and nothing is left of them.
    pub(crate) fn end(&mut self) {
        match self.draws.below(3) {
            0 => {
                self.draining = true;
                let now = self.now;
                for Host { shard, net, .. } in &mut self.hosts {
                    shard.drain(&mut Turn { now, io: net }, 500);
                }
            }
            1 => {
                for client in 0..self.clients.len() {
                    if self.clients[client].polls {
                        self.lose_link(client);
                    } else {
                        self.write(client, Client::close);
                    }
                }
            }
            _ => (0..self.clients.len()).for_each(|client| self.lose_link(client)),
        }
        for _ in 0..1_200 {
            while self.settle() {}
            self.pass(25);
        }
        for client in &self.clients {
            assert!(client.link.is_none(), "everybody has gone: {:?}", client.link);
        }
        let share = self.plan.settings.conns_max as usize;
        let places: usize = self.hosts.iter().map(|host| host.shard.population().places).sum();
        assert_eq!(places, self.hosts.len() * share, "no place is made or lost");
        for Host { shard, net, .. } in &self.hosts {
            assert!(net.rings.iter().all(Vec::is_empty), "everything has been handled");
            let left = shard.population();
            let Population { homes, history_bytes, memory_bytes, .. } = left;
            // What is owed over a new beginning need not be settled while nobody comes.
            let has_restarted = self.truth.seen.contains_key("restarted");
            let places = if has_restarted { left.places } else { share };
            let rooms =
                Population { homes, history_bytes, memory_bytes, places, ..Population::default() };
            assert_eq!(
                left, rooms,
                "nothing is left of those who have gone, and their places have come back"
            );
        }
    }
}
