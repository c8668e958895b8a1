//! What is found in the archive for a question.
//!
//! All statements of an answer look at one state of the database. Each finds what it looks for by
//! an index, and no more than a page needs; what takes too long is given up by the database. What
//! is too old, or too much, is looked for in as many statements as that takes.
//!
//! Deliberately absent: what the engine has of it (`side::engine::older`).

use std::fmt::Write as _;

use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Transaction};

use super::database::{DatabaseError, Line};
use super::plan::cut;
use super::writing::number;
use crate::base::words::words;
use crate::limits::{ARCHIVE_LOOKED_AT_AT_ONCE, ARCHIVE_READ_MESSAGES_MAX, ARCHIVE_SUMMED_AT_ONCE};
use crate::link::log::{Marks, Part, View, Wanted};
use crate::link::said::Replies;
use crate::side::engine::older::{Found, Question, Row, What, Words};
use crate::side::engine::retention::Cut;
use crate::side::engine::written::{read_archived, warned};

/// What was found; `None`, if the archive is of another epoch yet.
pub(super) async fn find(
    line: &mut Line,
    question: &Question,
) -> Result<Option<Found>, DatabaseError> {
    let look = line
        .client
        .build_transaction()
        .read_only(true)
        .isolation_level(IsolationLevel::RepeatableRead)
        .start()
        .await?;
    let asked = "SELECT id, epoch, last, last_change FROM chinwag_room \
                 WHERE topic = $1 AND is_present";
    let Some(room) = look.query_opt(asked, &[&&*question.topic]).await? else {
        return Ok(Some(Found::default()));
    };
    if number(&room, 1) != question.epoch {
        return Ok(None);
    }
    let id: i64 = room.get(0);
    let upto = Marks { offset: number(&room, 2), change: number(&room, 3) };
    let mut found = Found { upto, ..Found::default() };
    match &question.what {
        What::Page(wanted) => page(&look, id, *wanted, &mut found).await?,
        What::Words(words) => hits(&look, id, words, &mut found).await?,
        What::Oldest { before_ms, cut } => {
            let of = Of { look: &look, id, topic: &question.topic };
            found.cut = Some(of.oldest(*before_ms, *cut, upto.offset).await?);
        }
    }
    count_replies(&look, id, &mut found).await?;
    look.commit().await?;
    Ok(Some(found))
}

/// A number as the database has it, which no offset is beyond.
fn bound(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

async fn rows(
    look: &Transaction<'_>,
    which: &str,
    params: &[&(dyn ToSql + Sync)],
    found: &mut Found,
) -> Result<usize, DatabaseError> {
    let asked = format!("SELECT \"offset\", change, record FROM chinwag_message WHERE {which}");
    let rows = look.query(&asked, params).await?;
    found.rows.extend(rows.iter().map(|row| Row {
        offset: number(row, 0),
        change: number(row, 1),
        record: row.get(2),
    }));
    Ok(rows.len())
}

async fn page(
    look: &Transaction<'_>,
    id: i64,
    wanted: Wanted,
    found: &mut Found,
) -> Result<(), DatabaseError> {
    let Wanted { after, upto, part, messages, changed, view, .. } = wanted;
    let limit = i64::from(messages.min(ARCHIVE_READ_MESSAGES_MAX)) + 1;
    let (first, last) = (bound(after), bound(upto));
    let order = if part == Part::Newest { "DESC" } else { "ASC" };
    let range = "room = $1 AND \"offset\" > $2 AND \"offset\" <= $3";
    let end = format!("ORDER BY \"offset\" {order} LIMIT $4");
    match (view, part) {
        (View::Room, Part::Around(middle)) => {
            let middle = bound(middle);
            let before = format!("{range} ORDER BY \"offset\" DESC LIMIT $4");
            rows(look, &before, &[&id, &first, &last.min(middle), &limit], found).await?;
            let behind = format!("{range} ORDER BY \"offset\" LIMIT $4");
            rows(look, &behind, &[&id, &first.max(middle), &last, &limit], found).await?;
        }
        (View::Room, _) => {
            rows(look, &format!("{range} {end}"), &[&id, &first, &last, &limit], found).await?;
        }
        (View::Thread(root), _) => {
            let root = bound(root);
            let replies = format!("{range} AND thread = $5 {end}");
            rows(look, &replies, &[&id, &first, &last, &limit, &root], found).await?;
            let begins = format!("{range} AND \"offset\" = $4");
            rows(look, &begins, &[&id, &first, &last, &root], found).await?;
        }
        (View::Pins, _) => {
            let pins = format!("{range} AND is_pinned {end}");
            rows(look, &pins, &[&id, &first, &last, &limit], found).await?;
        }
    }
    if let Some(behind) = changed {
        let which = "room = $1 AND change > $2 AND change > 0 AND \"offset\" <= $3 \
                     ORDER BY change LIMIT $4";
        let limit = i64::from(ARCHIVE_READ_MESSAGES_MAX);
        let count = rows(look, which, &[&id, &bound(behind), &first, &limit], found).await?;
        found.is_cut = count == ARCHIVE_READ_MESSAGES_MAX as usize;
    }
    found.rows.sort_unstable_by_key(|row| row.offset);
    found.rows.dedup_by_key(|row| row.offset);
    Ok(())
}

/// A room that is looked at for what is too old.
struct Of<'a> {
    look: &'a Transaction<'a>,
    id: i64,
    topic: &'a str,
}

