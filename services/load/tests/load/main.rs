//! The generator and its auditor against a small shop that can be unreliable, and can lie.

mod native;
mod original;
mod shop;

use std::path::Path;

use clap::{CommandFactory, Parser};
use seckill_load::{LoadArgs, Report, Verdict, run_until};
use tokio_util::sync::CancellationToken;

use shop::Shop;

#[derive(clap::Parser)]
struct Cli {
    #[command(flatten)]
    load: LoadArgs,
}

/// Runs `seckill load` with options against a shop.
async fn load(shop: Shop, options: &str) -> (Verdict, Report) {
    load_until(shop, options, CancellationToken::new()).await
}

async fn load_until(shop: Shop, options: &str, stop: CancellationToken) -> (Verdict, Report) {
    let url = shop.open().await;
    let directory = tempfile::tempdir().unwrap();
    let json = directory.path().join("report.json");
    let verdict = run_until(args(&url, options, &json), stop).await.unwrap();
    let report: Report = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!(report.verdict, verdict);
    (verdict, report)
}

fn args(url: &str, options: &str, json: &Path) -> LoadArgs {
    let fixed = ["load", "--quiet", "--audit-timeout", "1s", "--target", url, "--json"];
    let fixed = fixed.into_iter().map(String::from).chain([json.display().to_string()]);
    Cli::parse_from(fixed.chain(options.split_whitespace().map(String::from))).load
}

fn rules(report: &Report) -> Vec<&str> {
    let findings = report.audit.iter().flat_map(|audit| &audit.findings);
    findings.map(|finding| finding.rule.as_str()).collect()
}

#[test]
fn the_options_fit_together() {
    Cli::command().debug_assert();
    for options in [
        &["load", "--rate", "5", "--clients", "5"][..],
        &["load", "--promotion", "p", "--coupons", "5"],
        &["load", "--promotion", "p", "--promotions", "5"],
        &["load", "--coupons", "0"],
        &["load", "--duration", "10"],
    ] {
        assert!(Cli::try_parse_from(options).is_err(), "{options:?}");
    }
}
