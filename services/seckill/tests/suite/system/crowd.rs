//! A crowd while a test does something to the system: that of `seckill load`, with its audit.

use std::time::Duration;

use clap::Parser;
use seckill_load::{LoadArgs, Report, Running, Verdict};

use super::{System, eventually};

const CLIENTS: &str = "24";
/// Nobody gives up before a test does.
const PATIENCE: &str = "300s";

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    load: LoadArgs,
}

/// Customers who come, insist until they are answered, and come no more.
pub(crate) struct RunningCrowd(Running);

impl RunningCrowd {
    /// Customers for a promotion of so many coupons.
    pub(crate) async fn come(sale: &System, coupons: u32) -> Self {
        let coupons = coupons.to_string();
        let flags = ["--coupons", &coupons, "--clients", CLIENTS, "--customers", "100000000"];
        Self::start(sale, &[&flags[..], &["--audit-timeout", "120s"]].concat()).await
    }

    /// The same, and every request and its answer is written down, for [`System::assert_kept_its_word`].
    pub(crate) async fn come_on_record(sale: &System, coupons: u32) -> Self {
        let (coupons, history) = (coupons.to_string(), sale.history());
        let history = history.to_str().expect("a path");
        let flags = ["--coupons", &coupons, "--clients", CLIENTS, "--customers", "100000000"];
        let more = ["--audit-timeout", "120s", "--history", history];
        Self::start(sale, &[&flags[..], &more].concat()).await
    }

    /// So many customers a second, who leave cores to others.
    pub(crate) async fn come_at(sale: &System, coupons: u32, per_second: u32) -> Self {
        let (coupons, rate) = (coupons.to_string(), per_second.to_string());
        let flags = ["--coupons", &coupons, "--rate", &rate, "--duration", "10m"];
        Self::start(sale, &[&flags[..], &["--audit-timeout", "120s"]].concat()).await
    }

    /// The clients and the operator of the original's load script, over its routes.
    pub(crate) async fn as_in_the_script(sale: &System) -> Self {
        let flags = ["--model", "original", "--clients", "40", "--coupons", "2000"];
        Self::start(sale, &[&flags[..], &["--open-every", "1s", "--duration", "6s"]].concat()).await
    }

    async fn start(sale: &System, flags: &[&str]) -> Self {
        let url = sale.url();
        let all = [&["load", "--target", &url, "--give-up", PATIENCE], flags].concat();
        let Flags { load } = Flags::parse_from(all);
        Self(Running::start(load).await.expect("the crowd comes"))
    }

    /// The promotion that they come for.
    pub(crate) fn promotion(&self) -> String {
        self.0.promotions()[0].clone()
    }

    /// Requests answered 429, 503 or 504 so far.
    pub(crate) fn turned_away(&self) -> u64 {
        self.0.turned_away()
    }

    /// Waits until so many more coupons have been granted.
    pub(crate) async fn more(&self, more: u64, within: Duration) {
        let before = self.0.granted();
        eventually("coupons are being granted", within, async || self.0.granted() >= before + more)
            .await;
    }

    /// Waits until somebody more has been turned away.
    pub(crate) async fn one_more_turned_away(&self, within: Duration) {
        let before = self.turned_away();
        eventually("grabs are turned away", within, async || self.turned_away() > before).await;
    }

    /// Has nobody new come, and holds every word that was said against the views.
    pub(crate) async fn leave(self) {
        assert_passed(self.0.leave().await);
    }

    /// Waits until everybody was served, and holds every word that was said against the views.
    pub(crate) async fn served(self) {
        assert_passed(self.0.served().await);
    }

    /// Waits until the promotion is sold out to them, and audits.
    pub(crate) async fn sold_out(self) {
        let (promotion, within) = (self.promotion(), Duration::from_secs(120));
        eventually(&format!("{promotion} is sold out"), within, async || self.0.refused() > 0)
            .await;
        self.leave().await;
    }
}

fn assert_passed(report: anyhow::Result<Report>) {
    let report = report.expect("a report");
    assert_eq!(report.verdict, Verdict::Passed, "{report}");
}
