//! Random calls: what the engine answers and tells is what the model says. Defects that are planted
//! in the script are found so.

use chinwag::base::rng::SplitMix64;
use chinwag::link::log::Marks;
use chinwag::side::engine::command::{Act, Append, Command, Entry, Founded};
use chinwag::side::engine::partition::partition;

use super::model::Meta;
use super::node::{PARTITIONS, runtime};
use super::servers::{Kind, Server};
use super::world::{Part, World, library, planted};

/// One with a brace, since that is what names of keys have.
const TOPICS: [&str; 3] = ["room:tea", "room:{x", "p\u{fc}b"];
const STEPS: u32 = 2500;
const SEEDS: u64 = 4;
/// Nobody is there so late.
const FAR_MS: u64 = 1_000_000_000;
/// And at most, until what is planted is found.
const SEEDS_OF_PLANTED: u64 = 64;

struct Draws(SplitMix64);

impl Draws {
    fn below(&mut self, end: u64) -> u64 {
        self.0.below(end)
    }

    /// Whether something happens that does in so many of a hundred cases.
    fn in_100(&mut self, cases: u64) -> bool {
        self.below(100) < cases
    }

    /// Any bytes, with those that a protocol of lines could trip over.
    fn bytes(&mut self, length_max: u64) -> Vec<u8> {
        let length = self.below(length_max + 1);
        (0..length)
            .map(|_| b"\0\r\n $*-Az09\xC3\xFF"[usize::try_from(self.below(13)).expect("an index")])
            .collect()
    }
}

/// A world, what it is asked, and how it went on so far.
struct Run {
    world: World,
    draws: Draws,
    /// Epochs are never given twice.
    epoch: u64,
    lives: [u64; 2],
}

impl Run {
    async fn new(server: &Server, library: &str, seed: u64) -> Self {
        let world = World::new(server, library).await;
        Self { world, draws: Draws(SplitMix64::new(seed)), epoch: 0, lives: [0; 2] }
    }

    async fn step(&mut self) -> Result<(), String> {
        let by = usize::from(self.draws.in_100(40));
        let topic = TOPICS[usize::try_from(self.draws.below(3)).expect("an index")];
        let boxed: Box<str> = topic.into();
        match self.draws.below(100) {
            0 => self.world.remember(),
            1 => self.world.fail_over(),
            2 | 3 => self.world.turn(),
            4 => {
                let parts = [Part::Meta, Part::Messages, Part::Changed];
                let part = parts[usize::try_from(self.draws.below(3)).expect("an index")];
                self.world.lose(topic, part);
            }
            5 => {
                let append = self.append(topic);
                self.world.with_foreign_meta(topic, append).await?;
            }
            6 => self.world.put_clock_on(topic),
            7..10 => self.world.ask(by, Command::Subscribe { topic: boxed }).await?,
            10 => self.world.ask(by, Command::Unsubscribe { topic: boxed }).await?,
            11..14 => {
                let record = self.draws.bytes(40);
                self.world.ask(by, Command::Say { topic: boxed, record }).await?;
            }
            14 | 15 => {
                let record = self.draws.bytes(40);
                let node = 1 + self.draws.below(3);
                self.world.ask(by, Command::Tell { node, record }).await?;
            }
            16..19 => self.beat(by).await?,
            19..22 => {
                let before = match self.draws.below(3) {
                    0 => u64::MAX,
                    _ => self.draws.below(self.world.room(topic).lines.last + 2),
                };
                let count = u32::try_from(1 + self.draws.below(150)).expect("it is small");
                self.world.ask(by, Command::Lines { topic: boxed, before, count }).await?;
            }
            22..32 => self.world.ask(by, Command::Read { topic: boxed }).await?,
            32 | 33 => self.world.ask(by, Command::Look { topic: boxed }).await?,
            34 => {
                let partition = partition(topic, PARTITIONS);
                self.world.ask(by, Command::HearList { partition }).await?;
            }
            35..38 => {
                let partition = partition(topic, PARTITIONS);
                self.world.ask(by, Command::List { partition, cursor: 0 }).await?;
            }
            40 => {
                let partition = partition(topic, PARTITIONS);
                let in_ms = self.in_ms();
                self.world.ask(by, Command::Age { partition, topics: vec![boxed], in_ms }).await?;
            }
            41 | 42 => {
                let partition = partition(topic, PARTITIONS);
                let again_ms = if self.draws.in_100(50) { 0 } else { FAR_MS };
                self.world.ask(by, Command::Due { partition, count: 9, again_ms }).await?;
            }
            38 | 39 => {
                let partition = partition(topic, PARTITIONS);
                let forget = Command::Forget { partition, topics: vec![boxed] };
                self.world.ask(by, forget).await?;
            }
            _ => {
                let append = self.append(topic);
                self.world.ask(by, append).await?;
            }
        }
        Ok(())
    }

