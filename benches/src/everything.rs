//! All contests, one after another, and one table of their ratios.

use anyhow::Result;
use clap::Parser;

use crate::args::{Cli, Command, EverythingArgs};
use crate::report::Report;
use crate::{contest, rivals, views};

/// What `--quick` has of each.
const QUICK: [(&str, &[&str]); 3] = [
    ("grabs", &["--rounds", "2", "--seconds", "1"]),
    ("views", &["--rounds", "2", "--seconds", "2", "--coupons", "50000"]),
    ("rivals", &["--rounds", "2", "--seconds", "2"]),
];
const WHOLE: [(&str, &[&str]); 3] =
    [("grabs", &["--rounds", "5"]), ("views", &["--rounds", "5"]), ("rivals", &["--rounds", "5"])];

/// Measures everything, prints it, and writes it where that is asked for.
///
/// # Errors
/// An engine or a rival that is there does not work.
pub async fn everything(args: EverythingArgs) -> Result<()> {
    let EverythingArgs { quick, kafka, cql, program, data, output } = args;
    seckill_telemetry::start_tracing(contest::LOG_FILTER, seckill_telemetry::LogFormat::Text)?;
    let (program, data) = (program.display().to_string(), data.display().to_string());
    let data = ["--data", &data];
    let kafka: Vec<&str> = kafka.iter().flat_map(|at| ["--kafka", at]).collect();
    let cql: Vec<&str> = cql.iter().flat_map(|at| ["--cql", at]).collect();
    let mut report = Report::begin();
    let mut plans: Vec<(&str, Vec<&str>)> = vec![
        ("grabs", data.to_vec()),
        ("views", data.to_vec()),
        ("rivals", [&data[..], &["--program", &program]].concat()),
    ];
    match kafka.is_empty() {
        true => {
            report.left_out.push("Kafka and CQL: --kafka and --cql say where they are".to_owned())
        }
        false => plans.extend([
            ("grabs", [&data[..], &kafka].concat()),
            ("views", [&data[..], &kafka, &cql].concat()),
        ]),
    }
    for (what, flags) in plans {
        measure(what, &flags, quick, &mut report).await?;
    }
    report.end(&output)
}

async fn measure(what: &str, flags: &[&str], quick: bool, report: &mut Report) -> Result<()> {
    let lengths = if quick { QUICK } else { WHOLE };
    let length = lengths.iter().find(|(of, _)| *of == what).map_or(&[][..], |(_, flags)| flags);
    let name = ["seckill-benches", what];
    let words = name.iter().chain(flags).chain(length);
    match Cli::try_parse_from(words)?.command {
        Some(Command::Grabs(args)) => report.contests.push(contest::measured(&args).await?),
        Some(Command::Views(args)) => report.contests.push(views::measured(&args).await?),
        Some(Command::Rivals(args)) => {
            let (contests, missing) = rivals::measured(&args).await?;
            report.contests.extend(contests);
            report.left_out.extend(missing);
        }
        _ => {}
    }
    Ok(())
}
