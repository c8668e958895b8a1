//! Time as plain numbers, passed in. Only the reactor reads clocks.

/// The two clocks of one turn of a shard's loop, read once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since some start that stays the same: for timers and rates. Never goes back.
    pub mono_ms: u64,
    /// Milliseconds since 1970 (Unix time): for what people see and for what tokens say. May jump
    /// when somebody sets the clock.
    pub unix_ms: u64,
}
