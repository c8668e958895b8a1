//! Who somebody is and what a token allows. **Nothing here knows of rooms, sockets or clocks**;
//! times are numbers passed in.
//!
//! ```text
//!   token (text) ── token::Verifier ── Claims ── identity::Identity: user, name, rights, expiry
//!                                                 └ level::Level, by pattern of room
//!   invite (text) ── invite::Inviter ── Invite
//! ```

pub mod identity;
pub mod invite;
pub mod level;
pub mod token;
