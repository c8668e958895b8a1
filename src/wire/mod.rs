//! Wire formats as pure functions over bytes. **Nothing here knows of sockets, rooms or clocks.**

pub mod http;
pub mod json;
pub mod phx;
pub mod proxy;
pub mod ws;
