//! One transaction of what is written: rooms, each with its messages and its place.
//!
//! The row of a room is locked first, and compared: a writer that has read it before another one
//! wrote finds it elsewhere, and writes nothing of it.
//!
//! Deliberately absent: what is written of a room (`plan`).

use std::collections::HashMap;
use std::fmt::Write as _;

use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Row as SqlRow, Transaction};

use super::database::{DatabaseError, Line};
use super::plan::{Begin, Place, Plan, Row};
use crate::limits::{ARCHIVE_BEFORE_S, ARCHIVE_DELETED_AT_ONCE};
use crate::link::log::Marks;

/// How many messages are looked at together that a turn may have taken back.
const TAKEN_BACK_MAX: i64 = 10_000;

/// A number as the database has it: epochs use all bits.
fn stored(number: u64) -> i64 {
    number.cast_signed()
}

/// A number of the database.
pub(super) fn number(row: &SqlRow, at: usize) -> u64 {
    row.get::<_, i64>(at).cast_unsigned()
}

/// Where rooms stand that the archive has.
pub(super) async fn places(
    line: &Line,
    topics: &[Box<str>],
) -> Result<HashMap<Box<str>, Place>, DatabaseError> {
    let topics: Vec<&str> = topics.iter().map(|topic| &**topic).collect();
    let asked = "SELECT topic, id, epoch, last, last_change, floor, floor_change, \
                 ARRAY(SELECT era.epoch FROM chinwag_era AS era WHERE era.room = id) \
                 FROM chinwag_room WHERE topic = ANY($1) AND is_present";
    let rows = line.client.query(asked, &[&topics]).await?;
    let place = |row: &SqlRow| Place {
        id: row.get(1),
        epoch: number(row, 2),
        last: Marks { offset: number(row, 3), change: number(row, 4) },
        floor: Marks { offset: number(row, 5), change: number(row, 6) },
        eras: row.get::<_, Vec<i64>>(7).into_iter().map(i64::cast_unsigned).collect(),
    };
    Ok(rows.iter().map(|row| (row.get::<_, &str>(0).into(), place(row))).collect())
}

/// The messages of a room that a turn may have made other ones, up to a bound.
pub(super) async fn taken_back(
    line: &Line,
    place: &Place,
    kept: Marks,
) -> Result<Vec<u64>, DatabaseError> {
    let asked = "SELECT \"offset\" FROM chinwag_message WHERE room = $1 AND change > $2 \
                 AND change > 0 AND \"offset\" <= $3 AND NOT is_deleted LIMIT $4";
    let (change, offset) = (stored(kept.change), stored(kept.offset));
    let rows = line.client.query(asked, &[&place.id, &change, &offset, &TAKEN_BACK_MAX]).await?;
    Ok(rows.iter().map(|row| number(row, 0)).collect())
}

/// What has become of a room that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    /// It is.
    Yes,
    /// It is, but for messages that it has let go of and that are to be deleted.
    InPart,
    /// Somebody else has written it since it was read.
    No,
}

/// Writes rooms, all or none.
pub(super) async fn write(line: &mut Line, plans: &[&Plan]) -> Result<Vec<Written>, DatabaseError> {
    let change = line.client.transaction().await?;
    let mut written = Vec::with_capacity(plans.len());
    for plan in plans {
        written.push(write_room(&change, plan).await?);
    }
    change.commit().await?;
    Ok(written)
}

async fn write_room(change: &Transaction<'_>, plan: &Plan) -> Result<Written, DatabaseError> {
    let Some(id) = locked(change, plan).await? else { return Ok(Written::No) };
    if let Begin::Turned(kept) = plan.begin {
        take_back(change, id, kept).await?;
    }
    for (epoch, first) in &plan.eras {
        let note = "INSERT INTO chinwag_era(room, epoch, first, first_change) \
                    VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";
        let (epoch, offset) = (stored(*epoch), stored(first.offset));
        change.execute(note, &[&id, &epoch, &offset, &stored(first.change)]).await?;
    }
    write_rows(change, id, &plan.rows).await?;
    if let Begin::Turned(_) = plan.begin {
        // What they were is not known any more. They are told to nobody.
        let hide = "UPDATE chinwag_message SET change = 0 WHERE room = $1 AND change = -1";
        change.execute(hide, &[&id]).await?;
    }
    let note = "UPDATE chinwag_room SET epoch = $2, last = $3, last_change = $4, floor = $5, \
                floor_change = $6 WHERE id = $1";
    let Plan { epoch, upto, floor, .. } = plan;
    let [upto, floor] = [upto, floor].map(|of| (stored(of.offset), stored(of.change)));
    change.execute(note, &[&id, &stored(*epoch), &upto.0, &upto.1, &floor.0, &floor.1]).await?;
    let is_all = plan.gone == 0 || delete(change, id, plan.gone).await?;
    Ok(if is_all { Written::Yes } else { Written::InPart })
}

