//! Logs: one event a line, `key=value`, on standard error.
//!
//! ```text
//! time=2026-11-22T19:24:00.123456Z level=info from=chinwag::app msg=listening addr=127.0.0.1:4000
//! ```
//!
//! Whatever an event brings, a line stays a line: values with anything unusual in them are quoted
//! and escaped, and long ones are cut. So a peer cannot write lines of its own, colour the terminal
//! or fill the disk. A thread of its own writes them: whoever reads standard error and does not
//! read on holds up nobody who has something to say. Deliberately absent: spans, colours, rotation
//! (that is for whatever reads standard error).

use std::fmt::{self, Write};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

/// The most of a value that is logged, in characters.
const VALUE_CHARS_MAX: usize = 256;

/// How many lines may wait to be written. Those that come then are lost.
const LINES_MAX: usize = 1_024;

/// Starts logging, for the whole process, until what this gives is let go of: that waits for what
/// has not been written, a second at most. A second call changes nothing.
pub fn start(level: Level) -> WorkerGuard {
    let lines = NonBlockingBuilder::default()
        .buffered_lines_limit(LINES_MAX)
        .lossy(true)
        .thread_name("log");
    let (writer, written) = lines.finish(std::io::stderr());
    // It fails only where somebody else has already started it, and then there is a log.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(writer)
        // A full disk, or whoever read the log and has gone: a line is lost, and nothing else.
        // Saying so in its place would fail as well.
        .log_internal_errors(false)
        .event_format(Lines { timer: SystemTime })
        .try_init();
    written
}

struct Lines<T> {
    timer: T,
}

impl<S, N, T> FormatEvent<S, N> for Lines<T>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    T: FormatTime,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str("time=")?;
        self.timer.format_time(&mut writer)?;
        let level = match *event.metadata().level() {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        write!(writer, " level={level} from={}", event.metadata().target())?;
        let mut pairs = Pairs { writer: &mut writer, result: Ok(()) };
        event.record(&mut pairs);
        pairs.result?;
        writer.write_char('\n')
    }
}

/// Writes fields as they come; the first failure stays.
struct Pairs<'a, 'w> {
    writer: &'a mut Writer<'w>,
    result: fmt::Result,
}

impl Visit for Pairs<'_, '_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        let name = if field.name() == "message" { "msg" } else { field.name() };
        self.result = self
            .result
            .and_then(|()| write!(self.writer, " {name}="))
            .and_then(|()| write_value(self.writer, value));
    }
}

fn write_value(writer: &mut impl Write, value: &str) -> fmt::Result {
    let is_plain = |c: char| (c.is_ascii_graphic() && !"\"=\\".contains(c)) || c.is_alphanumeric();
    if !value.is_empty() && value.len() <= VALUE_CHARS_MAX && value.chars().all(is_plain) {
        return writer.write_str(value);
    }
    writer.write_char('"')?;
    for c in value.chars().take(VALUE_CHARS_MAX) {
        // It escapes quotes, controls, and what would change the direction of the text around it.
        match c {
            '\'' => writer.write_char(c)?,
            _ => write!(writer, "{}", c.escape_debug())?,
        }
    }
    if value.chars().nth(VALUE_CHARS_MAX).is_some() {
        writer.write_str("...")?;
    }
    writer.write_char('"')
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Everything that `work` logs at `level`.
    fn logged(level: Level, work: impl FnOnce()) -> String {
        let buffer = Buffer::default();
        let writer = buffer.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_writer(move || writer.clone())
            .event_format(Lines { timer: () })
            .finish();
        tracing::subscriber::with_default(subscriber, work);
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn an_event_is_a_line_of_pairs() {
        let log = logged(Level::INFO, || {
            tracing::info!(addr = %"127.0.0.1:4000", shards = 2_u32, ready = true, "listening");
            tracing::warn!("two words");
            tracing::debug!("unheard");
        });
        assert_eq!(
            log,
            "time= level=info from=chinwag::app::log::tests msg=listening addr=127.0.0.1:4000 shards=2 ready=true\n\
             time= level=warn from=chinwag::app::log::tests msg=\"two words\"\n"
        );
    }

    #[track_caller]
    fn check(value: &str, expected: &str) {
        let mut text = String::new();
        write_value(&mut text, value).unwrap();
        assert_eq!(text, expected);
        let log = logged(Level::INFO, || tracing::info!(value, shown = %value, debugged = ?value));
        assert_eq!(log.lines().count(), 1, "{log}");
        assert!(log.contains(&format!(" value={expected} shown={expected} ")), "{log}");
    }

    #[test]
    fn nothing_in_a_value_can_break_its_line() {
        check("plain-é_1:/?&'", "plain-é_1:/?&'");
        check("", "\"\"");
        check("a b", "\"a b\"");
        check("a=b", "\"a=b\"");
        check("x\nlevel=error msg=\"forged\"", "\"x\\nlevel=error msg=\\\"forged\\\"\"");
        check("\u{1b}[2J\0", "\"\\u{1b}[2J\\0\"");
        check("a\u{202e}b", "\"a\\u{202e}b\"");
        check("it's \\", "\"it's \\\\\"");
    }

    #[test]
    fn a_long_value_is_cut() {
        check(&"x".repeat(VALUE_CHARS_MAX), &"x".repeat(VALUE_CHARS_MAX));
        check(&"x".repeat(10_000), &format!("\"{}...\"", "x".repeat(VALUE_CHARS_MAX)));
        check(&"é".repeat(VALUE_CHARS_MAX), &format!("\"{}\"", "é".repeat(VALUE_CHARS_MAX)));
    }
}
