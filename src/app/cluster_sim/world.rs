//! All nodes and the engine, and what happens to them.

use super::client::{Asked, Client, Member, TOPICS};
use super::judge::Judge;
use super::keeping::some_keep;
use super::site::Site;
use crate::auth::level::Level;
use crate::base::rng::SplitMix64;
use crate::link::facts::Keep;
use crate::rooms::contract::reader::Reader;
use crate::side::engine::{PretendedEngine, Push};

/// So many nodes there are at a time.
pub(super) const NODES: usize = 3;

/// And so many clients, of whom two may moderate.
const USERS: [(&str, Level); 7] = [
    ("u0", Level::Speak),
    ("u1", Level::Speak),
    ("u2", Level::Speak),
    ("u0", Level::Speak),
    ("u1", Level::Speak),
    ("m0", Level::Moderate),
    ("m1", Level::Moderate),
];

/// Who may set what a room keeps, where rooms let go of something.
const OWNER: (&str, Level) = ("o0", Level::Own);

const EMOJI: [&str; 3] = ["👍", "🎉", "🔥"];

/// See the module.
pub(super) struct World {
    rng: SplitMix64,
    pub(super) engine: PretendedEngine,
    pub(super) sites: Vec<Option<Site>>,
    pub(super) judge: Judge,
    /// Those who are nowhere.
    pub(super) away: Vec<Client>,
    pub(super) is_calm: bool,
    /// So many replicas must have what is told as kept.
    replicas: u32,
    nodes: u64,
    /// What is kept of each room.
    pub(super) keep: Keep,
}

impl World {
    pub(super) fn new(seed: u64, keep: Keep) -> Self {
        let owners = &[OWNER][..usize::from(keep.is_bound())];
        let clients = USERS.iter().chain(owners).flat_map(|(user, level)| {
            (0..TOPICS.len()).map(|topic| Client::new(user, *level, topic))
        });
        let mut world = Self {
            rng: SplitMix64::new(seed),
            engine: PretendedEngine::new(),
            sites: (0..NODES).map(|_| None).collect(),
            judge: Judge::default(),
            away: clients.collect(),
            is_calm: false,
            replicas: u32::from(!seed.is_multiple_of(4)),
            nodes: 0,
            keep,
        };
        (0..NODES).for_each(|at| world.boot(at));
        world
    }

