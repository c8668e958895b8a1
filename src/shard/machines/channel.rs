//! A channel between its join and its end: `member/channels.rs`.

use super::{Machine, PANICS, Row, World, all, check, frame};
use crate::base::arena::Key;
use crate::link::ids::{AudienceKey, ConnKey, Slot};
use crate::link::record::{Received, ToHome, ToMember, read};
use crate::link::topic::of_room;
use crate::member::State;
use crate::wire::ws::frame::Opcode;

all! {
    /// [`State`], and that there is none.
    At { None, Joining, Joined, Rejoining, Leaving, LeavingUnheard, }
}

impl At {
    fn of(state: Option<State>) -> Self {
        match state {
            None => Self::None,
            Some(State::Joining) => Self::Joining,
            Some(State::Joined) => Self::Joined,
            Some(State::Rejoining) => Self::Rejoining,
            Some(State::Leaving) => Self::Leaving,
            Some(State::LeavingUnheard) => Self::LeavingUnheard,
        }
    }
}

all! {
    Event {
        /// The client pushes `phx_join`.
        Join,
        /// It pushes `phx_leave`.
        Leave,
        /// It pushes a message.
        Push,
        /// It pushes an event of Phoenix that no channel knows.
        Crash,
        /// It pushes, in another channel, a token that does not allow this one.
        Forbidden,
        /// The home has taken the member in.
        TakenIn,
        /// It has not.
        Refused,
        /// It has let the member go.
        LetGo,
        /// The home puts the member out.
        PutOut,
        /// The member is too far behind, or the room goes on in another epoch.
        Evicted,
        /// The shard of the home has begun anew.
        Restarted,
        /// The connection has gone.
        HungUp,
    }
}

const TABLE: &[Row<At, Event>] = &[
    (At::None, &[Event::Join], At::Joining, "Join"),
    (At::None, &[Event::Leave], At::None, "ok"),
    (At::None, &[Event::Push, Event::Crash], At::None, "error unmatched topic"),
    (At::None, &[Event::Forbidden], At::None, FORBIDDEN),
    (At::None, &[Event::Refused, Event::LetGo, Event::PutOut, Event::Evicted], At::None, ""),
    (At::None, &[Event::Restarted, Event::HungUp], At::None, ""),
    // Nobody is taken in who has not asked.
    (At::None, &[Event::TakenIn], At::None, PANICS),
    //
    (At::Joining, &[Event::Join, Event::Leave], At::Joining, "parked"),
    (At::Joining, &[Event::Push, Event::Crash], At::Joining, "parked"),
    // What it is allowed does not change meanwhile.
    (At::Joining, &[Event::Forbidden], At::Joining, PARKED),
    (At::Joining, &[Event::TakenIn], At::Joined, "ok"),
    (At::Joining, &[Event::Refused], At::None, "error busy"),
    (At::Joining, &[Event::LetGo, Event::PutOut, Event::Evicted], At::Joining, ""),
    (At::Joining, &[Event::Restarted], At::None, "phx_error restarted"),
    // The answer to the join will find nobody, and is a leave then.
    (At::Joining, &[Event::HungUp], At::None, ""),
    //
    (At::Joined, &[Event::Join], At::Rejoining, "Join"),
    (At::Joined, &[Event::Leave], At::Leaving, "Leave"),
    (At::Joined, &[Event::Push], At::Joined, "Publish"),
    (At::Joined, &[Event::Crash], At::None, "Leave, phx_error channel_crash"),
    (At::Joined, &[Event::Forbidden], At::None, REMOVED),
    (At::Joined, &[Event::PutOut], At::None, "Leave, room_removed banned, phx_close"),
    (At::Joined, &[Event::Evicted], At::None, "Leave, phx_error turned"),
    (At::Joined, &[Event::Restarted], At::None, "phx_error restarted"),
    (At::Joined, &[Event::HungUp], At::None, "Leave"),
    // The home answers what it is asked, and only that.
    (At::Joined, &[Event::LetGo], At::None, "ok, phx_close"),
    (At::Joined, &[Event::TakenIn, Event::Refused], At::Joined, PANICS),
    //
    (At::Rejoining, &[Event::Join, Event::Leave], At::Rejoining, "parked"),
    (At::Rejoining, &[Event::Push, Event::Crash], At::Rejoining, "parked"),
    (At::Rejoining, &[Event::Forbidden], At::Rejoining, PARKED),
    (At::Rejoining, &[Event::TakenIn], At::Joined, "ok, phx_close"),
    // The home takes it in again, and then puts it out.
    (At::Rejoining, &[Event::PutOut], At::Rejoining, ""),
    (At::Rejoining, &[Event::Evicted], At::Joining, "phx_error turned"),
    (At::Rejoining, &[Event::Restarted], At::None, "phx_error restarted"),
    (At::Rejoining, &[Event::HungUp], At::None, ""),
    // A home takes in whoever is in already, and lets nobody go who has not asked.
    (At::Rejoining, &[Event::Refused], At::Rejoining, ""),
    (At::Rejoining, &[Event::LetGo], At::None, "ok, phx_close"),
    //
    (At::Leaving, &[Event::Join, Event::Leave], At::Leaving, "parked"),
    (At::Leaving, &[Event::Push, Event::Crash], At::Leaving, "parked"),
    (At::Leaving, &[Event::Forbidden], At::LeavingUnheard, FORBIDDEN),
    (At::Leaving, &[Event::LetGo], At::None, "ok, phx_close"),
    (At::Leaving, &[Event::PutOut, Event::Evicted], At::LeavingUnheard, ""),
    (At::Leaving, &[Event::Restarted], At::None, "phx_close"),
    (At::Leaving, &[Event::HungUp], At::None, ""),
    (At::Leaving, &[Event::TakenIn, Event::Refused], At::Leaving, PANICS),
    //
    (At::LeavingUnheard, &[Event::Join, Event::Leave], At::LeavingUnheard, "parked"),
    (At::LeavingUnheard, &[Event::Push, Event::Crash], At::LeavingUnheard, "parked"),
    (At::LeavingUnheard, &[Event::Forbidden], At::LeavingUnheard, FORBIDDEN),
    (At::LeavingUnheard, &[Event::LetGo], At::None, "ok, phx_close"),
    (At::LeavingUnheard, &[Event::PutOut, Event::Evicted], At::LeavingUnheard, ""),
    (At::LeavingUnheard, &[Event::Restarted], At::None, "phx_close"),
    (At::LeavingUnheard, &[Event::HungUp], At::None, ""),
    (At::LeavingUnheard, &[Event::TakenIn, Event::Refused], At::LeavingUnheard, PANICS),
];

