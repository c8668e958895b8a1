//! Who is seen, and whoever folds the news knows the same.

use std::collections::BTreeSet;

use super::*;
use crate::base::rng::SplitMix64;

const LIMITS: PresenceLimits =
    PresenceLimits { tick_ms: 50, tick_max_ms: 2_000, full_max: 1_000, listed: 100 };

fn identity(user: &str) -> Identity {
    Identity::new(user, user, u64::MAX, None).expect("a valid user")
}

fn users(presence: &Presence<()>, set: &BitSet) -> Vec<(String, Vec<u32>)> {
    let mut users = Vec::new();
    presence.each_user(set, &mut BitSet::new(), |user, devices| {
        users.push((user.to_owned(), devices.map(|(_, device)| device.arrival).collect()));
    });
    users.sort();
    users
}

/// Ticks, and gives the news as (joins, leaves).
fn tick(presence: &mut Presence<()>, limits: &PresenceLimits) -> [Vec<(String, Vec<u32>)>; 2] {
    presence.tick(limits);
    let news = [users(presence, presence.joins()), users(presence, presence.leaves())];
    presence.announce();
    news
}

fn one(user: &str, arrivals: &[u32]) -> Vec<(String, Vec<u32>)> {
    vec![(user.to_owned(), arrivals.to_vec())]
}

#[test]
fn who_comes_and_leaves_within_a_tick_is_never_seen() {
    let mut presence = Presence::<()>::default();
    let slot = presence.join(identity("ann"), (), None, 0, true);
    presence.leave(slot);
    assert!(!presence.tick(&LIMITS));
    assert!(presence.members.is_empty());
}

#[test]
fn who_is_back_elsewhere_as_it_was_before_its_leave_is_told_has_never_left() {
    let mut presence = Presence::<()>::default();
    let ann = presence.join_elsewhere(identity("ann"), (), None, 0);
    assert_eq!(tick(&mut presence, &LIMITS), [one("ann", &[1]), vec![]]);
    presence.leave_elsewhere(ann);
    assert_eq!(presence.join_elsewhere(identity("ann"), (), None, 0), ann);
    assert!(!presence.tick(&LIMITS));
    assert_eq!((presence.elsewhere_count(), presence.present_count()), (1, 1));
    // With another meta it is another entry.
    presence.leave_elsewhere(ann);
    let other = presence.join_elsewhere(identity("ann"), (), Some("{}".into()), 0);
    assert_eq!(tick(&mut presence, &LIMITS), [one("ann", &[2]), one("ann", &[1])]);
    presence.leave_elsewhere(other);
}

#[test]
fn a_slot_whose_leave_is_not_told_yet_is_not_given_out() {
    let mut presence = Presence::<()>::default();
    let ann = presence.join(identity("ann"), (), None, 0, true);
    assert_eq!(tick(&mut presence, &LIMITS), [one("ann", &[1]), vec![]]);
    presence.leave(ann);
    let bob = presence.join(identity("bob"), (), None, 0, true);
    assert_ne!(ann, bob);
    assert_eq!(tick(&mut presence, &LIMITS), [one("bob", &[2]), one("ann", &[1])]);
    assert_eq!(presence.join(identity("cy"), (), None, 0, true), ann, "now it is free");
}

#[test]
fn devices_of_a_user_stand_together_oldest_first() {
    let mut presence = Presence::<()>::default();
    let first = presence.join(identity("ann"), (), None, 0, true);
    presence.join(identity("bob"), (), None, 0, true);
    presence.join(identity("ann"), (), None, 0, true);
    assert_eq!(tick(&mut presence, &LIMITS)[0], [one("ann", &[1, 3]), one("bob", &[2])].concat());
    presence.leave(first);
    presence.join(identity("ann"), (), None, 0, true);
    assert_eq!(tick(&mut presence, &LIMITS), [one("ann", &[4]), one("ann", &[1])]);
    assert_eq!(
        users(&presence, presence.announced()),
        [one("ann", &[3, 4]), one("bob", &[2])].concat()
    );
}

#[test]
fn who_is_known_is_known_by_id_and_name() {
    let mut presence = Presence::<()>::default();
    let known = |presence: &Presence<()>, user, name| presence.known(user, name).is_some();
    let slot = presence.join(identity("ann"), (), None, 0, true);
    assert!(
        known(&presence, "ann", "ann")
            && !known(&presence, "ann", "bob")
            && !known(&presence, "bob", "bob")
    );
    tick(&mut presence, &LIMITS);
    presence.leave(slot);
    assert!(known(&presence, "ann", "ann"), "until it is told that it left");
    tick(&mut presence, &LIMITS);
    assert!(!known(&presence, "ann", "ann"));
}

