//! Customers, who come in waves: each wave for sales of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use rand::RngExt;
use rand::rngs::StdRng;
use seckill_checker::history_name;
use seckill_load::{LoadArgs, Report, Running};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cluster::Cluster;
use crate::fault::Who;

/// How long a wave comes.
const WAVE: Duration = Duration::from_secs(10);
/// Sales of a wave.
const SALES: usize = 6;
/// Coupons for so many of a hundred customers.
const COUPONS_PERCENT: [u32; 3] = [40, 70, 130];
/// Customers of a wave who ask at once: in a long outage they come faster than they leave, and each takes descriptors
/// here.
const MAX_OUTSTANDING: usize = 300;
/// Nobody gives up before the faults are over.
const GIVE_UP_AFTER: &str = "300s";

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    load: LoadArgs,
}

/// What came of a wave.
pub(crate) struct Wave {
    /// When it came, since the first one.
    pub(crate) at: Duration,
    pub(crate) history: PathBuf,
    pub(crate) report: Result<Report>,
}

/// Where they go.
pub(crate) struct Crowd {
    targets: Vec<String>,
    folder: PathBuf,
    per_second: f64,
}

impl Crowd {
    pub(crate) fn of(cluster: &Cluster, folder: &Path, per_second: f64) -> Self {
        let mut targets = vec!["load".to_owned()];
        let mut add = |flag: &str, url| targets.extend([flag.to_owned(), url]);
        cluster.for_customers().into_iter().for_each(|url| add("--target", url));
        add("--query", cluster.url(Who::Gateway));
        add("--admin", cluster.url(Who::Admin));
        Self { targets, folder: folder.to_owned(), per_second }
    }

    /// Comes for some time, and waits until everybody is answered and has seen what they were told.
    pub(crate) async fn come(&self, duration: Duration, mut random: StdRng) -> Vec<Wave> {
        // Dropping the set aborts the waves.
        let (begun, mut waves) = (Instant::now(), JoinSet::new());
        let mut number = 0;
        while begun.elapsed() < duration {
            let lasts = WAVE.min(duration - begun.elapsed());
            let history = self.folder.join(history_name(number));
            let flags = self.flags(lasts, &mut random, &history);
            let at = begun.elapsed();
            waves.spawn(async move { Wave { at, report: wave(flags).await, history } });
            tokio::time::sleep(lasts).await;
            number += 1;
        }
        waves.join_all().await
    }

    fn flags(&self, lasts: Duration, random: &mut StdRng, history: &Path) -> Vec<String> {
        let percent = COUPONS_PERCENT[random.random_range(0..COUPONS_PERCENT.len())];
        let seed: u64 = random.random();
        let customers = self.per_second * lasts.as_secs_f64() / SALES as f64;
        let coupons = (customers * f64::from(percent) / 100.0).ceil().max(1.0);
        let more = [
            ("--rate", self.per_second.to_string()),
            ("--duration", format!("{}ms", lasts.as_millis())),
            ("--promotions", SALES.to_string()),
            ("--coupons", coupons.to_string()),
            ("--max-outstanding", MAX_OUTSTANDING.to_string()),
            ("--seed", seed.to_string()),
            ("--history", history.display().to_string()),
            ("--give-up", GIVE_UP_AFTER.to_owned()),
            ("--audit-timeout", GIVE_UP_AFTER.to_owned()),
        ];
        let more = more.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]);
        self.targets.iter().cloned().chain(more).collect()
    }
}

async fn wave(flags: Vec<String>) -> Result<Report> {
    let Flags { load } = Flags::try_parse_from(flags).context("the crowd cannot come so")?;
    Running::start(load).await?.served().await
}
