//! The report as a page that needs nothing else.

use std::fmt::Write as _;

use crate::report::{Contest, Cpu, Ratio, Report, Standing, text};
use crate::statistics::Spread;

const WIDTH: f64 = 960.0;
/// Of the names, left of the bars.
const NAMES: f64 = 300.0;
/// Of the figures, right of them.
const FIGURES: f64 = 230.0;
const LINE: f64 = 24.0;

const STYLE: &str = include_str!("page.css");

/// A bar of a plot: its name, its class, and how long it is.
type Bar = (String, &'static str, Spread);

/// What stands for itself in HTML.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

pub(crate) fn page(report: &Report) -> String {
    let Report { machine, load_before, load_after, contests, left_out } = report;
    let left_out = left_out.iter().map(|what| format!("<p>Left out: {}.</p>", escaped(what)));
    [
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Measured side by side</title>".to_owned(),
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">".to_owned(),
        format!("<style>{STYLE}</style><main><h1>Measured side by side</h1>"),
        format!("<p>{}</p>", escaped(&machine.to_string())),
        format!("<p>Load average {load_before} before, {load_after} after.</p>"),
        left_out.collect(),
        ratios(contests),
        contests.iter().map(contest).collect(),
        "</main></html>\n".to_owned(),
    ]
    .concat()
}

fn ratios(contests: &[Contest]) -> String {
    let mut rows = String::new();
    for contest in contests {
        for Ratio { name, value, target } in &contest.ratios {
            let (class, target) = match target {
                Some(target) if target.is_met(value.median) => ("met", format!("{target}: met")),
                Some(target) => ("missed", format!("{target}: missed")),
                None => ("", String::new()),
            };
            let (of, name, value) = (escaped(&contest.name), escaped(name), text(*value, 2));
            let target = escaped(&target);
            let _ = write!(rows, "<tr><td>{of}<td>{name}<td>{value}<td class=\"{class}\">{target}");
        }
    }
    if rows.is_empty() {
        return rows;
    }
    format!(
        "<h2>Ratios</h2><table><tr><th><th>ratio, or figure with a target<th>median (least..most)<th>target{rows}</table>"
    )
}

fn contest(contest: &Contest) -> String {
    let setting = contest.setting.iter().map(|line| format!("<br>{}", escaped(line)));
    let rates = contest.standings.iter().map(|of| (of.name.clone(), "rate", of.per_second));
    let p99 = contest.standings.iter().filter_map(|of| Some((of.name.clone(), "p99", of.p99_ms?)));
    let mut units: Vec<&str> = contest.standings.iter().map(|of| of.unit).collect();
    units.dedup();
    let units = units.join(", ");
    format!(
        "<h2>{}</h2><p>{}</p>{}{}{}",
        escaped(&contest.name),
        setting.collect::<String>(),
        plot(&format!("{units} a second"), &rates.collect::<Vec<_>>(), 0),
        plot("p99, ms", &p99.collect::<Vec<_>>(), 2),
        plot("processor time of each process, µs for each", &cpu(&contest.standings), 1),
    )
}

fn cpu(standings: &[Standing]) -> Vec<Bar> {
    let bars = standings.iter().flat_map(|standing| {
        standing.cpu.iter().enumerate().map(|(index, Cpu { process, micros_each })| {
            let class = if index == 0 { "cpu" } else { "other" };
            (format!("{}: {process}", standing.name), class, *micros_each)
        })
    });
    bars.collect()
}

fn plot(title: &str, bars: &[Bar], digits: usize) -> String {
    if bars.is_empty() {
        return String::new();
    }
    let most = bars.iter().map(|(_, _, spread)| spread.max).fold(f64::MIN_POSITIVE, f64::max);
    let x = |value: f64| NAMES + (WIDTH - NAMES - FIGURES) * value / most;
    let mut svg = String::new();
    for (line, (name, class, spread)) in (0_u32..).zip(bars) {
        let y = LINE * f64::from(line);
        let (from, to, middle) = (x(spread.min), x(spread.max), y + LINE / 2.0);
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{NAMES}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\
             <line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle:.1}\" y2=\"{middle:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            NAMES - 8.0,
            middle + 4.0,
            escaped(name),
            y + 4.0,
            (x(spread.median) - NAMES).max(1.0),
            LINE - 8.0,
            WIDTH - FIGURES + 8.0,
            middle + 4.0,
            text(*spread, digits),
        );
    }
    let (title, height) = (escaped(title), LINE * bars.len() as f64);
    format!(
        "<figure><figcaption>{title}</figcaption>\
         <svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{title}\">{svg}</svg></figure>"
    )
}
