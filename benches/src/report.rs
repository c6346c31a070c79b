//! What a run showed: tables for people, JSON for programs, a page with plots for both. Field names carry their units.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::{Cell, CellAlignment, Row, Table, presets};
use seckill_telemetry::say;
use serde::Serialize;

use crate::args::Output;
use crate::lap::Lap;
use crate::machine::{Machine, load_average};
use crate::page;
use crate::statistics::Spread;

/// Everything about a run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) load_before: String,
    pub(crate) load_after: String,
    pub(crate) contests: Vec<Contest>,
    /// What was not measured, and why.
    pub(crate) left_out: Vec<String>,
}

/// What was measured side by side, in turns.
#[derive(Debug, Serialize)]
pub(crate) struct Contest {
    pub(crate) name: String,
    /// Under what circumstances.
    pub(crate) setting: Vec<String>,
    pub(crate) standings: Vec<Standing>,
    pub(crate) ratios: Vec<Ratio>,
}

/// A contestant over all rounds.
#[derive(Debug, Serialize)]
pub(crate) struct Standing {
    pub(crate) name: String,
    /// What is counted.
    pub(crate) unit: &'static str,
    pub(crate) per_second: Spread,
    pub(crate) p50_ms: Option<Spread>,
    pub(crate) p99_ms: Option<Spread>,
    /// Of each process, for one of the unit.
    pub(crate) cpu: Vec<Cpu>,
    pub(crate) failed: u64,
    pub(crate) laps: Vec<Lap>,
}

/// Processor time of a process.
#[derive(Debug, Serialize)]
pub(crate) struct Cpu {
    pub(crate) process: &'static str,
    pub(crate) micros_each: Spread,
}

/// One contestant by another, each round by itself.
#[derive(Debug, Serialize)]
pub(crate) struct Ratio {
    pub(crate) name: String,
    pub(crate) value: Spread,
    pub(crate) target: Option<Target>,
}

/// What a ratio is to be.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Target {
    AtLeast(f64),
    AtMost(f64),
}

impl Target {
    pub(crate) fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(least) => write!(f, ">= {least}"),
            Self::AtMost(most) => write!(f, "<= {most}"),
        }
    }
}

impl Standing {
    /// Of these names, each with its laps.
    ///
    /// # Errors
    /// There was no round.
    pub(crate) fn all(
        names: &[String],
        unit: &'static str,
        laps: Vec<Vec<Lap>>,
    ) -> Result<Vec<Self>> {
        names.iter().zip(laps).map(|(name, laps)| Self::new(name, unit, laps)).collect()
    }

    /// # Errors
    /// There was no round.
    pub(crate) fn new(name: impl Into<String>, unit: &'static str, laps: Vec<Lap>) -> Result<Self> {
        let of = |quantity: fn(&Lap) -> Option<f64>| {
            let values: Option<Vec<f64>> = laps.iter().map(quantity).collect();
            values.and_then(|values| Spread::of(&values))
        };
        let processes = laps.first().into_iter().flat_map(|lap| &lap.cpu);
        let cpu = processes.enumerate().filter_map(|(index, (process, _))| {
            let micros: Option<Vec<f64>> =
                laps.iter().map(|lap| Some(lap.cpu.get(index)?.1)).collect();
            Some(Cpu { process, micros_each: Spread::of(&micros?)? })
        });
        Ok(Self {
            name: name.into(),
            unit,
            per_second: of(|lap| Some(lap.per_second)).context("there was no round")?,
            p50_ms: of(|lap| lap.p50_ms),
            p99_ms: of(|lap| lap.p99_ms),
            cpu: cpu.collect(),
            failed: laps.iter().map(|lap| lap.failed).sum(),
            laps,
        })
    }

    fn row(&self) -> Row {
        let ms = |spread: Option<Spread>| spread.map_or_else(String::new, |ms| text(ms, 2));
        let cpu = self
            .cpu
            .iter()
            .map(|Cpu { process, micros_each }| format!("{process} {}", text(*micros_each, 1)));
        Row::from(vec![
            Cell::new(&self.name),
            number(format!("{} {}", text(self.per_second, 0), self.unit)),
            number(ms(self.p50_ms)),
            number(ms(self.p99_ms)),
            number(cpu.collect::<Vec<_>>().join("\n")),
            number(self.failed),
        ])
    }
}

impl Ratio {
    /// Of a quantity of two contestants that had their turns in the same rounds.
    pub(crate) fn of(
        what: &str,
        (upper, lower): (&Standing, &Standing),
        quantity: fn(&Lap) -> Option<f64>,
        target: Option<Target>,
    ) -> Option<Self> {
        let name = format!("{what}: {} / {}", upper.name, lower.name);
        let ratio = |upper: &Lap, lower: &Lap| Some(quantity(upper)? / quantity(lower)?);
        Self::round_by_round(name, (upper, lower), ratio, target)
    }

