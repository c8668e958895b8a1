//! Numbers: the clock, spans of time as people write them, and conversions that cannot go wrong
//! silently.
//!
//! All times are nanoseconds of the system's monotonic clock, which all processes of the machine
//! share: a message stamped by one process can be measured by another.

use std::fmt;
use std::str::FromStr;

use rustix::time::{ClockId, Timespec, clock_gettime};
use serde::{Deserialize, Serialize};

/// Nanoseconds in a second.
pub(crate) const SECOND_NS: u64 = 1_000_000_000;

/// Now, in nanoseconds of the monotonic clock.
pub(crate) fn now_ns() -> u64 {
    nanoseconds(clock_gettime(ClockId::Monotonic))
}

/// A clock's time as one number. The clocks used here are never negative.
pub(crate) fn nanoseconds(time: Timespec) -> u64 {
    u64::try_from(time.tv_sec).unwrap_or(0) * SECOND_NS + u64::try_from(time.tv_nsec).unwrap_or(0)
}

/// A count as an index. This tool runs on 64-bit Linux alone.
pub(crate) fn at(index: u32) -> usize {
    usize::try_from(index).expect("a 32-bit number fits a pointer")
}

/// A length as a 32-bit number; a longer one is the largest.
pub(crate) fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// A length as a 64-bit number.
pub(crate) fn count64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

/// A number for arithmetic on figures; exact up to 2^53.
#[expect(clippy::cast_precision_loss, reason = "figures for people; none is near 2^53")]
pub(crate) fn real(number: u64) -> f64 {
    number as f64
}

/// A non-negative figure back as a whole number, rounded; what is not a number is 0.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "clamped, and `as` saturates"
)]
pub(crate) fn whole(figure: f64) -> u64 {
    figure.max(0.0).round() as u64
}

/// A span of time as given on the command line: `250us`, `20ms`, `10s`, `2m`; a bare number is
/// seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Span(pub(crate) u64);

/// The longest span that is taken, in nanoseconds: sums of a few stay far from the end of 64 bits.
const LONGEST_SPAN_NS: u64 = 365 * 24 * 3_600 * SECOND_NS;

impl Span {
    /// The span in seconds.
    pub(crate) fn seconds(self) -> f64 {
        real(self.0) / 1e9
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: f64 =
            number.parse().map_err(|_| format!("`{text}` is not a time such as 20ms or 10s"))?;
        let scale = match unit.trim() {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "" | "s" => 1e9,
            "m" | "min" => 60e9,
            other => {
                return Err(format!("`{other}` is not a unit of time; use ns, us, ms, s or m"));
            }
        };
        if number * scale > real(LONGEST_SPAN_NS) {
            return Err(format!("`{text}` is too long; at most 365 days"));
        }
        Ok(Self(whole(number * scale)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", time_text(self.0))
    }
}

/// A time for people: three digits and a unit.
pub(crate) fn time_text(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (real(ns) / 1e3, "µs"),
        1_000_000..1_000_000_000 => (real(ns) / 1e6, "ms"),
        _ => (real(ns) / 1e9, "s"),
    };
    format!("{} {unit}", three_digits(value))
}

/// A figure with three significant digits, and none after the point from 100 on.
pub(crate) fn three_digits(value: f64) -> String {
    let decimals = match value.abs() {
        v if v >= 99.95 => 0,
        v if v >= 9.995 => 1,
        v if v >= 0.9995 || v == 0.0 => 2,
        _ => 3,
    };
    format!("{value:.decimals$}")
}

/// A whole number with thin groups of three: `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes for people, in powers of 1,000 as the rest of the report.
pub(crate) fn bytes_text(bytes: f64) -> String {
    match bytes.abs() {
        b if b >= 1e9 => format!("{} GB", three_digits(bytes / 1e9)),
        b if b >= 1e6 => format!("{} MB", three_digits(bytes / 1e6)),
        b if b >= 1e4 => format!("{} kB", three_digits(bytes / 1e3)),
        _ => format!("{bytes:.0} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_with_its_unit_and_seconds_are_the_default() {
        for (text, ns) in [
            ("250us", 250_000),
            ("20ms", 20_000_000),
            ("1.5s", 1_500_000_000),
            ("2m", 120 * SECOND_NS),
            ("3", 3 * SECOND_NS),
        ] {
            assert_eq!(text.parse(), Ok(Span(ns)), "{text}");
        }
        assert!("ten".parse::<Span>().is_err());
        assert!("99999999999999999999s".parse::<Span>().unwrap_err().contains("at most"));
        assert!("10 parsecs".parse::<Span>().is_err());
    }

    #[test]
    fn numbers_are_told_with_three_digits_and_groups() {
        assert_eq!(time_text(1_234_567), "1.23 ms");
        assert_eq!(time_text(999), "999 ns");
        assert_eq!(three_digits(123.4), "123");
        assert_eq!(grouped(1_234_567), "1,234,567");
        assert_eq!(grouped(999), "999");
    }
}