/// Deletes messages of a room up to an offset, and what they were, some at a time. Returns whether
/// none is left.
async fn delete(change: &Transaction<'_>, id: i64, upto: u64) -> Result<bool, DatabaseError> {
    let mut is_all = true;
    for table in ["chinwag_message", "chinwag_before"] {
        let delete = format!(
            "DELETE FROM {table} WHERE room = $1 AND \"offset\" <= $2 AND \"offset\" <= \
             (SELECT max(o) FROM (SELECT \"offset\" AS o FROM {table} WHERE room = $1 \
              ORDER BY \"offset\" LIMIT $3) AS first)"
        );
        let params: [&(dyn ToSql + Sync); 3] = [&id, &stored(upto), &ARCHIVE_DELETED_AT_ONCE];
        is_all &= change.execute(&delete, &params).await? < ARCHIVE_DELETED_AT_ONCE.unsigned_abs();
    }
    Ok(is_all)
}

/// The row of a room, which nobody else writes until all is done; `None`, if somebody has since it
/// was read.
async fn locked(change: &Transaction<'_>, plan: &Plan) -> Result<Option<i64>, DatabaseError> {
    let asked = "SELECT id, epoch, last, last_change FROM chinwag_room \
                 WHERE topic = $1 AND is_present FOR UPDATE";
    let there = change.query_opt(asked, &[&&*plan.topic]).await?;
    let there = there.map(|row| (row.get::<_, i64>(0), [1, 2, 3].map(|at| number(&row, at))));
    let read = plan.place.as_ref().map(|of| (of.id, [of.epoch, of.last.offset, of.last.change]));
    if there != read {
        return Ok(None);
    }
    if let (Some((id, _)), true) = (there, plan.begin != Begin::New) {
        return Ok(Some(id));
    }
    if let Some((id, _)) = there {
        tracing::warn!(
            topic = &*plan.topic,
            id,
            "the engine has begun a room anew that the archive has: that one is not read any more"
        );
        let retire = "UPDATE chinwag_room SET is_present = false WHERE id = $1";
        change.execute(retire, &[&id]).await?;
    }
    let begin = "INSERT INTO chinwag_room(topic, epoch, last, last_change, floor, floor_change) \
                VALUES ($1, $2, 0, 0, 0, 0) ON CONFLICT DO NOTHING RETURNING id";
    let made = change.query_opt(begin, &[&&*plan.topic, &stored(plan.epoch)]).await?;
    Ok(made.map(|row| row.get(0)))
}

/// Takes back what was written of a history that has ended otherwise. What is deleted stays so.
async fn take_back(change: &Transaction<'_>, id: i64, kept: Marks) -> Result<(), DatabaseError> {
    let (offset, kept) = (stored(kept.offset), stored(kept.change));
    change
        .execute("DELETE FROM chinwag_message WHERE room = $1 AND \"offset\" > $2", &[&id, &offset])
        .await?;
    let forget = "DELETE FROM chinwag_before WHERE room = $1 AND (\"offset\" > $2 OR change > $3)";
    change.execute(forget, &[&id, &offset, &kept]).await?;
    let stay = "UPDATE chinwag_message SET change = $2 \
                WHERE room = $1 AND change > $2 AND change > 0 AND is_deleted";
    change.execute(stay, &[&id, &kept]).await?;
    let hide = "UPDATE chinwag_message SET change = -1, is_pinned = false, record = NULL, \
                unread = NULL, words = NULL WHERE room = $1 AND change > $2 AND change > 0";
    change.execute(hide, &[&id, &kept]).await?;
    let restore = "UPDATE chinwag_message AS m SET change = b.change, is_pinned = b.is_pinned, \
                   record = b.record, words = b.words \
                   FROM (SELECT DISTINCT ON (\"offset\") * FROM chinwag_before WHERE room = $1 \
                         ORDER BY \"offset\", change DESC) AS b \
                   WHERE m.room = $1 AND m.\"offset\" = b.\"offset\" AND m.change = -1";
    change.execute(restore, &[&id]).await?;
    Ok(())
}

