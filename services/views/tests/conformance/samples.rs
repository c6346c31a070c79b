//! Rows as the projector would make them, and the shortest ways to write and read many.

use std::collections::BTreeMap;

use jiff::Timestamp;
use seckill_proto::{CouponId, Position, partition_of};
use seckill_views::{
    Changes, CouponRow, CouponsByCustomer, CouponsByDay, CouponsByPromotion, FinishReason,
    FinishedPromotions, GrabsPerSecond, OpenPromotions, Page, Progress, PromotionRow,
    PromotionState, Promotions, View, Views, ViewsError,
};

use super::PARTITIONS;

pub(crate) type Engine = Views;

/// More rows than any sample has in one list.
const LONGEST_LIST: usize = 10_000;

/// Milliseconds of the epoch.
const START: i64 = 1_794_391_200_123;

pub(crate) fn at(offset: u64) -> Timestamp {
    Timestamp::from_millisecond(START + i64::try_from(offset).unwrap()).unwrap()
}

pub(crate) fn place(promotion_id: &str, offset: u64) -> Position {
    Position { partition: partition_of(promotion_id, PARTITIONS), offset }
}

pub(crate) fn promotion(id: &str, offset: u64, state: PromotionState) -> PromotionRow {
    let finished = state == PromotionState::Finished;
    PromotionRow {
        id: id.into(),
        name: format!("The promotion {id}"),
        coupons: 1_000,
        remaining: 1_000 - u32::try_from(offset % 1_000).unwrap(),
        discount: 0.15,
        limit_per_customer: 1,
        starts_at: at(1),
        finishes_at: offset.is_multiple_of(2).then(|| at(500)),
        state,
        finish_reason: finished.then_some(FinishReason::SoldOut),
        created: place(id, 0),
        position: place(id, offset),
    }
}

pub(crate) fn coupon(promotion_id: &str, serial: u32, customer_id: &str, offset: u64) -> CouponRow {
    CouponRow {
        id: CouponId { promotion_id: promotion_id.into(), serial }.to_string(),
        promotion_id: promotion_id.into(),
        serial,
        customer_id: customer_id.into(),
        discount: 0.1 + 0.2, // a double with all of its digits
        grabbed_at: at(offset),
        position: place(promotion_id, offset),
    }
}

pub(crate) fn progress(partition: u32, next_offset: u64) -> Progress {
    Progress {
        partition,
        origin: "00112233445566778899aabbccddeeff".into(),
        next_offset,
        term: next_offset.checked_sub(3),
        next_seq: 2,
        history: u64::MAX - 7,
        history_before_last: 1,
        revision: 0,
        stopped: None,
    }
}

/// Coupons 1 to `count` of a promotion, each to another customer.
pub(crate) fn dense(promotion_id: &str, count: u32) -> Vec<CouponRow> {
    (1..=count)
        .map(|serial| {
            coupon(promotion_id, serial, &format!("{promotion_id} c{serial}"), serial.into())
        })
        .collect()
}

/// Writes rows of any partitions, each partition with the progress that covers its rows.
pub(crate) async fn write(views: &Engine, promotions: &[PromotionRow], coupons: &[CouponRow]) {
    let mut parts: BTreeMap<u32, (Vec<PromotionRow>, Vec<CouponRow>)> = BTreeMap::new();
    for row in promotions {
        parts.entry(row.position.partition).or_default().0.push(row.clone());
    }
    for row in coupons {
        parts.entry(row.position.partition).or_default().1.push(row.clone());
    }
    for (partition, (promotions, coupons)) in parts {
        let offsets = promotions.iter().map(|row| row.position.offset);
        let offsets = offsets.chain(coupons.iter().map(|row| row.position.offset));
        let next_offset = offsets.max().unwrap() + 1;
        let progress = progress(partition, next_offset);
        let mut rows = Rows::of(views.open_promotions(partition).await.unwrap());
        let open = rows.follow(&promotions);
        let (none, seconds) = (Changes::none(progress), seconds_of(&coupons));
        views.write(Changes { promotions, open, coupons, seconds, ..none }).await.unwrap();
    }
}

/// The seconds in which they were granted, as a projector would make them.
pub(crate) fn seconds_of(coupons: &[CouponRow]) -> Vec<GrabsPerSecond> {
    let mut seconds: BTreeMap<_, GrabsPerSecond> = BTreeMap::new();
    for row in coupons.iter().map(GrabsPerSecond::of) {
        let second = seconds.entry((row.promotion_id.clone(), row.second));
        let kept = second.or_insert_with(|| row.clone());
        if kept.position.offset < row.position.offset {
            *kept = row;
        }
    }
    seconds.into_values().collect()
}

/// The rows of open promotions of one partition, as a projector keeps them.
#[derive(Default)]
pub(crate) struct Rows {
    rows: BTreeMap<u32, OpenPromotions>,
}

impl Rows {
    pub(crate) fn of(stored: Vec<OpenPromotions>) -> Self {
        Self { rows: stored.into_iter().map(|row| (row.row, row)).collect() }
    }

