//! Statements of `progress`.
//!
//! The write time of a partition's progress is its `next_offset` + 1, so that the furthest wins; of two at
//! one offset the database keeps, column by column, the greater: the later `revision`.
//! Why the partition stopped is no function of the log, and must be settable and clearable without
//! moving on. So that one column has finer write times: [`REVISIONS`] for every offset, and whoever
//! changes it takes the one after the last that this process has read or written. It is an empty
//! text while nothing is wrong, since the write time of a null cannot be read. Of two writers
//! that take the same time the database keeps the greater text: a reason wins over none.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use scylla::statement::prepared::PreparedStatement;

use super::database::{Database, Query};
use super::value::{bigint, unsigned, write_time};
use super::write::Write;
use crate::error::ViewsError;
use crate::generation::ProgressId;
use crate::progress::Progress;

/// How often `stopped` can change at one offset. As each is a write time too, this is also why
/// offsets should stay under 2^42: ScyllaDB refuses times that are days ahead of its clock.
const REVISIONS: i64 = 256;

/// Origin, next offset, term, next sequence number, history, the same before the last record, revision
/// of the catalog, reason, write time of the reason.
type Columns = (String, i64, Option<i64>, i64, i64, i64, i64, String, i64);

/// The columns, of which `stopped` has a write time of its own.
pub(super) fn create_table(table: &str) -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS {table} (partition bigint, origin text, \
         next_offset bigint, term bigint, next_seq bigint, history bigint, \
         history_before_last bigint, revision bigint, stopped text, \
         PRIMARY KEY (partition))"
    )
}

/// A value of `stopped`, and when it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Stopped {
    reason: String,
    time: i64,
}

pub(super) struct ProgressTable {
    upsert: PreparedStatement,
    stop: PreparedStatement,
    get: Query,
    /// Of each partition what this process has last read or written.
    seen: Mutex<HashMap<u32, Stopped>>,
}

impl ProgressTable {
    pub(super) async fn prepare(database: &Database, id: ProgressId) -> Result<Self, ViewsError> {
        let table = &database.table(id);
        let upsert = format!(
            "INSERT INTO {table} (partition, origin, next_offset, term, next_seq, history, \
             history_before_last, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?) USING TIMESTAMP ?"
        );
        let stop =
            format!("INSERT INTO {table} (partition, stopped) VALUES (?, ?) USING TIMESTAMP ?");
        let get = format!(
            "SELECT origin, next_offset, term, next_seq, history, history_before_last, revision, stopped, \
             WRITETIME(stopped) FROM {table} WHERE partition = ?"
        );
        Ok(Self {
            upsert: database.prepare(&upsert).await?,
            stop: database.prepare(&stop).await?,
            get: database.query(table, &get).await?,
            seen: Mutex::default(),
        })
    }

    pub(super) async fn read(
        &self,
        database: &Database,
        partition: u32,
    ) -> Result<Option<Progress>, ViewsError> {
        let to_row = |columns| to_row(partition, columns);
        let values = (i64::from(partition),);
        let row = database.rows(&self.get, values, partition, to_row).await?.pop();
        Ok(row.map(|(progress, stopped)| {
            remember(&mut self.seen(), partition, stopped);
            progress
        }))
    }

    /// Both parts are of one partition, so nobody sees one without the other.
    pub(super) async fn write(
        &self,
        database: &Database,
        progress: &Progress,
    ) -> Result<(), ViewsError> {
        let stopped = self.next_stopped(progress);
        database.send(vec![self.upsert(progress), self.stop(progress.partition, stopped)]).await
    }