    async fn beat(&mut self, by: usize) -> Result<(), String> {
        // Now and then a node has forgotten its life, or its lease has ended.
        let life = if self.draws.in_100(20) { 0 } else { self.lives[by] };
        let lease_ms = if self.draws.in_100(20) { 1 } else { 60_000 };
        let node = 1 + by as u64;
        if self.draws.in_100(15) {
            self.world.ask(by, Command::Leave { node, life: self.lives[by] }).await?;
        }
        self.world.ask(by, Command::Beat { node, life, lease_ms }).await?;
        self.lives[by] = self.world.model.life(node);
        Ok(())
    }

    fn append(&mut self, topic: &str) -> Command {
        self.epoch += 1;
        let room = self.world.room(topic);
        let (epoch, mut rev, top) = match &room.meta {
            Some(Meta::Ours(head, _)) => (head.epoch, head.rev, head.top.offset),
            _ => (self.epoch, 0, room.messages.last),
        };
        let mut entries = Vec::new();
        for _ in 0..self.draws.below(6) {
            let judged = match self.draws.below(10) {
                0..5 => None,
                5 => Some((epoch + 1, rev)),
                6 => Some((epoch, rev + 1)),
                _ => Some((epoch, rev)),
            };
            let act = match self.draws.below(10) {
                0..5 => self.message(),
                5..8 => {
                    let offset = (top + 2).saturating_sub(self.draws.below(90)).max(1);
                    let known = room.changed.get(&offset).map_or(0, |changed| changed.change);
                    let expected = known + u64::from(self.draws.in_100(20));
                    let is_deleted = self.draws.in_100(40);
                    Act::Change { offset, expected, is_deleted, is_pinned: false, heard: 0 }
                }
                8 if self.draws.in_100(20) => {
                    let change = self.draws.below(3);
                    let offset = (top + 2).saturating_sub(self.draws.below(90));
                    let upto = Marks { offset, change };
                    Act::LetGo { upto, due_in_ms: self.in_ms() }
                }
                8 => {
                    rev += 1;
                    self.decision()
                }
                _ => Act::Note,
            };
            let line = if self.draws.in_100(30) { self.draws.bytes(20) } else { Vec::new() };
            entries.push(Entry { judged, act, record: self.draws.bytes(40), line });
        }
        Command::Append(Append { topic: topic.into(), fresh_epoch: self.epoch, entries })
    }

    /// When a room is looked at: which is compared, and not at which millisecond.
    fn in_ms(&mut self) -> Option<u64> {
        [None, Some(0), Some(FAR_MS)][usize::try_from(self.draws.below(3)).expect("three")]
    }

    fn message(&mut self) -> Act {
        let key = self.draws.in_100(60).then(|| self.draws.below(200).to_le_bytes());
        Act::Message { key }
    }

    fn decision(&mut self) -> Act {
        let founded = self.draws.in_100(20).then(|| {
            let title = format!("= {}", self.draws.below(3)).into();
            Founded { title, is_private: self.draws.in_100(30) }
        });
        let facts = (0..self.draws.below(4))
            .map(|_| (format!("s:{}", self.draws.below(6)).into(), self.draws.bytes(6)));
        Act::Decision { founded, facts: facts.collect() }
    }
}

/// Where a run of this seed first differs; nothing, if it does not.
fn run(kind: Kind, library: &str, seed: u64, steps: u32) -> Result<(), String> {
    let server = Server::start(kind, &[]);
    runtime().block_on(async {
        let mut run = Run::new(&server, library, seed).await;
        for step in 0..steps {
            run.step().await.map_err(|why| format!("{kind:?}, seed {seed}, step {step}: {why}"))?;
        }
        Ok(())
    })
}

#[test]
fn redis_does_what_the_model_says() {
    all_seeds(Kind::Redis);
}

#[test]
fn valkey_does_what_the_model_says() {
    all_seeds(Kind::Valkey);
}

fn all_seeds(kind: Kind) {
    for seed in 0..SEEDS {
        run(kind, library(), seed, STEPS).unwrap_or_else(|why| panic!("{why}"));
    }
}

