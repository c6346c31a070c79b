//! The newest position wins, in whatever order, however often and from however many tasks
//! the same changes are written.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use seckill_proto::partition_of;
use seckill_views::PromotionState::{Active, Finished, Scheduled};
use seckill_views::{Changes, CouponRow, PromotionRow};

use super::PARTITIONS;
use super::samples::{
    Engine, Rows, Tables, active, by_key, by_promotion, coupon, progress, promotion, promotions,
    seconds_of, write,
};

pub(crate) async fn an_older_promotion_changes_nothing(views: Engine) {
    for (newer, older) in [(Scheduled, Scheduled), (Active, Scheduled), (Active, Active)] {
        let id = format!("{newer:?} {older:?}");
        let row = promotion(&id, 9, newer);
        write(&views, std::slice::from_ref(&row), &[]).await;
        write(&views, &[promotion(&id, 8, older)], &[]).await;
        assert_eq!(views.promotion(&id).await.unwrap().as_ref(), Some(&row));
        assert!(promotions(&views, Some(newer), 50).await.contains(&row), "{id}");
    }
}

pub(crate) async fn an_older_coupon_changes_nothing(views: Engine) {
    let row = coupon("p", 1, "ann", 9);
    write(&views, &[], std::slice::from_ref(&row)).await;
    write(&views, &[], &[CouponRow { discount: 0.5, ..coupon("p", 1, "ann", 8) }]).await;
    let tables = Tables::scan(&views).await;
    assert_eq!(tables.coupons_by_promotion, std::slice::from_ref(&row));
    assert_eq!(tables.coupons_by_customer, [row]);
}

pub(crate) async fn a_finished_promotion_is_never_revived(views: Engine) {
    let finished = promotion("p", 9, Finished);
    write(&views, &[promotion("p", 5, Active)], &[]).await;
    write(&views, std::slice::from_ref(&finished), &[]).await;
    write(&views, &[promotion("q", 9, Finished)], &[]).await; // never seen as active
    for (id, offset) in [("p", 5), ("p", 8), ("q", 8)] {
        write(&views, &[promotion(id, offset, Active)], &[]).await;
        assert_eq!(active(&views).await, [], "{id} of {offset}");
    }
    assert_eq!(views.promotion("p").await.unwrap(), Some(finished));
    assert_eq!(promotions(&views, Some(Active), 5).await, []);
}

pub(crate) async fn any_order_ends_in_the_same_rows(views: Engine) {
    let mut model = Model::default();
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);
        let history = history(&format!("seed {seed}"), &mut random);
        history.iter().for_each(|changes| model.reach(changes));
        let mut writes = [history.clone(), history].concat();
        writes.shuffle(&mut random);
        for changes in writes {
            views.write(changes).await.unwrap();
        }
        assert_eq!(Tables::scan(&views).await, model.tables(), "seed {seed}");
    }
    for (partition, next_offset) in model.progress {
        let reached = views.progress(partition).await.unwrap();
        assert_eq!(reached, Some(progress(partition, next_offset)));
    }
}

pub(crate) async fn writers_beside_each_other_end_in_the_same_rows(views: Engine) {
    let mut random = StdRng::seed_from_u64(7);
    let history = Arc::new(history("beside", &mut random));
    let mut writers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let mut order: Vec<_> = (0..history.len()).collect();
        order.shuffle(&mut random);
        let (views, history) = (views.clone(), Arc::clone(&history));
        writers.spawn(async move {
            for index in order {
                views.write(history[index].clone()).await.unwrap();
            }
        });
    }
    writers.join_all().await;
    let mut model = Model::default();
    history.iter().for_each(|changes| model.reach(changes));
    assert_eq!(Tables::scan(&views).await, model.tables());
}

/// The lives of some promotions of one partition, in stretches as the projector would cut them.
fn history(name: &str, random: &mut StdRng) -> Vec<Changes> {
    let partition = partition_of(name, PARTITIONS);
    let ids = (0..).map(|number| format!("{name} {number}"));
    let ids: Vec<_> = ids.filter(|id| partition_of(id, PARTITIONS) == partition).take(3).collect();
    let mut lives: Vec<_> = ids.iter().map(|id| Life { id, events: 0, serial: 0 }).collect();
    let (mut offset, mut open) = (0, Rows::default());
    (0..12)
        .map(|_| {
            let (mut rows, mut coupons) = (BTreeMap::new(), Vec::new());
            for _ in 0..random.random_range(1..6) {
                let life = &mut lives[random.random_range(0..3)];
                offset += 1;
                coupons.extend(life.grab(offset));
                rows.insert(life.id.to_owned(), life.step(offset));
            }
            let progress = progress(partition, offset + 1);
            let promotions: Vec<_> = rows.into_values().collect();
            let none = Changes::none(progress);
            let (open, seconds) = (open.follow(&promotions), seconds_of(&coupons));
            Changes { open, promotions, coupons, seconds, ..none }
        })
        .collect()
}

struct Life<'a> {
    id: &'a str,
    events: u32,
    serial: u32,
}

impl Life<'_> {
    /// Two events scheduled, nine on sale, then finished.
    fn step(&mut self, offset: u64) -> PromotionRow {
        self.events += 1;
        let state = match self.events {
            ..3 => Scheduled,
            3..12 => Active,
            12.. => Finished,
        };
        promotion(self.id, offset, state)
    }

    fn grab(&mut self, offset: u64) -> Option<CouponRow> {
        let on_sale = (2..12).contains(&self.events);
        self.serial += u32::from(on_sale);
        on_sale.then(|| coupon(self.id, self.serial, &format!("c{}", self.serial % 3), offset))
    }
}

/// What must be there: of every key the row of the greatest position.
#[derive(Default)]
struct Model {
    promotions: BTreeMap<String, PromotionRow>,
    coupons: BTreeMap<String, CouponRow>,
    open: BTreeMap<u32, Rows>,
    progress: BTreeMap<u32, u64>,
}

impl Model {
    fn reach(&mut self, changes: &Changes) {
        for row in &changes.promotions {
            self.promotions.insert(row.id.clone(), row.clone());
        }
        for row in &changes.coupons {
            self.coupons.insert(row.id.clone(), row.clone());
        }
        let open = self.open.entry(changes.progress.partition).or_default();
        open.follow(&changes.promotions);
        let reached = self.progress.entry(changes.progress.partition).or_default();
        *reached = changes.progress.next_offset.max(*reached);
    }

    fn tables(&self) -> Tables {
        let mut promotions: Vec<_> = self.promotions.values().cloned().collect();
        by_key(&mut promotions);
        let mut coupons: Vec<_> = self.coupons.values().cloned().collect();
        by_promotion(&mut coupons);
        let finished = promotions.iter().filter(|row| row.state == Finished).cloned();
        Tables {
            open_promotions: self.open.values().flat_map(Rows::all).collect(),
            finished_promotions: finished.collect(),
            promotions,
            coupons_by_promotion: coupons.clone(),
            coupons_by_customer: coupons.clone(),
            grabs_per_second: seconds_of(&coupons),
            coupons_by_day: coupons,
        }
    }
}
