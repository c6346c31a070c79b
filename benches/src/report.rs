//! What a run showed: a table for people, JSON for programs. Field names carry their units.

use std::fmt;

use anyhow::Context;
use comfy_table::{Cell, CellAlignment, Row, Table, presets};
use serde::Serialize;

use crate::lap::Lap;
use crate::machine::Machine;
use crate::statistics::Spread;

/// Everything about a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    setting: Setting,
    standings: Vec<Standing>,
    ratios: Vec<Ratio>,
}

/// Under what circumstances it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Setting {
    pub(crate) engine: String,
    pub(crate) rounds: u32,
    pub(crate) seconds: u64,
    pub(crate) partitions: u32,
    pub(crate) promotions: u32,
    /// Grabs, or raw records, under way.
    pub(crate) clients: u32,
    /// HTTP requests under way.
    pub(crate) connections: u32,
    pub(crate) record_bytes: usize,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
    pub(crate) machine: Machine,
}

/// What a contestant is compared as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    Raw,
    Owner,
    Http,
    Noop,
}

/// A contestant over all rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Standing {
    role: Role,
    name: String,
    per_second: Spread,
    p50_ms: Spread,
    p99_ms: Spread,
    cpu_micros_each: Option<Spread>,
    failed: u64,
    laps: Vec<Lap>,
}

/// One contestant by another, each round by itself.
#[derive(Debug, Serialize)]
struct Ratio {
    name: String,
    per_second: Spread,
    p50: Spread,
    p99: Spread,
}

impl Standing {
    /// # Errors
    /// There was no round.
    pub(crate) fn new(role: Role, name: String, laps: Vec<Lap>) -> anyhow::Result<Self> {
        let cpu: Option<Vec<f64>> = laps.iter().map(|lap| lap.cpu_micros_each).collect();
        Ok(Self {
            role,
            name,
            per_second: spread(laps.iter().map(|lap| lap.per_second))?,
            p50_ms: spread(laps.iter().map(|lap| lap.p50_ms))?,
            p99_ms: spread(laps.iter().map(|lap| lap.p99_ms))?,
            cpu_micros_each: cpu.and_then(|cpu| Spread::of(&cpu)),
            failed: laps.iter().map(|lap| lap.failed).sum(),
            laps,
        })
    }

    fn row(&self) -> Row {
        let cpu = self.cpu_micros_each.map_or_else(|| "?".to_owned(), |cpu| text(cpu, 1));
        Row::from(vec![
            Cell::new(&self.name),
            number(text(self.per_second, 0)),
            number(text(self.p50_ms, 2)),
            number(text(self.p99_ms, 2)),
            number(cpu),
            number(self.failed),
        ])
    }
}

impl Ratio {
    fn new(upper: &Standing, lower: &Standing) -> anyhow::Result<Self> {
        let ratio = |quantity: fn(&Lap) -> f64| {
            let pairs = upper.laps.iter().zip(&lower.laps);
            spread(pairs.map(|(upper, lower)| quantity(upper) / quantity(lower)))
        };
        Ok(Self {
            name: format!("{} / {}", upper.name, lower.name),
            per_second: ratio(|lap| lap.per_second)?,
            p50: ratio(|lap| lap.p50_ms)?,
            p99: ratio(|lap| lap.p99_ms)?,
        })
    }

    fn row(&self) -> Row {
        Row::from(vec![
            Cell::new(&self.name),
            number(text(self.per_second, 2)),
            number(text(self.p50, 2)),
            number(text(self.p99, 2)),
        ])
    }
}

impl Report {
    /// # Errors
    /// A contestant is missing.
    pub(crate) fn new(setting: Setting, standings: Vec<Standing>) -> anyhow::Result<Self> {
        let ratios = vec![
            Ratio::new(best(&standings, Role::Owner)?, best(&standings, Role::Raw)?)?,
            Ratio::new(best(&standings, Role::Http)?, best(&standings, Role::Noop)?)?,
        ];
        Ok(Self { setting, standings, ratios })
    }
}

