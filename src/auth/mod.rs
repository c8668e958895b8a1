//! Who somebody is and what a token allows. **Nothing here knows of rooms, sockets or clocks**;
//! times are numbers passed in.
//!
//! ```text
//!   token (text) ── token::Verifier ── Claims ── identity::Identity: user, name, rights, expiry
//!                                                 └ level::Level, by pattern of room
//!   invite (text) ── invite::Inviter ── Invite
//!   session (text) ── session::SessionSigner ── whether a node of ours has signed it
//!   secret (text) ── secret::weakness ── why it is none of a generator's
//! ```

pub mod identity;
pub mod invite;
pub mod level;
pub mod secret;
pub mod session;
pub mod token;
