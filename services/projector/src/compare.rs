//! Holds the rows of views against what the log says, or against the rows of other tables, in memory that
//! does not grow with them.
//!
//! Of each view and partition, the hashes of all rows are added up, on both sides. Sums that are equal
//! are of the same rows. Where they are not, the log is folded again, and a part of the rows at a time
//! is compared one by one.

use std::collections::{HashMap, HashSet};

use seckill_views::{AnyView, Changes, Entry, Scanned, Views, ViewsError};
use twox_hash::XxHash3_128;

use crate::verify::{Report, Stage, Watch};

/// Rows that are compared one by one at the same time.
const PART: u64 = 500_000;

/// Rows between two words on how far a comparison is.
const WATCH_EVERY: u64 = 10_000;

/// What the log or other tables say, as far as they went when they were asked.
#[derive(Default)]
pub(crate) struct Expected {
    /// The views that are compared.
    views: Vec<AnyView>,
    sums: HashMap<Place, Sum>,
    /// Of views whose rows are written again: the hash of each row, by the hash of its key.
    latest: HashMap<(Place, u128), u128>,
    /// Keys of rows that were of later when they were asked for.
    moved: HashSet<(Place, u128)>,
    pub(crate) ends: HashMap<u32, u64>,
}

/// A partition of a view.
type Place = (&'static str, u32);

/// Rows and the sum of their hashes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sum {
    rows: u64,
    hashes: u128,
}

impl Sum {
    fn add(&mut self, hash: u128) {
        (self.rows, self.hashes) = (self.rows.wrapping_add(1), self.hashes.wrapping_add(hash));
    }

    fn remove(&mut self, hash: u128) {
        (self.rows, self.hashes) = (self.rows.wrapping_sub(1), self.hashes.wrapping_sub(hash));
    }
}

impl Expected {
    pub(crate) fn of(views: Vec<AnyView>) -> Self {
        Self { views, ..Self::default() }
    }

    /// What tables say, up to these offsets of the partitions.
    pub(crate) async fn of_tables(
        tables: &Views,
        views: Vec<AnyView>,
        ends: HashMap<u32, u64>,
    ) -> Result<Self, ViewsError> {
        let mut expected = Self { views: views.clone(), ends, ..Self::default() };
        for view in views {
            let mut each = |row: Scanned<Entry>| {
                let Ok(entry) = row else { return }; // what cannot be read is expected nowhere
                let place = (view.name(), entry.position.partition);
                if expected.is_newer(&entry) {
                    // What is written once was not there before.
                    if view.is_rewritten() {
                        expected.moved.insert((place, key_of(&entry)));
                    }
                } else {
                    expected.put(view, place, &entry);
                }
            };
            tables.scan_entries(view, &mut each).await?;
        }
        Ok(expected)
    }

    /// Notes the rows that a stretch of the log changes.
    pub(crate) fn note(&mut self, changes: &Changes) {
        for view in self.views.clone() {
            let place = (view.name(), changes.progress.partition);
            for entry in view.entries(changes) {
                self.put(view, place, &entry);
            }
        }
    }

    fn put(&mut self, view: AnyView, place: Place, entry: &Entry) {
        let (hash, sum) = (hash_of(entry), self.sums.entry(place).or_default());
        if view.is_rewritten() {
            let before = self.latest.insert((place, key_of(entry)), hash);
            before.into_iter().for_each(|before| sum.remove(before));
        }
        sum.add(hash);
    }

    /// Takes back what is expected under a key whose row reflects more of the log than was folded.
    fn pass_over(&mut self, place: Place, entry: &Entry) {
        if let Some(hash) = self.latest.remove(&(place, key_of(entry))) {
            self.sums.entry(place).or_default().remove(hash);
        }
    }

    /// Whether a row that was of later has been found as it was before.
    fn has_moved(&self, place: Place, entry: &Entry) -> bool {
        !self.moved.is_empty() && self.moved.contains(&(place, key_of(entry)))
    }

    fn is_newer(&self, entry: &Entry) -> bool {
        let end = self.ends.get(&entry.position.partition);
        end.is_some_and(|end| entry.position.offset >= *end)
    }
}

fn hash_of(entry: &Entry) -> u128 {
    let key = entry.key.to_bytes();
    let length = (key.len() as u64).to_be_bytes();
    XxHash3_128::oneshot(&[length.as_slice(), &key, &entry.json].concat())
}

fn key_of(entry: &Entry) -> u128 {
    XxHash3_128::oneshot(&entry.key.to_bytes())
}

/// What the scans of all views have found.
pub(crate) struct Found {
    /// Views and partitions whose sums differ, and how many rows the log says that they have.
    pub(crate) differing: Vec<Differing>,
    /// Rows that reflect more of the log than was folded, by partition.
    pub(crate) newer: HashMap<u32, Newer>,
}

/// Rows that reflect more of the log than was folded.
#[derive(Default)]
pub(crate) struct Newer {
    pub(crate) rows: u64,
    /// The highest offset that one reflects.
    pub(crate) highest: u64,
}

/// A partition of a view whose rows are not all as the log says.
pub(crate) struct Differing {
    view: AnyView,
    partition: u32,
    rows: u64,
}