    /// Remembered before it is written: a write that fails may still have been made.
    fn next_stopped(&self, progress: &Progress) -> Stopped {
        let mut seen = self.seen();
        let reason = progress.stopped.as_deref().unwrap_or_default();
        let time = stop_time(seen.get(&progress.partition), reason, progress.next_offset);
        let stopped = Stopped { reason: reason.into(), time };
        remember(&mut seen, progress.partition, stopped.clone());
        stopped
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<u32, Stopped>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn upsert<'a>(&'a self, progress: &'a Progress) -> Write<'a> {
        let values = (
            i64::from(progress.partition),
            &progress.origin,
            bigint(progress.next_offset),
            progress.term.map(bigint),
            bigint(progress.next_seq),
            progress.history.cast_signed(),
            progress.history_before_last.cast_signed(),
            bigint(progress.revision),
            write_time(progress.next_offset),
        );
        Write { statement: &self.upsert, values: Box::new(values), bytes: 0 }
    }

    fn stop(&self, partition: u32, stopped: Stopped) -> Write<'_> {
        let values = (i64::from(partition), stopped.reason, stopped.time);
        Write { statement: &self.stop, values: Box::new(values), bytes: 0 }
    }
}

/// A read may have begun before the last write: the later of the two counts.
fn remember(seen: &mut HashMap<u32, Stopped>, partition: u32, stopped: Stopped) {
    match seen.get(&partition) {
        Some(known) if known.time > stopped.time => {}
        Some(_) | None => {
            seen.insert(partition, stopped);
        }
    }
}

fn stop_time(seen: Option<&Stopped>, reason: &str, next_offset: u64) -> i64 {
    let first = write_time(next_offset) * REVISIONS;
    let last = first + REVISIONS - 1;
    match seen {
        Some(seen) if !(first..=last).contains(&seen.time) => first,
        Some(seen) if seen.reason == reason => seen.time,
        Some(seen) => last.min(seen.time + 1),
        None => first,
    }
}

fn to_row(partition: u32, columns: Columns) -> Result<(Progress, Stopped), String> {
    let (origin, next_offset, term, next_seq, history, before_last, revision, reason, time) =
        columns;
    let progress = Progress {
        partition,
        origin,
        next_offset: unsigned("next_offset", next_offset)?,
        term: term.map(|term| unsigned("term", term)).transpose()?,
        next_seq: unsigned("next_seq", next_seq)?,
        history: history.cast_unsigned(),
        history_before_last: before_last.cast_unsigned(),
        revision: unsigned("revision", revision)?,
        stopped: Some(reason.clone()).filter(|reason| !reason.is_empty()),
    };
    Ok((progress, Stopped { reason, time }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(reason: &str, time: i64) -> Stopped {
        Stopped { reason: reason.into(), time }
    }

    #[test]
    fn a_reason_changes_without_moving_on() {
        let first = stop_time(None, "", 9);
        assert_eq!(first, 10 * REVISIONS);
        let set = stop_time(Some(&seen("", first)), "why", 9);
        let cleared = stop_time(Some(&seen("why", set)), "", 9);
        assert!(first < set && set < cleared && cleared < stop_time(None, "", 10));
    }

    #[test]
    fn the_same_again_is_the_same_write() {
        assert_eq!(stop_time(Some(&seen("why", 2_570)), "why", 9), 2_570);
    }

    #[test]
    fn a_late_read_is_not_remembered() {
        let mut all = HashMap::from([(1, seen("why", 2_561))]);
        remember(&mut all, 1, seen("", 2_560));
        assert_eq!(all[&1], seen("why", 2_561));
        remember(&mut all, 1, seen("who", 2_561));
        assert_eq!(all[&1], seen("who", 2_561));
    }

    #[test]
    fn another_offset_starts_anew() {
        assert_eq!(stop_time(Some(&seen("why", 2_570)), "", 10), 11 * REVISIONS);
        assert_eq!(stop_time(Some(&seen("why", 2_570)), "", 8), 9 * REVISIONS);
    }

    #[test]
    fn the_last_revision_stays_within_its_offset() {
        let last = 11 * REVISIONS - 1;
        assert_eq!(stop_time(Some(&seen("why", last)), "", 9), last);
    }
}