#[test]
fn the_invisible_are_members_and_listed_nowhere() {
    let mut presence = Presence::<()>::default();
    let slot = presence.join(identity("ann"), (), None, 0, false);
    assert!(!presence.tick(&LIMITS));
    assert_eq!((presence.live_count(), presence.present_count()), (1, 0));
    assert!(presence.member(slot).is_some());
    presence.leave(slot);
    assert!(presence.members.is_empty());
}

#[test]
fn a_large_room_lists_speakers_and_elders_and_says_how_many_there_are() {
    let limits = PresenceLimits { full_max: 20, listed: 6, ..LIMITS };
    let mut presence = Presence::<()>::default();
    let slots: Vec<_> = (0..20)
        .map(|number| presence.join(identity(&format!("u{number:02}")), (), None, 0, true))
        .collect();
    assert_eq!(tick(&mut presence, &limits)[0].len(), 20);
    assert_eq!(presence.count_news(), None);

    let late = presence.join(identity("u20"), (), None, 0, true);
    presence.spoke(slots[15], &limits);
    tick(&mut presence, &limits);
    let listed = |presence: &Presence<()>| {
        users(presence, presence.announced()).into_iter().map(|(user, _)| user).collect::<Vec<_>>()
    };
    assert_eq!(listed(&presence), ["u00", "u01", "u02", "u15"]);
    assert_eq!(presence.count_news(), Some(Count { present: 21, listed: 4 }));
    assert_eq!(presence.count_news(), None, "told once");
    assert!(presence.is_unlisted(late));
    assert!(!presence.is_unlisted(slots[0]));

    assert!(presence.spoke(late, &limits), "a new speaker is news");
    assert!(!presence.spoke(late, &limits));
    presence.leave(slots[1]);
    tick(&mut presence, &limits);
    assert_eq!(
        listed(&presence),
        ["u00", "u02", "u03", "u15", "u20"],
        "the next elder steps in, the others stay"
    );

    for slot in &slots[4..10] {
        presence.leave(*slot);
    }
    tick(&mut presence, &limits);
    assert_eq!(
        listed(&presence).len(),
        14,
        "three quarters of the bound or fewer: everybody again"
    );
    assert_eq!(presence.count_news(), Some(Count { present: 14, listed: 14 }));
    assert_eq!(presence.count_news(), None);
}

#[test]
fn whoever_folds_the_diffs_knows_what_a_newcomer_is_told() {
    for seed in 0..200 {
        let mut rng = SplitMix64::new(seed);
        let limits = PresenceLimits {
            full_max: u32::try_from(seed % 3).expect("small") * 10,
            listed: 6,
            ..LIMITS
        };
        let mut presence = Presence::<()>::default();
        let mut there = Vec::new();
        let mut folded: BTreeSet<(String, u32)> = BTreeSet::new();
        for _ in 0..300 {
            match rng.next_u64() % 8 {
                0..=3 => {
                    let user = format!("u{}", rng.next_u64() % 12);
                    there.push(presence.join(
                        identity(&user),
                        (),
                        None,
                        0,
                        !rng.next_u64().is_multiple_of(5),
                    ));
                }
                4..=5 if !there.is_empty() => {
                    let index = usize::try_from(rng.next_u64()).expect("64 bits") % there.len();
                    presence.leave(there.swap_remove(index));
                }
                6 if !there.is_empty() => {
                    let index = usize::try_from(rng.next_u64()).expect("64 bits") % there.len();
                    presence.spoke(there[index], &limits);
                }
                _ => {
                    let [joins, leaves] = tick(&mut presence, &limits);
                    for (user, devices) in joins {
                        for device in devices {
                            assert!(folded.insert((user.clone(), device)), "announced twice");
                        }
                    }
                    for (user, devices) in leaves {
                        for device in devices {
                            assert!(folded.remove(&(user.clone(), device)), "left without a join");
                        }
                    }
                    let told: Vec<_> = users(&presence, presence.announced())
                        .into_iter()
                        .flat_map(|(user, devices)| {
                            devices.into_iter().map(move |device| (user.clone(), device))
                        })
                        .collect();
                    assert_eq!(folded.iter().cloned().collect::<Vec<_>>(), told);
                    if !presence.choice.is_bounded() {
                        assert_eq!(u32::try_from(told.len()), Ok(presence.present_count()));
                    }
                }
            }
        }
        for slot in there {
            presence.leave(slot);
        }
        tick(&mut presence, &limits);
        assert!(
            presence.members.is_empty() && presence.by_user.is_empty(),
            "nothing is left of an empty room"
        );
    }
}
