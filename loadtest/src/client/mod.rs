//! The tool's own client: it shares no code with any server it measures, so it is a second opinion
//! on their bytes.

pub(crate) mod dialect;
pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod stamp;
pub(crate) mod target;
