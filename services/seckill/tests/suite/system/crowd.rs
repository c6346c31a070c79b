//! A crowd while a test does something to the system: that of `seckill load`, with its audit.

use std::time::Duration;

use clap::Parser;
use seckill_load::{LoadArgs, Running, Verdict};

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
        let (url, coupons) = (sale.url(), coupons.to_string());
        let flags = ["load", "--quiet", "--target", &url, "--coupons", &coupons];
        let more = ["--clients", CLIENTS, "--customers", "100000000", "--give-up", PATIENCE];
        let flags = Flags::parse_from(flags.into_iter().chain(more));
        let args = LoadArgs { audit_timeout: Duration::from_secs(120), ..flags.load };
        Self(Running::start(args).await.expect("the crowd comes"))
    }

    /// The clients and the operator of the original's load script, over its routes.
    pub(crate) async fn as_in_the_script(sale: &System) -> Self {
        let url = sale.url();
        let flags = ["load", "--quiet", "--target", &url, "--model", "original", "--clients", "40"];
        let more = ["--coupons", "2000", "--open-every", "1s", "--duration", "6s"];
        let more = more.into_iter().chain(["--give-up", PATIENCE]);
        let flags = Flags::parse_from(flags.into_iter().chain(more));
        Self(Running::start(flags.load).await.expect("the crowd comes"))
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
        let report = self.0.leave().await.expect("a report");
        assert_eq!(report.verdict, Verdict::Passed, "{report}");
    }

    /// Waits until everybody was served, and holds every word that was said against the views.
    pub(crate) async fn served(self) {
        let report = self.0.served().await.expect("a report");
        assert_eq!(report.verdict, Verdict::Passed, "{report}");
    }

    /// Waits until the promotion is sold out to them, and audits.
    pub(crate) async fn sold_out(self) {
        let (promotion, within) = (self.promotion(), Duration::from_secs(120));
        eventually(&format!("{promotion} is sold out"), within, async || self.0.refused() > 0)
            .await;
        self.leave().await;
    }
}
