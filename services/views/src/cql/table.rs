//! Statements of one view's table, made of its schema: how its rows are read and written.

use std::collections::HashMap;

use futures::future::try_join_all;
use scylla::response::PagingState;
use scylla::response::query_result::QueryResult;
use scylla::serialize::SerializationError;
use scylla::serialize::row::{RowSerializationContext, SerializeRow};
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::RowWriter;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlValue;

use super::database::{Database, failure};
use super::value::write_time;
use super::write::Write;
use crate::changes::Changes;
use crate::engine::Range;
use crate::error::ViewsError;
use crate::generation::TableId;
use crate::key::{Key, Kind, Part};
use crate::view::Scanned;
use crate::view::{AnyRow, AnyView, Column, Schema, corrupt};

/// What a column adds to a batch beside its text: its length, and a number.
const COLUMN_BYTES: usize = 12;
/// What a row adds to a batch beside its columns: the statement's id, and the write time.
const ROW_BYTES: usize = 40;

/// Rows that one statement asks for: the most that ScyllaDB takes.
const KEYS: usize = 100;

pub(super) struct Table {
    view: AnyView,
    name: String,
    insert: PreparedStatement,
    get: PreparedStatement,
    some: Option<PreparedStatement>,
    list: PreparedStatement,
    list_after: PreparedStatement,
    scan: PreparedStatement,
}

impl Table {
    pub(super) async fn prepare(database: &Database, id: TableId) -> Result<Self, ViewsError> {
        let (view, name) = (id.view, database.table(id));
        let of = Statements { schema: view.schema(), table: &name };
        let (insert, get, list, list_after, scan) = futures::try_join!(
            database.prepare(of.insert()),
            database.prepare(of.get()),
            database.prepare(of.list(false)),
            database.prepare(of.list(true)),
            database.prepare(of.scan()),
        )?;
        let some = match of.some() {
            Some(some) => Some(database.prepare(some).await?),
            None => None,
        };
        Ok(Self { view, name, insert, get, some, list, list_after, scan })
    }

    /// The changed rows of each group.
    pub(super) fn writes(&self, changes: &Changes) -> impl Iterator<Item = Vec<Write<'_>>> {
        let fixed = ROW_BYTES + COLUMN_BYTES * self.view.schema().columns().count();
        let mut groups: HashMap<_, Vec<Write>> = HashMap::new();
        for row in self.view.cql_rows(changes) {
            let values = Stamped { columns: row.columns, time: write_time(row.position.offset) };
            let (values, bytes) = (Box::new(values), fixed + row.texts);
            let write = Write { statement: &self.insert, values, bytes };
            groups.entry(row.key.group).or_default().push(write);
        }
        groups.into_values()
    }

    pub(super) async fn get(
        &self,
        database: &Database,
        key: Key,
    ) -> Result<Option<AnyRow>, ViewsError> {
        let values = values(key.group.iter().chain(&key.within));
        Ok(self.read(database, &self.get, values, &key.to_string()).await?.pop())
    }

    /// In the order of their keys, which are of one group.
    pub(super) async fn some(
        &self,
        database: &Database,
        keys: &[Key],
    ) -> Result<Vec<AnyRow>, ViewsError> {
        let some = self.some.as_ref().expect("a view with one column within a group");
        let parts = keys.chunks(KEYS).map(async |keys| {
            let within = keys.iter().flat_map(|key| &key.within).map(value).collect();
            let mut values = values(&keys[0].group);
            values.push(CqlValue::List(within));
            let key = format!("{} of {}", keys.len(), keys[0]);
            self.read(database, some, values, &key).await
        });
        let mut rows = try_join_all(parts).await?.concat();
        rows.sort_by_cached_key(|row| self.view.place(row).0);
        Ok(rows)
    }

    /// Up to `count` rows of a range.
    pub(super) async fn range(
        &self,
        database: &Database,
        range: &Range,
        count: usize,
    ) -> Result<Vec<AnyRow>, ViewsError> {
        let after = range.after.as_deref().unwrap_or_default();
        let statement = if range.after.is_some() { &self.list_after } else { &self.list };
        let mut values = values(range.group.iter().chain(after));
        values.push(CqlValue::Int(i32::try_from(count).unwrap_or(i32::MAX)));
        let key = Key { group: range.group.clone(), within: after.to_vec() };
        self.read(database, statement, values, &format!("after {key}")).await
    }

    async fn read(
        &self,
        database: &Database,
        statement: &PreparedStatement,
        values: Vec<CqlValue>,
        key: &str,
    ) -> Result<Vec<AnyRow>, ViewsError> {
        let during = || format!("reading {} {key}", self.name);
        let result = database.session.execute_unpaged(statement, values).await;
        let result = result.map_err(|error| failure(during(), error))?;
        let rows = self.rows(result, database.partitions, key)?;
        rows.into_iter().collect()
    }

    fn rows(
        &self,
        result: QueryResult,
        partitions: u32,
        key: &str,
    ) -> Result<Vec<Scanned<AnyRow>>, ViewsError> {
        let corrupt = |reason: String| corrupt(&self.name, key, reason);
        let rows = result.into_rows_result().map_err(|error| corrupt(error.to_string()))?;
        let rows = self.view.decode_cql(&rows, partitions).map_err(corrupt)?;
        Ok(rows.into_iter().map(|row| row.map_err(corrupt)).collect())
    }

    /// Gives every row, a page in memory at a time.
    pub(super) async fn scan(
        &self,
        database: &Database,
        each: &mut (dyn FnMut(Scanned<AnyRow>) + Send),
    ) -> Result<(), ViewsError> {
        let during = || format!("reading {}", self.name);
        let mut state = PagingState::start();
        loop {
            let page = database.session.execute_single_page(&self.scan, (), state).await;
            let (result, next) = page.map_err(|error| failure(during(), error))?;
            self.rows(result, database.partitions, "*")?.into_iter().for_each(&mut *each);
            match next.into_paging_control_flow() {
                std::ops::ControlFlow::Continue(next) => state = next,
                std::ops::ControlFlow::Break(()) => return Ok(()),
            }
        }
    }
}

