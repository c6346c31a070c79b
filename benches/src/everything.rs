//! All contests, one after another, and one table of their ratios.

use anyhow::Result;
use clap::Parser;

use crate::args::{Cli, Command, EverythingArgs, Tried};
use crate::report::Report;
use crate::{contest, crowd, queries, rivals, views};

/// What `--quick` has of each.
const QUICK: [(&str, &[&str]); 5] = [
    ("grabs", &["--rounds", "2", "--seconds", "1", "--connections", "64"]),
    ("views", &["--rounds", "2", "--seconds", "2", "--coupons", "50000"]),
    ("queries", &["--rounds", "2", "--seconds", "1", "--coupons", "5000"]),
    ("rivals", &["--rounds", "2", "--seconds", "1"]),
    ("crowd", &["--rounds", "1", "--seconds", "2"]),
];

/// Measures everything, prints it, and writes it where that is asked for.
///
/// # Errors
/// An engine or a rival that is there does not work.
pub async fn everything(args: EverythingArgs) -> Result<()> {
    let EverythingArgs { quick, kafka, cql, tried: Tried { program, data }, output } = args;
    seckill_telemetry::start_tracing(contest::LOG_FILTER, seckill_telemetry::LogFormat::Text)?;
    let (program, data) = (program.display().to_string(), data.display().to_string());
    let data = ["--data", &data];
    let kafka: Vec<&str> = kafka.iter().flat_map(|at| ["--kafka", at]).collect();
    let cql: Vec<&str> = cql.iter().flat_map(|at| ["--cql", at]).collect();
    let mut report = Report::begin();
    let tried = [&data[..], &["--program", &program]].concat();
    let mut plans: Vec<(&str, Vec<&str>)> = vec![
        ("grabs", data.to_vec()),
        ("views", data.to_vec()),
        ("queries", tried.clone()),
        ("rivals", tried.clone()),
        ("crowd", tried.clone()),
    ];
    match kafka.is_empty() {
        true => {
            report.left_out.push("Kafka and CQL: --kafka and --cql say where they are".to_owned())
        }
        false => plans.extend([
            ("grabs", [&data[..], &kafka].concat()),
            ("views", [&data[..], &kafka, &cql].concat()),
            ("queries", [&tried[..], &kafka, &cql].concat()),
        ]),
    }
    for (what, flags) in plans {
        measure(what, &flags, quick, &mut report).await?;
    }
    report.end(&output)
}

async fn measure(what: &str, flags: &[&str], quick: bool, report: &mut Report) -> Result<()> {
    let lengths = if quick { &QUICK[..] } else { &[] };
    let length = lengths.iter().find(|(of, _)| *of == what).map_or(&[][..], |(_, flags)| flags);
    let name = ["seckill-benches", what];
    let words = name.iter().chain(flags).chain(length);
    match Cli::try_parse_from(words)?.command {
        Some(Command::Grabs(args)) => report.contests.push(contest::measured(&args).await?),
        Some(Command::Views(args)) => report.contests.push(views::measured(&args).await?),
        Some(Command::Queries(args)) => report.contests.push(queries::measured(&args).await?),
        Some(Command::Crowd(args)) => report.contests.push(crowd::measured(&args).await?),
        Some(Command::Rivals(args)) => {
            let (contests, missing) = rivals::measured(&args).await?;
            report.contests.extend(contests);
            report.left_out.extend(missing);
        }
        _ => {}
    }
    Ok(())
}