    /// The rows that these change.
    pub(crate) fn follow(&mut self, promotions: &[PromotionRow]) -> Vec<OpenPromotions> {
        let mut sorted: Vec<_> = promotions.iter().collect();
        sorted.sort_by_key(|row| row.position.offset);
        let mut changed = BTreeMap::new();
        for PromotionRow { id, state, position, .. } in sorted {
            let number = OpenPromotions::row_of(id);
            let row = self.rows.entry(number);
            let row = row.or_insert_with(|| OpenPromotions::empty(position.partition, number));
            // Several may be of one position here, unlike in a log.
            let before = row.position;
            if position.offset == before.offset && changed.contains_key(&number) {
                row.position.offset -= 1;
            }
            if row.follow(id, *state, *position) {
                changed.insert(number, row.clone());
            }
        }
        changed.into_values().collect()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = OpenPromotions> {
        self.rows.values().cloned()
    }
}

/// Every promotion on sale.
pub(crate) async fn active(views: &Engine) -> Vec<PromotionRow> {
    promotions(views, Some(PromotionState::Active), 1_000).await
}

pub(crate) fn by_key(rows: &mut [PromotionRow]) {
    rows.sort_by(|one, other| {
        (one.position.partition, &one.id).cmp(&(other.position.partition, &other.id))
    });
}

pub(crate) fn by_promotion(rows: &mut [CouponRow]) {
    rows.sort_by(|one, other| {
        (&one.promotion_id, one.serial).cmp(&(&other.promotion_id, other.serial))
    });
}

/// All rows of a list, page after page, each but the last one full.
pub(crate) async fn pages<T, F>(limit: usize, read: F) -> Vec<T>
where
    F: AsyncFn(Option<&str>) -> Result<Page<T>, ViewsError>,
{
    let mut all = Vec::new();
    let mut cursor: Option<String> = None;
    loop {
        let page = read(cursor.as_deref()).await.unwrap();
        assert!(page.items.len() <= limit, "{} rows, asked for {limit}", page.items.len());
        all.extend(page.items);
        assert!(all.len() <= LONGEST_LIST, "the list does not end");
        cursor = page.next;
        if cursor.is_none() {
            return all;
        }
        assert!(all.len().is_multiple_of(limit), "a page before the last is not full");
    }
}

pub(crate) async fn coupons_of_promotion(views: &Engine, id: &str, limit: usize) -> Vec<CouponRow> {
    pages(limit, async |cursor| views.coupons_of_promotion(id, cursor, limit).await).await
}

pub(crate) async fn coupons_of_customer(views: &Engine, id: &str, limit: usize) -> Vec<CouponRow> {
    pages(limit, async |cursor| views.coupons_of_customer(id, cursor, limit).await).await
}

pub(crate) async fn promotions(
    views: &Engine,
    state: Option<PromotionState>,
    limit: usize,
) -> Vec<PromotionRow> {
    pages(limit, async |cursor| views.promotions(state, cursor, limit).await).await
}

async fn scan<V: View>(views: &Engine) -> Vec<V::Row> {
    let mut rows = Vec::new();
    views.scan::<V>(&mut |row| rows.push(row.unwrap())).await.unwrap();
    rows
}

/// Every table, each in the order of its key.
#[derive(Debug, PartialEq)]
pub(crate) struct Tables {
    pub(crate) promotions: Vec<PromotionRow>,
    pub(crate) open_promotions: Vec<OpenPromotions>,
    pub(crate) finished_promotions: Vec<PromotionRow>,
    pub(crate) coupons_by_promotion: Vec<CouponRow>,
    pub(crate) coupons_by_customer: Vec<CouponRow>,
    pub(crate) coupons_by_day: Vec<CouponRow>,
    pub(crate) grabs_per_second: Vec<GrabsPerSecond>,
}

impl Tables {
    pub(crate) async fn scan(views: &Engine) -> Self {
        let mut promotions = scan::<Promotions>(views).await;
        let mut open_promotions = scan::<OpenPromotions>(views).await;
        let mut finished_promotions = scan::<FinishedPromotions>(views).await;
        let mut coupons_by_promotion = scan::<CouponsByPromotion>(views).await;
        let mut coupons_by_customer = scan::<CouponsByCustomer>(views).await;
        let mut coupons_by_day = scan::<CouponsByDay>(views).await;
        let mut grabs_per_second = scan::<GrabsPerSecond>(views).await;
        by_key(&mut promotions);
        open_promotions.sort_by_key(|row| (row.position.partition, row.row));
        by_key(&mut finished_promotions);
        by_promotion(&mut coupons_by_promotion);
        by_promotion(&mut coupons_by_customer);
        by_promotion(&mut coupons_by_day);
        by_second(&mut grabs_per_second);
        Self {
            promotions,
            open_promotions,
            finished_promotions,
            coupons_by_promotion,
            coupons_by_customer,
            coupons_by_day,
            grabs_per_second,
        }
    }
}

pub(crate) fn by_second(rows: &mut [GrabsPerSecond]) {
    rows.sort_by(|a, b| (&a.promotion_id, a.second).cmp(&(&b.promotion_id, b.second)));
}
