//! No more descriptors: the server neither spins nor goes deaf. And many at once.

use std::time::{Duration, Instant};

use rlimit::Resource;

use crate::crowd::{Crowd, Member};
use crate::peer::{join, upgrade};
use crate::server::Server;

/// How many descriptors the server has beyond those it starts with.
const SPARE: u64 = 40;
const WAITING: usize = 20;

#[test]
fn without_descriptors_it_waits_quietly_and_takes_people_in_as_soon_as_there_is_room() {
    let server = Server::start(&["shards=1", "limits.join_per_s=0"]);
    let opening = upgrade(&server.token("Ann"), "").into_bytes();
    let files = server.files() + SPARE;
    let pid = i32::try_from(server.pid()).unwrap();
    rlimit::prlimit(pid, Resource::NOFILE, Some((files, files)), None).unwrap();
    let spare = usize::try_from(SPARE).unwrap();
    let mut crowd = Crowd::connect(&server, spare + WAITING, &opening);
    let open = |members: &[Member]| members.iter().filter(|member| member.is_open).count();
    // The one that fetched the token may have taken a place for a moment.
    crowd.until("as many as possible are in", |members| open(members) >= spare - 1);
    // Nobody can come in: that takes no processor time, and hardly any of the log.
    let ticks = server.ticks();
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(1) {
        crowd.turn();
    }
    let used = server.ticks() - ticks;
    assert!(used < 20, "{used} of 100 ticks for doing nothing");
    assert!(open(&crowd.members) < spare + WAITING / 2);
    let complaints = server.log().matches("cannot accept").count();
    assert_eq!(complaints, 1, "{}", server.log());
    // Places become free, and those who waited get them, within a second. The machine may be busy,
    // so be generous.
    let leaving: Vec<usize> = (0..crowd.members.len())
        .filter(|index| crowd.members[*index].is_open)
        .take(WAITING)
        .collect();
    for index in leaving {
        crowd.leave(index);
    }
    let since = Instant::now();
    crowd.until("those who waited are in", |members| members.iter().all(|member| member.is_open));
    assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
}

#[test]
fn a_storm_is_taken_in_whole_even_where_descriptors_run_out_in_between() {
    const STORM: usize = 2_000;
    let server = Server::start(&["shards=2", "limits.join_per_s=0"]);
    let mut opening = upgrade(&server.token("Ann"), "").into_bytes();
    opening.extend(join("tea", r#"{"limit":0}"#));
    let files = server.files();
    let pid = i32::try_from(server.pid()).unwrap();
    rlimit::prlimit(pid, Resource::NOFILE, Some((files + 500, 20_000)), None).unwrap();
    let mut crowd = Crowd::connect(&server, STORM, &opening);
    let in_room = |members: &[Member]| members.iter().filter(|member| member.joined == 1).count();
    crowd.until("there is no room", |members| in_room(members) > 450);
    rlimit::prlimit(pid, Resource::NOFILE, Some((20_000, 20_000)), None).unwrap();
    crowd.until("everybody is in", |members| in_room(members) == STORM);
    assert!(crowd.members.iter().all(|member| !member.has_ended));
}