/// A row, and after it the time at which it is written.
struct Stamped {
    columns: Box<dyn SerializeRow + Send + Sync>,
    time: i64,
}

impl SerializeRow for Stamped {
    fn serialize(
        &self,
        context: &RowSerializationContext<'_>,
        writer: &mut RowWriter<'_>,
    ) -> Result<(), SerializationError> {
        let (time, columns) = context.columns().split_last().expect("an insert has a time");
        self.columns.serialize(&RowSerializationContext::from_specs(columns), writer)?;
        self.time.serialize(time.typ(), writer.make_cell_writer()).map(drop)
    }

    fn is_empty(&self) -> bool {
        false
    }
}

fn value(part: &Part) -> CqlValue {
    match part {
        Part::Number(number) => CqlValue::BigInt(i64::from(*number)),
        Part::Text(text) => CqlValue::Text(text.clone()),
    }
}

fn values<'a>(parts: impl IntoIterator<Item = &'a Part>) -> Vec<CqlValue> {
    parts.into_iter().map(value).collect()
}

/// The texts of statements.
pub(super) struct Statements<'a> {
    pub(super) schema: &'static Schema,
    pub(super) table: &'a str,
}

impl Statements<'_> {
    pub(super) fn create(&self) -> String {
        let columns =
            self.schema.columns().map(|(name, kind)| format!("{name} {}", cql_type(*kind)));
        format!(
            "CREATE TABLE IF NOT EXISTS {} ({}, PRIMARY KEY (({}), {}))",
            self.table,
            columns.collect::<Vec<_>>().join(", "),
            names(self.schema.group),
            names(self.schema.within)
        )
    }

    fn insert(&self) -> String {
        let markers: Vec<_> = self.schema.columns().map(|(name, _)| format!(":{name}")).collect();
        format!(
            "INSERT INTO {} ({}) VALUES ({}) USING TIMESTAMP :write_time",
            self.table,
            names(self.schema.columns()),
            markers.join(", ")
        )
    }

    fn scan(&self) -> String {
        format!("SELECT {} FROM {}", names(self.schema.columns()), self.table)
    }

    fn group(&self) -> String {
        format!("{} WHERE {}", self.scan(), equal(self.schema.group))
    }

    fn get(&self) -> String {
        format!("{} AND {}", self.group(), equal(self.schema.within))
    }

    /// Only where one column is the place within a group.
    fn some(&self) -> Option<String> {
        let [(column, _)] = self.schema.within else { return None };
        Some(format!("{} AND {column} IN ?", self.group()))
    }

    fn list(&self, after: bool) -> String {
        let within = self.schema.within;
        let markers = vec!["?"; within.len()].join(", ");
        let after =
            if after { format!(" AND ({}) > ({markers})", names(within)) } else { String::new() };
        format!("{}{after} LIMIT ?", self.group())
    }
}

fn names<'a>(columns: impl IntoIterator<Item = &'a Column>) -> String {
    columns.into_iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn equal(columns: &[Column]) -> String {
    columns.iter().map(|(name, _)| format!("{name} = ?")).collect::<Vec<_>>().join(" AND ")
}

fn cql_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Number => "bigint",
        Kind::Text => "text",
        Kind::Double => "double",
        Kind::Time => "timestamp",
        Kind::Texts => "frozen<list<text>>",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CouponsByCustomer, View};

    #[test]
    fn statements_are_made_of_the_schema() {
        let of = Statements { schema: &CouponsByCustomer::SCHEMA, table: "t" };
        assert_eq!(
            of.create(),
            "CREATE TABLE IF NOT EXISTS t (customer_id text, promotion_id text, serial bigint, \
             discount double, grabbed_at timestamp, position_offset bigint, \
             PRIMARY KEY ((customer_id), promotion_id, serial))"
        );
        assert!(
            of.list(true)
                .ends_with("WHERE customer_id = ? AND (promotion_id, serial) > (?, ?) LIMIT ?")
        );
        assert!(of.insert().ends_with(":position_offset) USING TIMESTAMP :write_time"));
        assert_eq!(of.some(), None);
    }
}