    pub(super) fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.rng.below(count as u64)).expect("small")
    }

    fn one_in(&mut self, count: u64) -> bool {
        !self.is_calm && self.rng.below(count) == 0
    }

    /// A node begins, with a name that no other had.
    pub(super) fn boot(&mut self, at: usize) {
        self.nodes += 1;
        self.sites[at] = Some(Site::new(self.nodes, self.keep, self.engine.now_ms));
        self.connect(at);
    }

    pub(super) fn connect(&mut self, at: usize) {
        let Some(site) = self.sites[at].as_mut().filter(|site| !site.node.is_up()) else { return };
        site.node.connect(&self.engine, self.replicas);
        self.turn(at);
    }

    /// A node does all that it can by itself, and its clients hear of it.
    pub(super) fn turn(&mut self, at: usize) {
        let Some(site) = &mut self.sites[at] else { return };
        site.turn(&mut self.judge, self.engine.now_ms);
        let wants_end = site.node.wants_end();
        self.away.append(&mut site.gone);
        if wants_end {
            self.cut(at);
        }
    }

    /// A connection ends. What was asked may have been done, up to any place.
    fn cut(&mut self, at: usize) {
        let Some(count) = self.sites[at].as_ref().map(|site| site.node.asked_count()) else {
            return;
        };
        for _ in 0..self.rng.below(count + 1) {
            self.do_next(at);
        }
        let Some(site) = self.sites[at].as_mut().filter(|site| site.node.is_up()) else { return };
        site.note_wrong();
        site.node.disconnect(self.engine.now_ms);
        self.turn(at);
    }

    /// A node dies. Its clients know what they know.
    fn die(&mut self, at: usize) {
        self.cut(at);
        let Some(site) = self.sites[at].take() else { return };
        self.away.extend(site.joining.into_values().map(|joining| joining.client));
        self.away.extend(site.gone);
        self.away.extend(site.members.into_iter().map(Member::into_client));
    }

    /// The engine is what its replica was.
    fn fail_over(&mut self) {
        (0..NODES).for_each(|at| self.cut(at));
        self.judge.fails_over(&self.engine, self.replicas > 0);
        self.engine.fail_over();
    }

    /// The engine does the next thing that a node has asked, and all hear of it.
    pub(super) fn do_next(&mut self, at: usize) {
        let coins = (self.one_in(40), self.rng.below(2) == 0);
        let loses = self.one_in(60);
        let Some(site) = &mut self.sites[at] else { return };
        let held =
            site.node.lets_go_next().map(|topic| (topic_of(topic), self.engine.holding(topic)));
        let mut pushes = site.node.do_next(&mut self.engine, coins);
        if let Some((topic, held)) = held {
            let gone = self.engine.gone(TOPICS[topic]);
            self.judge.lets_go(topic, &held, gone, (self.keep, self.engine.now_ms));
        }
        if loses && pushes.iter().any(Push::is_news) {
            // The others do not hear it, though they are connected.
            self.judge.reached.insert("a push was lost");
            pushes.retain(|push| !push.is_news());
        }
        let others = self.sites.iter_mut().enumerate().filter(|(other, _)| *other != at);
        for site in others.filter_map(|(_, site)| site.as_mut()) {
            site.node.hear(&pushes);
        }
    }

    /// A node hears the next thing from the engine.
    pub(super) fn tell_next(&mut self, at: usize) {
        let Some(site) = &mut self.sites[at] else { return };
        site.node.tell_next(self.engine.now_ms);
        self.turn(at);
    }

    /// Somebody who is nowhere comes to a node.
    pub(super) fn come(&mut self, at: usize) {
        if self.away.is_empty() {
            return;
        }
        let index = self.below(self.away.len());
        let Some(site) = &mut self.sites[at] else { return };
        let client = self.away.swap_remove(index);
        let cursor = client.reader.as_ref().map(Reader::cursor);
        let has = |cursor| self.engine.has(TOPICS[client.topic], cursor);
        let is_exact = site.node.is_up() && cursor.is_some_and(has);
        site.join(&mut self.judge, client, is_exact);
        self.turn(at);
    }

    /// One thing happens.
    pub(super) fn step(&mut self) {
        self.judge.step += 1;
        // So that something grows old.
        let pace_ms = if self.keep.is_bound() { 60 } else { 20 };
        self.engine.now_ms += self.rng.below(pace_ms);
        let at = self.below(NODES);
        if self.sites[at].is_none() {
            if self.one_in(10) {
                self.boot(at);
            }
            return;
        }
        match self.below(100) {
            0..5 => self.come(at),
            5..7 => self.go(at),
            7..30 => self.ask(at),
            30..60 => {
                for _ in 0..=self.below(3) {
                    self.do_next(at);
                }
            }
            60..90 => {
                for _ in 0..=self.below(3) {
                    self.tell_next(at);
                }
            }
            90..93 => self.engine.replicate(),
            93..97 => self.connect(at),
            97 if self.one_in(2) => self.cut(at),
            98 => match self.below(8) {
                0 | 1 => self.die(at),
                2 | 3 => self.fail_over(),
                // It stands still for so long that whoever waits is told.
                4 => self.stand_still(2_500),
                // Or that nodes are taken for dead.
                5 if self.below(3) == 0 => self.stand_still(20_000),
                _ => {}
            },
            99 if self.one_in(2) => self.meddle(),
            _ => {}
        }
        self.turn(at);
    }

    /// Somebody who is no node says something on the channel of a room.
    fn meddle(&mut self) {
        self.judge.reached.insert("somebody else spoke");
        let topic = self.below(TOPICS.len());
        for site in self.sites.iter_mut().flatten() {
            site.node.hear(&[Push::foreign(TOPICS[topic])]);
        }
    }

    /// The engine answers nobody for a while.
    fn stand_still(&mut self, ms: u64) {
        self.engine.now_ms += ms;
        self.sites.iter_mut().flatten().for_each(Site::note_wrong);
    }

    /// A member goes away, or comes back for what it has missed.
    fn go(&mut self, at: usize) {
        let Some(site) = &mut self.sites[at] else { return };
        let behind = site.members.iter().position(|member| member.is_behind);
        let count = site.members.len();
        let index = behind.or_else(|| {
            let draw = self.rng.below(count.max(1) as u64);
            (count > 0).then(|| usize::try_from(draw).expect("small"))
        });
        if let Some(index) = index {
            site.leave(&mut self.judge, index);
        }
    }

    /// A member asks for something.
    fn ask(&mut self, at: usize) {
        let kinds = if self.keep.is_bound() { 16 } else { 12 };
        let (draw, what) = (self.rng.next_u64(), self.below(kinds));
        let (of, step) = (self.rng.next_u64(), self.judge.step);
        let Some(site) = self.sites[at].as_mut().filter(|site| !site.members.is_empty()) else {
            return;
        };
        let index = usize::try_from(draw % site.members.len() as u64).expect("few");
        let floor = site.floor(&self.judge, site.members[index].client.topic);
        let member = &mut site.members[index];
        let body = format!("\"b{step}\"");
        let asked = match what {
            0..=4 => match member.client.unacked.pop_front() {
                Some((key, body)) => {
                    self.judge.reached.insert("said again");
                    Some(Asked::Message { key, body })
                }
                None => Some(Asked::Message { key: format!("k{step}"), body }),
            },
            5 | 6 => member.own(of).map(|offset| Asked::Edit { offset, body }),
            7 => member.own(of).map(|offset| Asked::Delete { offset }),
            8 | 9 => {
                let emoji = EMOJI[usize::try_from(of % 3).expect("small")];
                member.some(of / 3).map(|offset| Asked::React { offset, emoji })
            }
            10 => member.some(of / 2).map(|offset| Asked::Pin { offset, on: of % 2 == 0 }),
            12..=14 => member.some(of).map(|before| Asked::Page { before, floor }),
            15 => (member.client.level == Level::Own).then(|| Asked::Keep(some_keep(of))),
            _ => (member.client.level == Level::Moderate)
                .then(|| Asked::Mute { user: "u2".to_owned(), on: of % 2 == 0 }),
        };
        if let Some(asked) = asked {
            site.push(&mut self.judge, index, &asked);
        }
    }
}

fn topic_of(name: &str) -> usize {
    TOPICS.iter().position(|of| *of == name).expect("there are no other rooms")
}
