//! From events to the rows of every view. Pure. A new view adds what it makes of events here.

use std::collections::{BTreeMap, BTreeSet};

use seckill_proto::Position;
use seckill_proto::v1::Event;
use seckill_views::{Changes, GrabsPerSecond, Progress};

use crate::open::Open;
use crate::projection::{Projection, Unscheduled};

/// What rows are made with, of one partition.
#[derive(Debug, Default)]
pub(crate) struct Projections {
    pub(crate) promotions: Projection,
    pub(crate) open: Open,
}

impl Projections {
    /// Applies events that follow each other, and gives the rows that they change. The rows of their
    /// promotions are at hand.
    pub(crate) fn changes(
        &mut self,
        events: &[(u64, Event)],
        progress: Progress,
    ) -> Result<Changes, Unscheduled> {
        let (mut coupons, mut seconds) = (Vec::new(), BTreeMap::new());
        let mut touched = BTreeSet::new();
        for (offset, event) in events {
            let position = Position { partition: progress.partition, offset: *offset };
            if let Some(coupon) = self.promotions.apply(event, position)? {
                let row = GrabsPerSecond::of(&coupon);
                seconds.insert((event.promotion_id.as_str(), row.second), row);
                coupons.push(coupon);
            }
            if let Some(row) = self.promotions.get(&event.promotion_id) {
                self.open.apply(event, row.state, position);
            }
            touched.insert(event.promotion_id.as_str());
        }
        let promotions = touched.into_iter().filter_map(|id| self.promotions.get(id).cloned());
        let (promotions, open) = (promotions.collect(), self.open.take_changed());
        let seconds = seconds.into_values().collect();
        Ok(Changes { promotions, open, coupons, seconds, progress })
    }
}