async fn write_rows(change: &Transaction<'_>, id: i64, rows: &[Row]) -> Result<(), DatabaseError> {
    if rows.is_empty() {
        return Ok(());
    }
    let offsets: Vec<i64> = rows.iter().map(|row| stored(row.offset)).collect();
    let changes: Vec<i64> = rows.iter().map(|row| stored(row.change)).collect();
    let deleted: Vec<bool> = rows.iter().map(|row| row.is_deleted).collect();
    if rows.iter().any(|row| row.change > 0) {
        let save = "INSERT INTO chinwag_before \
                    (room, \"offset\", change, is_pinned, thread, author, record, words) \
                    SELECT m.room, m.\"offset\", m.change, m.is_pinned, m.thread, m.author, \
                    m.record, m.words FROM chinwag_message AS m \
                    JOIN unnest($2::bigint[], $3::bigint[], $4::boolean[]) AS n(o, c, d) \
                    ON m.\"offset\" = n.o WHERE m.room = $1 AND m.change < n.c AND NOT n.d \
                    AND m.record IS NOT NULL AND NOT m.is_deleted ON CONFLICT DO NOTHING";
        change.execute(save, &[&id, &offsets, &changes, &deleted]).await?;
    }
    if deleted.contains(&true) {
        // Nothing of it is left.
        let gone: Vec<i64> =
            rows.iter().filter(|row| row.is_deleted).map(|row| stored(row.offset)).collect();
        let forget = "DELETE FROM chinwag_before WHERE room = $1 AND \"offset\" = ANY($2)";
        change.execute(forget, &[&id, &gone]).await?;
    }
    let pinned: Vec<bool> = rows.iter().map(|row| row.is_pinned).collect();
    let threads: Vec<Option<i64>> = rows.iter().map(|row| row.thread.map(stored)).collect();
    let authors: Vec<Option<&str>> = rows.iter().map(|row| row.author.as_deref()).collect();
    let records: Vec<Option<&[u8]>> = rows.iter().map(|row| row.record.as_deref()).collect();
    let unread: Vec<Option<&[u8]>> = rows.iter().map(|row| row.unread.as_deref()).collect();
    let words: Vec<Option<String>> = rows.iter().map(|row| lexemes(id, &row.words)).collect();
    let write = "INSERT INTO chinwag_message AS m (room, \"offset\", change, is_deleted, \
                 is_pinned, thread, author, record, unread, words) \
                 SELECT $1, o, c, d, p, t, a, r, u, w::tsvector FROM unnest($2::bigint[], \
                 $3::bigint[], $4::boolean[], $5::boolean[], $6::bigint[], $7::text[], \
                 $8::bytea[], $9::bytea[], $10::text[]) AS n(o, c, d, p, t, a, r, u, w) \
                 ON CONFLICT (room, \"offset\") DO UPDATE SET change = EXCLUDED.change, \
                 is_deleted = EXCLUDED.is_deleted, is_pinned = EXCLUDED.is_pinned, \
                 record = EXCLUDED.record, unread = EXCLUDED.unread, words = EXCLUDED.words, \
                 author = coalesce(EXCLUDED.author, m.author), \
                 thread = coalesce(EXCLUDED.thread, m.thread) \
                 WHERE m.change < EXCLUDED.change";
    change
        .execute(
            write,
            &[
                &id, &offsets, &changes, &deleted, &pinned, &threads, &authors, &records, &unread,
                &words,
            ],
        )
        .await?;
    Ok(())
}

/// The words of a message of a room. They are letters and digits, so that none has to be escaped;
/// and each names the room, so that others cost a search nothing.
fn lexemes(id: i64, words: &[String]) -> Option<String> {
    if words.is_empty() {
        return None;
    }
    let mut all = String::new();
    for word in words {
        // Writing to a string cannot fail.
        let _ = write!(all, "'{id}:{word}' ");
    }
    Some(all)
}

/// Forgets what messages were before their last changes, where no turn is to be expected that takes
/// these back.
pub(super) async fn forget_before(client: &Client) -> Result<(), DatabaseError> {
    let forget = "DELETE FROM chinwag_before WHERE saved_at < now() - $1 * interval '1 second'";
    client.execute(forget, &[&f64::from(ARCHIVE_BEFORE_S)]).await?;
    Ok(())
}
