//! The arguments with their defaults filled in, and nothing left to combine wrongly.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::args::{Arrivals, LoadArgs, Model, Protocol};

const OPEN_DURATION: Duration = Duration::from_secs(10);
const ORIGINAL_DURATION: Duration = Duration::from_secs(60);

/// Who comes, and when.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// Customers come by themselves.
    Open(OpenPlan),
    /// Each client brings its next customer when the last was answered.
    Closed(ClosedPlan),
    /// Clients loop list, grab, own coupons while promotions open one after another.
    Original(OriginalPlan),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct OpenPlan {
    /// Arrivals per second.
    pub(crate) rate: f64,
    pub(crate) arrivals: Arrivals,
    pub(crate) max_outstanding: usize,
    pub(crate) duration: Duration,
    pub(crate) customers: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ClosedPlan {
    pub(crate) clients: usize,
    pub(crate) duration: Option<Duration>,
    pub(crate) customers: u32,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct OriginalPlan {
    pub(crate) clients: usize,
    /// How long promotions are opened.
    pub(crate) duration: Duration,
    pub(crate) open_every: Duration,
}

impl Pace {
    /// # Errors
    /// Options that the model does not have.
    pub(crate) fn of(args: &LoadArgs) -> Result<Self> {
        match (args.model, args.rate) {
            (Model::Grab, Some(rate)) => Ok(Self::Open(OpenPlan::of(args, rate))),
            (Model::Grab, None) => Ok(Self::Closed(ClosedPlan::of(args))),
            (Model::Original, _) => OriginalPlan::of(args).map(Self::Original),
        }
    }
}

impl OpenPlan {
    fn of(args: &LoadArgs, rate: f64) -> Self {
        Self {
            rate,
            arrivals: args.arrivals,
            max_outstanding: args.max_outstanding,
            duration: args.duration.unwrap_or(OPEN_DURATION),
            customers: args.customers.unwrap_or(u32::MAX),
        }
    }
}

impl ClosedPlan {
    fn of(args: &LoadArgs) -> Self {
        Self {
            clients: args.clients.unwrap_or(50),
            duration: args.duration,
            customers: args.customers.unwrap_or(100_000),
        }
    }
}

impl OriginalPlan {
    fn of(args: &LoadArgs) -> Result<Self> {
        if args.rate.is_some() || args.customers.is_some() || !args.promotion.is_empty() {
            bail!("--model original takes neither --rate, --customers nor --promotion");
        }
        if args.direct {
            bail!("--direct is for routes that say who decides; --model original has none");
        }
        if args.history.is_some() {
            bail!(
                "--history is for routes that name serial and position; --model original has none"
            );
        }
        if args.batch.is_some() {
            bail!("--batch is for a route that --model original does not have");
        }
        if args.protocol != Protocol::Http {
            bail!("--protocol is for native routes; those of --model original are HTTP");
        }
        Ok(Self {
            clients: args.clients.unwrap_or(200),
            duration: args.duration.unwrap_or(ORIGINAL_DURATION),
            open_every: args.open_every,
        })
    }
}

/// Coupons of each promotion that a run opens.
pub(crate) fn coupons(args: &LoadArgs) -> u32 {
    args.coupons.unwrap_or(match args.model {
        Model::Grab => 10_000,
        Model::Original => 50,
    })
}
