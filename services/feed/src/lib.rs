//! The feed: every coupon granted, once and in one order, for programs of others.
//!
//! It is made of the log and nothing else, so it can be held against it ([`FeedCheck`]). Where the log has
//! lost records, it goes on with what is left ([`accept_feed_loss`]).

mod check;
mod feeder;
mod loss;
mod progress;
mod shop;
mod source;
#[cfg(test)]
mod under_faults;

pub use check::{FeedCheck, FeedCompared};
pub use feeder::Feeder;
pub use loss::{accept_feed_loss, lost_of_feed};
pub use progress::FeedError;
pub use shop::{Shop, Told};

/// What the metrics of a feeder mean.
pub fn describe_metrics() {
    metrics::describe_counter!(
        "seckill_fed_coupons_total",
        "Coupons written to the feed of other programs"
    );
    metrics::counter!("seckill_fed_coupons_total").increment(0);
}
