//! The `date` header (RFC 9110, 5.6.7 and 6.6.1): `Sun, 06 Nov 1994 08:49:37 GMT`, and times for
//! people and for names of files.
//!
//! Deliberately absent: reading dates. What we serve has an `ETag`.

/// How long a date is, in bytes.
pub const DATE_BYTES: usize = 29;

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb"];

/// A time in the form that HTTP prescribes. Years after 9999 lose their first digits.
#[must_use]
pub fn http_date(unix_ms: u64) -> [u8; DATE_BYTES] {
    let seconds = unix_ms / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut date = *b"Thu, 01 Jan 1970 00:00:00 GMT";
    date[..3].copy_from_slice(DAYS[index(days % 7)].as_bytes());
    digits(&mut date[5..7], day);
    date[8..11].copy_from_slice(MONTHS[index(month)].as_bytes());
    digits(&mut date[12..16], year);
    digits(&mut date[17..19], second / 3_600);
    digits(&mut date[20..22], second / 60 % 60);
    digits(&mut date[23..25], second % 60);
    date
}

/// How long a time in the form of RFC 3339 is, in bytes.
pub const TIME_BYTES: usize = 20;

/// A time as RFC 3339 has it: `2026-11-28T19:30:00Z`. Years after 9999 lose their first digits.
#[must_use]
pub fn rfc3339(unix_ms: u64) -> [u8; TIME_BYTES] {
    let seconds = unix_ms / 1_000;
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    let mut time = *b"1970-01-01T00:00:00Z";
    digits(&mut time[..4], year);
    digits(&mut time[5..7], (month + 2) % 12 + 1);
    digits(&mut time[8..10], day);
    digits(&mut time[11..13], second / 3_600);
    digits(&mut time[14..16], second / 60 % 60);
    digits(&mut time[17..19], second % 60);
    time
}

/// A time for names of files, in which `:` is not everywhere allowed: `20261128T193000Z`, the basic
/// form of ISO 8601. In the order of names it is in that of times.
#[must_use]
pub fn for_file_names(unix_ms: u64) -> String {
    let time = rfc3339(unix_ms).escape_ascii().to_string();
    time.replace(['-', ':'], "")
}

/// Year, month (0 is March) and day of a day since 1970.
///
/// Years are counted from March here, so that the leap day is a year's last. Then every five months
/// from March on have 153 days, and the calendar repeats after 400 years of 146,097 days.
const fn civil(days: u64) -> (u64, u64, u64) {
    /// From 0000-03-01 to 1970-01-01.
    const EPOCH: u64 = 719_468;
    let days = days + EPOCH;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day_of_month = day - (153 * month + 2) / 5 + 1;
    // January and February belong to the civil year after.
    (400 * era + year + (month / 10), month, day_of_month)
}

fn digits(into: &mut [u8], mut number: u64) {
    for place in into.iter_mut().rev() {
        *place = b"0123456789"[index(number % 10)];
        number /= 10;
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a remainder, which is small")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(unix_s: u64, expected: &str) {
        assert_eq!(http_date(unix_s * 1_000 + 999).escape_ascii().to_string(), expected);
    }

    #[test]
    fn dates_are_those_that_others_print() {
        check(0, "Thu, 01 Jan 1970 00:00:00 GMT");
        check(784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT");
        check(951_782_399, "Mon, 28 Feb 2000 23:59:59 GMT");
        check(951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT");
        check(951_868_800, "Wed, 01 Mar 2000 00:00:00 GMT");
        check(1_795_336_170, "Sun, 22 Nov 2026 08:29:30 GMT");
        check(1_709_164_800, "Thu, 29 Feb 2024 00:00:00 GMT");
        check(4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT");
        check(253_402_300_799, "Fri, 31 Dec 9999 23:59:59 GMT");
    }

    #[test]
    fn times_are_those_that_others_print() {
        for (unix_s, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_336_170, "2026-11-22T08:29:30Z"),
            (1_798_761_599, "2026-12-31T23:59:59Z"),
            (1_798_761_600, "2027-01-01T00:00:00Z"),
        ] {
            let time = rfc3339(unix_s * 1_000 + 999);
            assert_eq!(time.escape_ascii().to_string(), expected);
        }
    }

    #[test]
    fn every_day_of_800_years_follows_the_one_before() {
        let leap = |year: u64| {
            year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
        };
        let (mut year, mut month, mut day) = (1970, 10, 1);
        for days in 0..292_194 {
            assert_eq!(civil(days), (year, month, day), "day {days}");
            let last = match MONTHS[index(month)] {
                "Feb" if leap(year) => 29,
                "Feb" => 28,
                "Apr" | "Jun" | "Sep" | "Nov" => 30,
                _ => 31,
            };
            day += 1;
            if day > last {
                (month, day) = ((month + 1) % 12, 1);
                year += u64::from(month == 10);
            }
        }
    }

    #[test]
    fn no_time_is_too_late() {
        assert_eq!(http_date(u64::MAX).len(), DATE_BYTES);
    }
}