/// What a token tells that allows no room, pushed in the lobby: its list is another one then.
const FORBIDDEN: &str = "ok, ok, phx_error token";
/// The same, where it ends the channel.
const REMOVED: &str = "Leave, ok, ok, phx_error token, room_removed token, phx_close";
/// The same, where it waits.
const PARKED: &str = "ok, parked";

/// A connection here, and the home of a room on the other shard.
struct Sides {
    conn: ConnKey,
    topic: String,
    /// As the home knows it from the last join.
    audience: AudienceKey,
    slot: u32,
}

impl Default for Sides {
    fn default() -> Self {
        let topic = of_room(&World::room(1));
        Self { conn: ConnKey::NONE, topic, audience: Key::from_u64(9 << 32), slot: 0 }
    }
}

impl Sides {
    fn say(&mut self, world: &mut World, event: &str, payload: &str) {
        let topic = &self.topic;
        world.say(self.conn, &format!(r#"["1","9","{topic}","{event}",{payload}]"#));
        if !world.net.sent.is_empty()
            && let Received::ToHome(ToHome::Join { audience, .. }) = read(&world.net.sent)
        {
            self.audience = audience;
        }
    }
}

impl Machine for Sides {
    type State = At;
    type Event = Event;

    fn way(state: At) -> &'static [Event] {
        match state {
            At::None => &[],
            At::Joining => &[Event::Join],
            At::Joined => &[Event::Join, Event::TakenIn],
            At::Rejoining => &[Event::Join, Event::TakenIn, Event::Join],
            At::Leaving => &[Event::Join, Event::TakenIn, Event::Leave],
            At::LeavingUnheard => &[Event::Join, Event::TakenIn, Event::Leave, Event::Evicted],
        }
    }

    fn happen(&mut self, world: &mut World, event: Event) {
        if self.conn == ConnKey::NONE {
            self.conn = world.take_over();
        }
        let (conn, audience) = (self.conn, self.audience);
        match event {
            Event::Join => self.say(world, "phx_join", "{}"),
            Event::Leave => self.say(world, "phx_leave", "{}"),
            Event::Push => self.say(world, "new_msg", r#"{"body":"x"}"#),
            Event::Crash => self.say(world, "phx_other", "{}"),
            Event::Forbidden => {
                let frames = [
                    r#"["2","2","lobby","phx_join",{}]"#,
                    r#"["2","3","lobby","access_token",{"token":"ann nowhere"}]"#,
                ];
                let frames = frames.map(|text| frame(Opcode::Text, text.as_bytes()));
                world.receive(conn, &frames.concat());
            }
            Event::TakenIn => {
                self.slot += 1;
                let (home, slot) = (Key::from_u64(1 << 32), Slot(self.slot));
                world.hear(ToMember::Joined { conn, audience, home, slot, response: "{}" });
            }
            Event::Refused => {
                let response = r#"{"reason":"busy"}"#;
                world.hear(ToMember::Refused { conn, audience, response });
            }
            Event::LetGo => {
                let (slot, reference) = (Slot(self.slot), "\"9\"");
                world.hear(ToMember::Left { conn, audience, slot, reference });
            }
            Event::PutOut => {
                let (slot, payload) = (Slot(self.slot), r#"{"reason":"banned"}"#);
                let may_return = false;
                world.hear(ToMember::Removed { conn, audience, slot, may_return, payload });
            }
            Event::Evicted => world.hear(ToMember::Ended { audience, reason: "turned" }),
            Event::Restarted => world.hear_restart(),
            Event::HungUp => world.with(|shard, turn| shard.hung_up(turn, conn)),
        }
        world.note_parked(conn);
    }

    fn state(&self, world: &mut World) -> At {
        At::of(world.shard.members.state(self.conn, &self.topic))
    }
}

#[test]
fn a_channel_goes_where_its_table_says() {
    let source = include_str!("../../member/channels.rs");
    check::<Sides>(source, (At::ALL, Event::ALL), TABLE);
}
