//! Which promotions of a partition are not over, as events schedule, start and finish them. Pure.

use std::collections::{BTreeMap, BTreeSet};

use seckill_proto::Position;
use seckill_proto::v1::{Event, event};
use seckill_views::{OpenPromotions, PromotionState};

/// The rows of one partition.
#[derive(Debug, Default)]
pub(crate) struct Open {
    rows: BTreeMap<u32, OpenPromotions>,
    /// Rows that have changed since they were last taken, or may be missing somewhere.
    changed: BTreeSet<u32>,
}

impl Open {
    /// As they are stored: at the progress, or further.
    pub(crate) fn resume(stored: Vec<OpenPromotions>) -> Self {
        let rows = stored.into_iter().map(|row| (row.row, row)).collect();
        Self { rows, changed: BTreeSet::new() }
    }

    /// Applies an event. A row is written even where the same stretch of the log takes the promotion
    /// out again: another writer may have stopped in between.
    /// `state` is the one that the event brings its promotion to.
    pub(crate) fn apply(&mut self, event: &Event, state: PromotionState, position: Position) {
        if !event.body.as_ref().is_some_and(moves) {
            return;
        }
        let number = OpenPromotions::row_of(&event.promotion_id);
        let row = self.rows.entry(number);
        let row = row.or_insert_with(|| OpenPromotions::empty(position.partition, number));
        // Also where the row reflects it already: of two tables that are written together only one may have
        // it, the one that the row was read from.
        let _ = row.follow(&event.promotion_id, state, position);
        self.changed.insert(number);
    }

    /// The rows that have changed since the last call.
    pub(crate) fn take_changed(&mut self) -> Vec<OpenPromotions> {
        let changed = std::mem::take(&mut self.changed);
        changed.iter().filter_map(|number| self.rows.get(number).cloned()).collect()
    }
}

/// Whether an event may bring its promotion to another state.
fn moves(body: &event::Body) -> bool {
    !matches!(body, event::Body::Grabbed(_) | event::Body::Changed(_))
}

#[cfg(test)]
mod tests {
    use seckill_proto::v1::{PromotionFinished, PromotionScheduled, PromotionStarted, event::Body};

    use super::*;

    fn apply(open: &mut Open, offset: u64, id: &str, body: Body) {
        let event = Event { promotion_id: id.into(), body: Some(body), ..Event::default() };
        let state = match event.body {
            Some(Body::Scheduled(_)) => PromotionState::Scheduled,
            Some(Body::Finished(_)) => PromotionState::Finished,
            _ => PromotionState::Active,
        };
        open.apply(&event, state, Position { partition: 0, offset });
    }

    fn life(open: &mut Open, from: u64) {
        apply(open, from, "p", Body::Scheduled(PromotionScheduled::default()));
        apply(open, from + 1, "p", Body::Started(PromotionStarted {}));
    }

    #[test]
    fn a_promotion_is_listed_until_it_finishes() {
        let mut open = Open::default();
        life(&mut open, 1);
        let rows = open.take_changed();
        assert_eq!((rows.len(), rows[0].active.as_slice()), (1, &["p".to_owned()][..]));
        assert!(open.take_changed().is_empty());
        apply(&mut open, 3, "p", Body::Finished(PromotionFinished::default()));
        assert!(open.take_changed()[0].active.is_empty());
    }

    #[test]
    fn a_promotion_that_came_and_went_is_written_all_the_same() {
        let mut open = Open::default();
        life(&mut open, 1);
        apply(&mut open, 3, "p", Body::Finished(PromotionFinished::default()));
        let rows = open.take_changed();
        assert_eq!((rows[0].position.offset, rows[0].active.len()), (3, 0));
    }

    #[test]
    fn what_is_stored_and_further_stays() {
        let mut open = Open::default();
        life(&mut open, 1);
        apply(&mut open, 3, "p", Body::Finished(PromotionFinished::default()));
        let stored = open.take_changed();
        let mut again = Open::resume(stored.clone());
        life(&mut again, 1);
        assert_eq!(again.take_changed(), stored, "written once more, for tables that have it not");
    }
}