    /// What is made of two contestants that had their turns in the same rounds.
    pub(crate) fn round_by_round(
        name: String,
        (upper, lower): (&Standing, &Standing),
        value: impl Fn(&Lap, &Lap) -> Option<f64>,
        target: Option<Target>,
    ) -> Option<Self> {
        let pairs = upper.laps.iter().zip(&lower.laps);
        let values: Option<Vec<f64>> = pairs.map(|(upper, lower)| value(upper, lower)).collect();
        Self::figure(name, &values?, target)
    }

    /// Of values that were measured one by one.
    pub(crate) fn figure(name: String, values: &[f64], target: Option<Target>) -> Option<Self> {
        Some(Self { name, value: Spread::of(values)?, target })
    }

    /// A quantity of one contestant that has a target of its own.
    pub(crate) fn alone(
        what: &str,
        of: &Standing,
        quantity: fn(&Lap) -> Option<f64>,
        target: Target,
    ) -> Option<Self> {
        let name = format!("{what}: {}", of.name);
        Self::round_by_round(name, (of, of), |lap, _| quantity(lap), Some(target))
    }

    fn row(&self, contest: &str) -> Row {
        let target = self.target.map_or_else(String::new, |target| {
            let verdict = if target.is_met(self.value.median) { "met" } else { "missed" };
            format!("{target}: {verdict}")
        });
        let cells = [contest, &self.name].map(Cell::new).into_iter();
        Row::from(cells.chain([number(text(self.value, 2)), number(target)]).collect::<Vec<_>>())
    }
}

impl Report {
    /// To be begun before anything is measured.
    pub(crate) fn begin() -> Self {
        Self {
            machine: Machine::look(),
            load_before: load_average(),
            load_after: String::new(),
            contests: Vec::new(),
            left_out: Vec::new(),
        }
    }

    /// Of these contests.
    pub(crate) fn of(self, contests: Vec<Contest>) -> Self {
        Self { contests, ..self }
    }

    /// Prints it, and writes it where that was asked for.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn end(mut self, output: &Output) -> Result<()> {
        self.load_after = load_average();
        say!("{self}");
        if let Some(path) = &output.json {
            write(path, &serde_json::to_string_pretty(&self)?)?;
        }
        output.html.as_ref().map_or(Ok(()), |path| write(path, &page::page(&self)))
    }

    fn ratios(&self) -> Table {
        let mut table =
            table(["", "ratio, or figure with a target", "median (least..most)", "target"]);
        for contest in &self.contests {
            table.add_rows(contest.ratios.iter().map(|ratio| ratio.row(&contest.name)));
        }
        table
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("{}", path.display()))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.contests.iter().try_for_each(|contest| writeln!(f, "{contest}\n"))?;
        if self.contests.iter().any(|contest| !contest.ratios.is_empty()) {
            writeln!(f, "{}", self.ratios())?;
        }
        self.left_out.iter().try_for_each(|what| writeln!(f, "left out: {what}"))?;
        write!(f, "{}", self.machine)?;
        let Self { load_before, load_after, .. } = self;
        write!(f, "load average {load_before} before, {load_after} after")
    }
}

impl fmt::Display for Contest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name)?;
        self.setting.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        if self.standings.is_empty() {
            return Ok(());
        }
        let mut table = table(["", "per second", "p50 ms", "p99 ms", "CPU µs each", "failed"]);
        table.add_rows(self.standings.iter().map(Standing::row));
        write!(f, "{table}")
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpu, cores, kernel, release_build, versions } = self;
        writeln!(f, "{cpu}, {cores} cores shared by everything, Linux {kernel}")?;
        writeln!(f, "{}", versions.join(", "))?;
        if !release_build {
            writeln!(f, "NOT A RELEASE BUILD: these figures mean little")?;
        }
        Ok(())
    }
}

fn table<const COLUMNS: usize>(header: [&str; COLUMNS]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_BORDERS_ONLY);
    table.set_header(header);
    table
}

pub(crate) fn text(spread: Spread, digits: usize) -> String {
    let Spread { median, min, max } = spread;
    format!("{median:.digits$} ({min:.digits$}..{max:.digits$})")
}

fn number(value: impl ToString) -> Cell {
    Cell::new(value.to_string()).set_alignment(CellAlignment::Right)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(name: &str, rates: [f64; 3]) -> Standing {
        let lap = |per_second| Lap { per_second, failed: 1, ..Lap::default() };
        Standing::new(name, "grabs", rates.map(lap).to_vec()).expect("a standing")
    }

    #[test]
    fn contestants_are_compared_round_by_round() {
        let (raw, owner) =
            (standing("raw", [100.0, 200.0, 400.0]), standing("owner", [50.0, 100.0, 100.0]));
        assert_eq!(owner.failed, 3);
        let target = Some(Target::AtLeast(0.5));
        let rate = Ratio::of("rate", (&owner, &raw), |lap| Some(lap.per_second), target);
        let rate = rate.expect("a ratio");
        assert_eq!(rate.name, "rate: owner / raw");
        assert_eq!(rate.value, Spread { median: 0.5, min: 0.25, max: 0.5 });
        assert!(Target::AtLeast(0.5).is_met(0.5) && !Target::AtMost(0.4).is_met(0.5));
        assert!(Ratio::of("p99", (&owner, &raw), |lap| lap.p99_ms, None).is_none());
    }
}
