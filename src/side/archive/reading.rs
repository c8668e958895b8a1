//! What is found in the archive for a question.
//!
//! All statements of an answer look at one state of the database. Each finds what it looks for by
//! an index, and no more than a page needs; what takes too long is given up by the database.
//!
//! Deliberately absent: what the engine has of it (`side::engine::older`).

use std::fmt::Write as _;

use tokio_postgres::types::ToSql;
use tokio_postgres::{IsolationLevel, Transaction};

use super::database::{DatabaseError, Line};
use super::plan::cut;
use super::writing::number;
use crate::base::words::words;
use crate::limits::ARCHIVE_READ_MESSAGES_MAX;
use crate::link::log::{Marks, Part, View, Wanted};
use crate::link::said::Replies;
use crate::side::engine::older::{Found, Question, Row, What, Words};

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