impl Of<'_> {
    /// Up to where it lets go of messages, the last of which in the archive is this one: those that
    /// were said before a time, and those that go by what the engine has.
    async fn oldest(&self, before_ms: u64, cut: Cut, last: u64) -> Result<Cut, DatabaseError> {
        let mut upto = cut.upto;
        // Times of a room never decrease. Those that cannot be read are as those behind them.
        let (mut low, mut high) = (upto.offset, last);
        while low < high {
            let middle = low + (high - low).div_ceil(2);
            match self.first_from(middle, high).await? {
                Some((offset, at_ms)) if at_ms < before_ms => low = offset,
                _ => high = middle - 1,
            }
        }
        upto.offset = low;
        if let Some(bytes) = cut.bytes_left {
            upto.offset = self.last_beyond(bytes, upto.offset, cut.first).await?;
        }
        let changed = "SELECT change FROM chinwag_message WHERE room = $1 AND change > 0 \
                       AND \"offset\" <= $2 ORDER BY change DESC LIMIT 1";
        let changed = self.look.query_opt(changed, &[&self.id, &bound(upto.offset)]).await?;
        upto.change = upto.change.max(changed.map_or(0, |row| number(&row, 0)));
        let left = self.first_from(upto.offset + 1, last).await?;
        Ok(Cut { upto, oldest_ms: left.map(|(_, at_ms)| at_ms), ..cut })
    }

    /// The last message behind `after` with which those up to `before` take more than so many
    /// bytes; `after`, if all of them fit.
    async fn last_beyond(
        &self,
        mut bytes: u64,
        after: u64,
        mut before: u64,
    ) -> Result<u64, DatabaseError> {
        let part = "SELECT coalesce(max(o) FILTER (WHERE bytes > $4), 0), coalesce(min(o), 0), \
                    coalesce(max(bytes), 0)::bigint FROM (SELECT \"offset\" AS o, \
                    sum(octet_length(record)) OVER (ORDER BY \"offset\" DESC) AS bytes FROM \
                    (SELECT \"offset\", record FROM chinwag_message WHERE room = $1 \
                    AND \"offset\" > $2 AND \"offset\" < $3 ORDER BY \"offset\" DESC LIMIT $5) \
                    AS part) AS summed";
        while before > after + 1 {
            let (from, upto, left) = (bound(after), bound(before), bound(bytes));
            let params: [&(dyn ToSql + Sync); 5] =
                [&self.id, &from, &upto, &left, &ARCHIVE_SUMMED_AT_ONCE];
            let row = self.look.query_one(part, &params).await?;
            let [beyond, first, sum] = [0, 1, 2].map(|column| number(&row, column));
            if beyond > 0 || first == 0 {
                return Ok(beyond.max(after));
            }
            (before, bytes) = (first, bytes.saturating_sub(sum));
        }
        Ok(after)
    }

    /// The first message of some that can be read, and when it was said.
    async fn first_from(
        &self,
        mut first: u64,
        last: u64,
    ) -> Result<Option<(u64, u64)>, DatabaseError> {
        let asked = "SELECT \"offset\", record FROM chinwag_message WHERE room = $1 \
                     AND \"offset\" BETWEEN $2 AND $3 AND record IS NOT NULL \
                     ORDER BY \"offset\" LIMIT $4";
        // Nearly always the first one can be. Of others the log says nothing more.
        let (mut limit, mut is_told) = (1, true);
        loop {
            let params: [&(dyn ToSql + Sync); 4] = [&self.id, &bound(first), &bound(last), &limit];
            let rows = self.look.query(asked, &params).await?;
            let rows = rows.iter().map(|row| (number(row, 0), row.get(1)));
            match first_readable(self.topic, rows, is_told) {
                Ok(found) => return Ok(Some(found)),
                Err(None) => return Ok(None),
                Err(Some(behind)) => first = behind + 1,
            }
            (limit, is_told) = (ARCHIVE_LOOKED_AT_AT_ONCE, false);
        }
    }
}