/// Who of a role did the most.
fn best(standings: &[Standing], role: Role) -> anyhow::Result<&Standing> {
    let of_role = standings.iter().filter(|standing| standing.role == role);
    of_role
        .max_by(|a, b| a.per_second.median.total_cmp(&b.per_second.median))
        .with_context(|| format!("nobody ran as {role:?}"))
}

fn spread(values: impl Iterator<Item = f64>) -> anyhow::Result<Spread> {
    Spread::of(&values.collect::<Vec<_>>()).context("no round was run")
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.setting)?;
        writeln!(formatter, "{}", standings_table(&self.standings))?;
        writeln!(formatter, "{}", ratios_table(&self.ratios))?;
        write!(formatter, "{}", self.setting.machine)?;
        let Setting { load_before, load_after, .. } = &self.setting;
        write!(formatter, "load average {load_before} before, {load_after} after")
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { engine, rounds, seconds, partitions, promotions, .. } = self;
        let Self { clients, connections, record_bytes, .. } = self;
        writeln!(formatter, "on {engine}")?;
        writeln!(
            formatter,
            "partitions: {partitions}; promotions: {promotions}; records of {record_bytes} bytes"
        )?;
        writeln!(
            formatter,
            "under way at once: {clients} (raw, owner), {connections} (http, noop)"
        )?;
        write!(
            formatter,
            "rounds: {rounds} of {seconds} s for each; figures are median (least..most) of them"
        )
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, kernel, release_build, versions } = self;
        writeln!(formatter, "{cpu}, {cores} cores shared by everything, Linux {kernel}")?;
        writeln!(formatter, "{}", versions.join(", "))?;
        if !release_build {
            writeln!(formatter, "NOT A RELEASE BUILD: these figures mean little")?;
        }
        Ok(())
    }
}

fn standings_table(standings: &[Standing]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["", "per second", "p50 ms", "p99 ms", "CPU µs each", "failed"]);
    table.add_rows(standings.iter().map(Standing::row));
    table
}

fn ratios_table(ratios: &[Ratio]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(["ratio", "per second", "p50", "p99"]);
    table.add_rows(ratios.iter().map(Ratio::row));
    table
}

fn text(spread: Spread, digits: usize) -> String {
    let Spread { median, min, max } = spread;
    format!("{median:.digits$} ({min:.digits$}..{max:.digits$})")
}

fn number(value: impl ToString) -> Cell {
    Cell::new(value.to_string()).set_alignment(CellAlignment::Right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(role: Role, name: &str, rates: [f64; 3]) -> Standing {
        let lap = |per_second| Lap {
            per_second,
            p50_ms: 1.0,
            p99_ms: 1e3 / per_second,
            cpu_micros_each: None,
            failed: 1,
        };
        Standing::new(role, name.to_owned(), rates.map(lap).to_vec()).expect("a standing")
    }

    #[test]
    fn the_owner_is_compared_with_the_best_raw_one_round_by_round() {
        let standings = vec![
            standing(Role::Raw, "slow", [10.0, 10.0, 10.0]),
            standing(Role::Raw, "fast", [100.0, 200.0, 400.0]),
            standing(Role::Owner, "owner", [50.0, 100.0, 100.0]),
        ];
        assert_eq!(standings[2].failed, 3);
        let fast = best(&standings, Role::Raw).expect("a raw one");
        let ratio = Ratio::new(&standings[2], fast).expect("a ratio");
        assert_eq!(ratio.name, "owner / fast");
        assert_eq!(ratio.per_second, Spread { median: 0.5, min: 0.25, max: 0.5 });
        assert_eq!(ratio.p99, Spread { median: 2.0, min: 2.0, max: 4.0 });
        assert!(best(&standings, Role::Noop).is_err());
    }
}