/// Adds up the rows of views, and tells where they differ from what is expected. Rows that cannot
/// be read are differences by themselves.
pub(crate) async fn sums(
    views: &Views,
    expected: &mut Expected,
    report: &mut Report,
    watch: Watch<'_>,
) -> Result<Found, ViewsError> {
    let (all, mut scanned) = (expected.sums.values().map(|sum| sum.rows).sum(), 0);
    let mut newer: HashMap<u32, Newer> = HashMap::new();
    let mut found: HashMap<Place, Sum> = HashMap::new();
    for view in expected.views.clone() {
        let mut rows = 0;
        let mut each = |row: Scanned<Entry>| {
            scanned += 1;
            if scanned % WATCH_EVERY == 0 {
                watch(Stage::Rows, scanned, all);
            }
            let entry = match row {
                Ok(entry) => entry,
                Err(error) => return report.differ(|| error.to_string()),
            };
            let place = (view.name(), entry.position.partition);
            if expected.is_newer(&entry) {
                let newer = newer.entry(place.1).or_default();
                newer.rows += 1;
                newer.highest = newer.highest.max(entry.position.offset);
                expected.pass_over(place, &entry);
            } else if !expected.has_moved(place, &entry) {
                rows += 1;
                found.entry(place).or_default().add(hash_of(&entry));
            }
        };
        views.scan_entries(view, &mut each).await?;
        report.count(view.name(), rows);
    }
    let places = expected.sums.keys().chain(found.keys()).copied();
    let mut places: Vec<Place> = places.collect();
    places.sort_unstable();
    places.dedup();
    places.retain(|place| sum(&expected.sums, place) != sum(&found, place));
    let differing = places.iter().filter_map(|place| {
        let view = expected.views.iter().copied().find(|view| view.name() == place.0)?;
        let rows = sum(&expected.sums, place).rows.max(sum(&found, place).rows);
        Some(Differing { view, partition: place.1, rows })
    });
    Ok(Found { differing: differing.collect(), newer })
}

fn sum(sums: &HashMap<Place, Sum>, place: &Place) -> Sum {
    sums.get(place).copied().unwrap_or_default()
}

/// Some of the rows of a partition of a view, one by one: those whose keys fall into one of so many
/// parts.
pub(crate) struct Part {
    view: AnyView,
    pub(crate) partition: u32,
    part: u64,
    parts: u64,
    rows: HashMap<Vec<u8>, Entry>,
}

impl Differing {
    pub(crate) fn parts(&self) -> impl Iterator<Item = Part> + use<> {
        let (view, partition, parts) = (self.view, self.partition, self.rows.div_ceil(PART).max(1));
        (0..parts).map(move |part| Part { view, partition, part, parts, rows: HashMap::new() })
    }
}

impl Part {
    fn holds(&self, entry: &Entry) -> bool {
        entry.position.partition == self.partition
            && key_of(entry) % u128::from(self.parts) == u128::from(self.part)
    }

    /// Notes the rows that a stretch of the log changes.
    pub(crate) fn note(&mut self, changes: &Changes) {
        self.view.entries(changes).into_iter().for_each(|entry| self.put(entry));
    }

    fn put(&mut self, entry: Entry) {
        if self.holds(&entry) {
            self.rows.insert(entry.key.to_bytes(), entry);
        }
    }

    /// Notes the rows of tables, as far as was compared.
    pub(crate) async fn note_tables(
        &mut self,
        tables: &Views,
        expected: &Expected,
    ) -> Result<(), ViewsError> {
        let view = self.view;
        let mut each = |row: Scanned<Entry>| {
            let entry = row.ok().filter(|entry| !expected.is_newer(entry));
            entry.into_iter().for_each(|entry| self.put(entry));
        };
        tables.scan_entries(view, &mut each).await
    }

    /// Says what differs.
    pub(crate) async fn compare(
        mut self,
        views: &Views,
        (expected, says): (&Expected, &str),
        report: &mut Report,
    ) -> Result<(), ViewsError> {
        let (view, place) = (self.view, (self.view.name(), self.partition));
        let mut each = |row: Scanned<Entry>| {
            let Ok(entry) = row else { return }; // said already
            if !self.holds(&entry) || expected.has_moved(place, &entry) {
                return;
            }
            let should = self.rows.remove(&entry.key.to_bytes());
            // What is written once and was expected cannot be of later.
            let later = expected.is_newer(&entry) && (view.is_rewritten() || should.is_none());
            if !later && should.as_ref() != Some(&entry) {
                report.differ(|| {
                    let should = should.as_ref().map_or_else(|| "nothing".to_owned(), text);
                    format!("{} has {}, {says} {should}", view.name(), text(&entry))
                });
            }
        };
        views.scan_entries(view, &mut each).await?;
        let mut missing: Vec<_> = self.rows.into_values().collect();
        missing.sort_by_key(|entry| entry.position);
        for entry in missing {
            report.differ(|| format!("{} lacks {}", view.name(), text(&entry)));
        }
        Ok(())
    }
}

fn text(entry: &Entry) -> String {
    String::from_utf8_lossy(&entry.json).into_owned()
}