/// The first message of these that can be read, and when it was said. Whether the log is told why
/// others cannot be.
///
/// # Errors
///
/// If none can be: the last one that was looked at, unless there is none.
fn first_readable<'a>(
    topic: &str,
    rows: impl Iterator<Item = (u64, &'a [u8])>,
    is_told: bool,
) -> Result<(u64, u64), Option<u64>> {
    let mut last = None;
    for (offset, record) in rows {
        let read = read_archived(topic, offset, record);
        if let Some(told) = if is_told { warned(read) } else { read.ok() } {
            return Ok((offset, told.said_ms));
        }
        last = Some(offset);
    }
    Err(last)
}

async fn hits(
    look: &Transaction<'_>,
    id: i64,
    wanted: &Words,
    found: &mut Found,
) -> Result<(), DatabaseError> {
    let Some(query) = query_of(id, &wanted.query) else { return Ok(()) };
    let (before, limit) = (bound(wanted.before), i64::from(wanted.messages) + 1);
    let from = wanted.from.as_deref();
    let which = "room = $1 AND words @@ $2::text::tsquery AND \"offset\" < $3 \
                 AND ($4::text IS NULL OR author = $4) ORDER BY \"offset\" DESC LIMIT $5";
    rows(look, which, &[&id, &query, &before, &from, &limit], found).await?;
    Ok(())
}

/// All words, and of the last one the beginning; `None`, if there is none.
fn query_of(id: i64, query: &str) -> Option<String> {
    let mut all = String::new();
    for word in words(query) {
        if !all.is_empty() {
            all.push_str(" & ");
        }
        // Writing to a string cannot fail. Letters and digits are no syntax.
        let _ = write!(all, "'{id}:{}'", cut(&word));
    }
    (!all.is_empty()).then(|| all + ":*")
}

/// Counts the answers to messages that were found, as far as they are here.
async fn count_replies(
    look: &Transaction<'_>,
    id: i64,
    found: &mut Found,
) -> Result<(), DatabaseError> {
    let offsets: Vec<i64> = found.rows.iter().map(|row| bound(row.offset)).collect();
    if offsets.is_empty() {
        return Ok(());
    }
    let asked = "SELECT thread, count(*), max(\"offset\") FROM chinwag_message \
                 WHERE room = $1 AND thread = ANY($2) AND \"offset\" <= $3 GROUP BY thread";
    let counted = look.query(asked, &[&id, &offsets, &bound(found.upto.offset)]).await?;
    let replies = counted
        .iter()
        .map(|row| (number(row, 0), Replies { count: number(row, 1), last: number(row, 2) }));
    found.replies = replies.collect();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::said::{Fate, Said};
    use crate::side::engine::written::Writer;

    #[test]
    fn what_cannot_be_read_is_gone_over_to_what_can() {
        let writer = Writer { topic: "room:tea", node: 7, shard: 3 };
        let said = Said { user: "ann", name: "Ann", body: "\"tea\"", ..Said::default() };
        let tea = |offset| (offset, writer.archived(offset, 5_000, said, Fate::default()));
        let unknown = |offset| (offset, vec![0]);
        let found = |rows: &[(u64, Vec<u8>)]| {
            let rows = rows.iter().map(|(offset, record)| (*offset, &**record));
            first_readable("room:tea", rows, true)
        };
        assert_eq!(found(&[tea(3), tea(4)]), Ok((3, 5_000)));
        assert_eq!(found(&[unknown(3), unknown(4), tea(6)]), Ok((6, 5_000)));
        assert_eq!(found(&[unknown(3), unknown(4)]), Err(Some(4)));
        assert_eq!(found(&[]), Err(None));
    }

    #[test]
    fn nothing_in_a_query_is_syntax() {
        for (query, expected) in [
            ("tea", Some("'7:tea':*")),
            ("Tea at five", Some("'7:tea' & '7:at' & '7:five':*")),
            ("it's \\ & | ! <-> (a:*)", Some("'7:it' & '7:s' & '7:a':*")),
            ("' \\", None),
            ("", None),
        ] {
            assert_eq!(query_of(7, query).as_deref(), expected, "{query}");
        }
    }
}
