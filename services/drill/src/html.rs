//! The report as a page that needs nothing else.

use std::fmt::Write as _;

use crate::report::{Happened, Promise, Report};
use crate::timeline::Moment;

const WIDTH: f64 = 1_200.0;
const HEIGHT: f64 = 160.0;
/// Left of every chart, for its scale.
const MARGIN: f64 = 70.0;
/// Of a fault in the chart of faults.
const LINE: f64 = 15.0;

const STYLE: &str = include_str!("report.css");

/// One line or area of a chart.
struct Series {
    name: &'static str,
    class: &'static str,
    value: fn(&Moment) -> f64,
}

const ANSWERS: [Series; 4] = [
    Series { name: "granted", class: "granted", value: |of| of.granted as f64 },
    Series { name: "refused", class: "refused", value: |of| of.refused as f64 },
    Series { name: "turned away", class: "away", value: |of| of.turned_away as f64 },
    Series { name: "unknown", class: "unknown", value: |of| of.unknown as f64 },
];
const LATENCIES: [Series; 2] = [
    Series { name: "median", class: "granted", value: |of| of.p50_ms },
    Series { name: "p99", class: "away", value: |of| of.p99_ms },
];

/// What stands for itself in HTML.
fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

pub(crate) fn page(report: &Report) -> String {
    let verdict = if report.passed { "passed" } else { "failed" };
    let per_second = report.timeline.moment_seconds;
    let title = format!("Drill {}: {verdict}", report.seed);
    [
        format!("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{title}</title>"),
        "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">".to_owned(),
        format!("<style>{STYLE}</style><main><h1>{title}</h1>"),
        format!("<p>{}.</p>", text(&report.what())),
        format!(
            "<p>Again: <code>{}</code>. What every customer and every process said is in the folder of this page.</p>",
            text(&report.command)
        ),
        promises(&report.promises),
        totals(report),
        chart(report, "Requests by answer, per second", &ANSWERS, 1.0 / per_second, "/s"),
        chart(report, "Time of a definite answer", &LATENCIES, 1.0, " ms"),
        faults(report),
        "</main></html>\n".to_owned(),
    ]
    .concat()
}

fn promises(promises: &[Promise]) -> String {
    let mut rows = String::new();
    for Promise { promise, broken } in promises {
        let (verdict, class) =
            if broken.is_empty() { ("kept", "kept") } else { ("broken", "broken") };
        let list: String = broken.iter().map(|of| format!("<li>{}</li>", text(of))).collect();
        let list = if list.is_empty() { list } else { format!("<ul>{list}</ul>") };
        let promise = text(promise);
        let _ = write!(rows, "<tr><td class=\"{class}\">{verdict}<td>{promise}{list}");
    }
    format!("<h2>Promises</h2><table>{rows}</table>")
}

fn totals(report: &Report) -> String {
    let cells = report.counts().map(|(count, what)| format!("<li><b>{count}</b> {what}</li>"));
    format!("<h2>Totals</h2><ul class=\"totals\">{}</ul>", cells.concat())
}

/// Where a time stands.
fn x(report: &Report, seconds: f64) -> f64 {
    let all = report.timeline.moments.len() as f64 * report.timeline.moment_seconds;
    MARGIN + (WIDTH - MARGIN) * (seconds / all).clamp(0.0, 1.0)
}

fn chart(report: &Report, title: &str, series: &[Series], scale: f64, unit: &str) -> String {
    let moments = &report.timeline.moments;
    let values = moments.iter().flat_map(|of| series.iter().map(|series| (series.value)(of)));
    let most = values.fold(0.0, f64::max).max(1.0);
    let mut svg = grid(report, HEIGHT);
    let mut legend = String::new();
    for series in series {
        svg.push_str(&line(report, series, most));
        let _ = write!(legend, "<span class=\"{}\">{}</span>", series.class, series.name);
    }
    let _ = write!(
        svg,
        "<text x=\"{}\" y=\"12\" text-anchor=\"end\">{:.0}{unit}</text>\
         <text x=\"{}\" y=\"{HEIGHT}\" text-anchor=\"end\">0</text>",
        MARGIN - 6.0,
        most * scale,
        MARGIN - 6.0
    );
    for at in &report.first_events_of_owners_at_seconds {
        let x = x(report, *at);
        let _ = write!(
            svg,
            "<line class=\"takeover\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{HEIGHT}\"/>"
        );
    }
    let legend = format!("{legend}<span class=\"takeover\">first event of a new owner</span>");
    figure(title, &legend, &svg, HEIGHT)
}

fn line(report: &Report, series: &Series, most: f64) -> String {
    let point = |of: &Moment| {
        let at = of.at_seconds + report.timeline.moment_seconds / 2.0;
        format!("{:.1},{:.1} ", x(report, at), HEIGHT * (1.0 - (series.value)(of) / most))
    };
    let points: String = report.timeline.moments.iter().map(point).collect();
    format!("<polyline class=\"{}\" points=\"{points}\"/>", series.class)
}

fn faults(report: &Report) -> String {
    let height = LINE * report.faults.len() as f64;
    let mut svg = grid(report, height);
    for (line, Happened { at_seconds, lasted_seconds, fault }) in (0_u32..).zip(&report.faults) {
        let (from, to) = (x(report, *at_seconds), x(report, at_seconds + lasted_seconds));
        let (y, fault) = (LINE * f64::from(line), text(fault));
        let (at, anchor) = if to > WIDTH * 0.7 { (from - 4.0, "end") } else { (to + 4.0, "start") };
        let _ = write!(
            svg,
            "<g><title>{fault}, at {at_seconds:.1} s, for {lasted_seconds:.1} s</title>\
             <rect class=\"fault\" x=\"{from:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{fault}</text></g>",
            y + 2.0,
            (to - from).max(2.0),
            LINE - 4.0,
            y + LINE - 4.0
        );
    }
    figure("Faults, until what was hurt was started again", "", &svg, height)
}

/// A line at every round time.
fn grid(report: &Report, height: f64) -> String {
    let all = report.timeline.moments.len() as f64 * report.timeline.moment_seconds;
    let step = step(all);
    let times = (0_u32..).map(|number| step * f64::from(number)).take_while(|at| *at <= all);
    let mut svg = String::new();
    for seconds in times {
        let x = x(report, seconds);
        let anchor = if x > WIDTH - 20.0 { "end" } else { "middle" };
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"0\" y2=\"{height:.1}\"/>\
             <text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"{anchor}\">{seconds} s</text>",
            height + 14.0
        );
    }
    svg
}

/// Round, and for at most a dozen lines.
fn step(all: f64) -> f64 {
    let steps = (0..).flat_map(|power| [1.0, 2.0, 5.0].map(|of| of * 10_f64.powi(power)));
    steps.into_iter().find(|step| all / step <= 12.0).unwrap_or(all)
}

fn figure(title: &str, legend: &str, svg: &str, height: f64) -> String {
    format!(
        "<h2>{title}</h2><figure><figcaption>{legend}</figcaption>\
         <svg viewBox=\"0 0 {WIDTH} {:.0}\" role=\"img\" aria-label=\"{title}\">{svg}</svg></figure>",
        height + 20.0
    )
}
