//! Short stories: what once went wrong, told step by step, so that it stays right whatever the
//! seeds will be.

mod conns;
mod presence;
mod rooms;
mod sessions;
mod slow;
mod tokens;
mod ways;

use chinwag::limits::{HistoryLimits, Limits, PresenceLimits};
use chinwag::shard::Settings;

use crate::acts::Mouth;
use crate::client::Client;
use crate::logs::LogKind;
use crate::plan::Plan;
use crate::world::World;

const ROOM: &str = "room:tea";

/// A world without faults, in which nothing happens by itself.
fn plan(shards: u16, limits: Limits) -> Plan {
    let mut settings = Settings::new(
        shards,
        limits,
        HistoryLimits::default(),
        PresenceLimits::default(),
        Vec::new(),
    );
    // Who is put on a shard stays there.
    settings.gathered_members = 0;
    let window = 1 << 24;
    let (short_write, slow_work, ring_bytes) = (u64::MAX, u64::MAX, 1 << 24);
    let (body_bytes, token_s) = (settings.limits.body_bytes, 1_000_000);
    let rooms = vec!["tea", "news", "r5", "r6"];
    let plan = Plan::new(0, 0, None);
    Plan {
        shards,
        // Unless a story is about another.
        log: LogKind::Memory,
        rooms,
        settings,
        window,
        ring_bytes,
        short_write,
        slow_work,
        body_bytes,
        token_s,
        ..plan
    }
}

/// Clients of these users, each connected to the shard beside it.
fn world(plan: &Plan, clients: &[(usize, usize)]) -> World {
    world_of(plan, clients, false)
}

fn world_of(plan: &Plan, clients: &[(usize, usize)], polls: bool) -> World {
    let mut world = World::new(&Plan { clients: clients.len(), ..plan.clone() });
    for (id, (user, host)) in clients.iter().enumerate() {
        let client = &mut world.clients[id];
        (client.user, client.v1, client.polls, client.refless, client.hides) =
            (*user, false, polls, false, false);
        world.connect_to(id, *host);
    }
    world.rest();
    world
}

/// Has a client write, and goes on until all is quiet.
fn tell(world: &mut World, client: usize, say: impl FnOnce(&mut Client, &mut Mouth<'_>)) {
    world.write(client, say);
    world.rest();
}

/// The users that a client sees in the room, each as often as it is there.
fn seen_by(world: &World, client: usize) -> Vec<&str> {
    let link = world.clients[client].link.as_ref().expect("connected");
    let state = &link.member(ROOM).expect("in the room").fold.state;
    state.iter().flat_map(|(user, metas)| metas.iter().map(move |_| &**user)).collect()
}

/// How often something was seen in a run.
fn count(world: &World, what: &str) -> u64 {
    world.truth.seen.get(what).copied().unwrap_or_default()
}

/// Goes on for a while. A log that fails, and other nodes at it, never rest.
fn go_on(world: &mut World, times: usize) {
    for _ in 0..times {
        world.settle();
        world.pass(5);
    }
}

/// Each of two shards as the home of the room.
fn both_ways(story: impl Fn(usize, usize)) {
    story(0, 1);
    story(1, 0);
}

/// Has a client write, and all that follows from it happen at the same moment.
fn at_once(world: &mut World, client: usize, say: impl FnOnce(&mut Client, &mut Mouth<'_>)) {
    world.write(client, say);
    while world.settle() {}
}

/// How many joins wait.
fn waiting(world: &World) -> usize {
    let waiting = world.hosts.iter().map(|host| host.shard.metrics().waiting);
    usize::try_from(waiting.sum::<u64>()).expect("a few")
}