/// Defects: what each is, what of the script it takes the place of, and what stands there then.
const PLANTED: &[(&str, &str, &str)] = &[
    ("a key is forgotten", "call('HSET', room.keys, key, receipt)", ""),
    ("a known key is not looked for", "if known and tonumber(", "if false and tonumber("),
    (
        "a known key gets a new receipt",
        "return i + 1, 'm ' .. known",
        "return i + 1, 'm ' .. room.epoch .. ' ' .. room.top .. ' ' .. room.now",
    ),
    (
        "the expected change is not looked at",
        "if (known and string.match(known, '^%d+') or '0') ~= expected then",
        "if false then",
    ),
    ("a message that is not there changes", "if tonumber(offset) > room.top then", "if false then"),
    ("the body before a change stays", "call('XDEL', room.stream, offset .. '-0')", ""),
    ("the epoch stays on another history", "room.turned = of ~= branch", "room.turned = false"),
    ("a turn has the old epoch", "table.concat(turns, ','), fresh_epoch", "lineage, epoch"),
    ("a turn forgets those before", "string.gmatch(lineage, '[^,]+')", "string.gmatch('', 'x')"),
    ("no turn is ever forgotten", "if #turns < TURNS then", "if true then"),
    (
        "a turn alone is not told",
        "call('SPUBLISH', args[2]",
        "call('SPUBLISH', #news > 0 and args[2] or keys[1]",
    ),
    (
        "the revision is not looked at",
        "judged ~= room.epoch .. ' ' .. room.rev",
        "string.sub(judged, 1, 16) ~= room.epoch",
    ),
    (
        "the epoch is not looked at",
        "judged ~= room.epoch .. ' ' .. room.rev",
        "string.sub(judged, 18) ~= tostring(room.rev)",
    ),
    ("a decision counts nothing", "room.rev = room.rev + 1", ""),
    ("a fact is not removed", "call('HDEL', room.facts, args[at])", ""),
    (
        "what a later version has written is taken for nothing",
        "meta = call('GET', keys[1])",
        "meta = string.match(call('GET', keys[1]) or '', META) and call('GET', keys[1])",
    ),
    ("a deletion is lost at a trim", "if fate == 'd' then", "if false then"),
    ("the floor stays at a trim", "room.floor = math.max(room.floor, change)", ""),
    (
        "the floor stays where changes have expired",
        "if not known and call('EXISTS', room.changed) == 0 then room.floor = room.changes end",
        "",
    ),
    (
        "changes are let go of too soon",
        "local first = room.top - history + 1",
        "local first = room.top",
    ),
    (
        "a line is lost",
        "call('XADD', room.audit, 'MAXLEN', '~', args[8], audited .. '-0', 'd', line)",
        "",
    ),
    (
        "offsets begin anew without a meta",
        "last_of(room.stream), last_of(room.audit), 0",
        "0, last_of(room.audit), 0",
    ),
    (
        "lines begin anew without a meta",
        "last_of(room.stream), last_of(room.audit), 0",
        "last_of(room.stream), 0, 0",
    ),
    ("changes begin anew without a meta", "call('HVALS', room.changed)", "{}"),
    ("a room's clock is put back", "room.now = math.max(room.at, now)", "room.now = now"),
    (
        "a room is listed of which nothing is kept",
        "not is_founded and (room.top > 0 or room.rev > 0 or room.audited > 0)",
        "not is_founded",
    ),
    (
        "a room that is spoken in is not listed",
        "if room.top == 1 then room.is_renewed = true end",
        "",
    ),
    ("a new title is not told", "kind ~= kind_was or title ~= title_was", "kind ~= kind_was"),
    ("how a room is listed is not told", "kind ~= kind_was or title", "title"),
    (
        "a founded room is forgotten",
        "not is_founded and call('EXISTS', keys[i + 2])",
        "call('EXISTS', keys[i + 2])",
    ),
    ("a message that was let go of changes", "return i + 4, 'gone'", "return i + 4, 'conflict'"),
    ("a message that was too old changes", "tonumber(offset) <= room.gone or ", ""),
    ("what is too old stays", "call('XTRIM', room.stream, 'MINID', string", "local _ = (string"),
    ("changes of what is too old stay", "call('HDEL', room.changed, offset)\n      end", "end"),
    (
        "the floor stays where messages go",
        "room.floor = math.max(room.floor, room.gone_change)",
        "",
    ),
    ("what goes is not told", "room.lets_go = true", ""),
    (
        "a room that goes on is not looked at",
        "call('ZADD', room.due, room.now + args[i + 2], room.topic)",
        "",
    ),
    ("a room without a bound is looked at", "call('ZREM', room.due, room.topic)", ""),
    ("a room is looked at later than was asked", "'LT', now + args[1]", "now + args[1]"),
    (
        "a room is handed out twice",
        "for _, topic in ipairs(due) do call('ZADD', keys[1], now + args[2], topic) end",
        "",
    ),
    (
        "a turn forgets how far its audit trail came",
        "{top, changes, rev, audited}",
        "{top, changes, rev, 0}",
    ),
    ("a room that is known is forgotten", " and call('EXISTS', keys[i + 2]) == 0", ""),
    ("a lease does not end", "call('ZREMRANGEBYSCORE', nodes, '-inf', now)", ""),
    ("a node has two lives", "call('ZREM', nodes, known)", ""),
    ("a node that was thought dead keeps its life", "not call('ZSCORE', nodes, name())", "false"),
];

#[test]
fn a_defect_that_is_planted_in_the_script_is_found() {
    for (what, good, bad) in PLANTED {
        let library = planted(what, good, bad);
        let found =
            (0..SEEDS_OF_PLANTED).any(|seed| run(Kind::Redis, &library, seed, STEPS).is_err());
        assert!(found, "{what}: nothing differs");
    }
}
