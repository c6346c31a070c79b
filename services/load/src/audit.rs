//! Checks what the crowd was told against the views, after everybody was answered.
//!
//! Reading is here, judging is in [`judge`], a pure function. Nothing found while reading ends the
//! audit: what could not be read is a finding too.

mod finding;
mod judge;

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use seckill_proto::{CouponId, Position};

use crate::crowd::Crowd;
use crate::ledger::{Answer, Book, Told};
use crate::promotion::{Claim, Offer};
use crate::views::{CouponRow, PromotionRow, ReadError, Views};

pub(crate) use finding::{Findings, Rule};
use judge::{Case, Holder, Row};

const POLL: Duration = Duration::from_millis(50);
/// A coupon's row and its promotion's row are not written at once; others may be grabbing.
const READINGS: usize = 3;
const BETWEEN_READINGS: Duration = Duration::from_millis(300);
/// Customers who were refused whose own view is read, per sale. Of those who were given a coupon all
/// are, so many at once.
const SAMPLE: usize = 50;
const AT_ONCE: usize = 32;

/// What is not judged where others may grab too.
pub(crate) const NOT_JUDGED_WHEN_SHARED: &str = "existing promotions may serve others too, so not judged there: that all coupons were given \
     while anyone wanted one, that holders are of this run, refusals as finished or not started, \
     and serials beyond those that the promotion's row counted before its coupons were read";

pub(crate) struct Auditor<'a> {
    pub(crate) views: &'a Views,
    pub(crate) crowd: &'a Crowd,
    pub(crate) sales: &'a [Arc<Offer>],
    /// For the views to catch up, and for any one page.
    pub(crate) timeout: Duration,
}

/// What the audit saw.
#[derive(Debug)]
pub(crate) struct Audit {
    pub(crate) findings: Findings,
    pub(crate) coupons_read: u64,
    pub(crate) customers_looked_up: u64,
    pub(crate) took: Duration,
}

/// A sale's rows as they were read.
struct Reading {
    rows: Vec<Row>,
    before: PromotionRow,
    after: PromotionRow,
}

impl Auditor<'_> {
    pub(crate) async fn audit(&self, book: &mut Book) -> Audit {
        let started = Instant::now();
        let mut audit = Audit {
            findings: Findings::default(),
            coupons_read: 0,
            customers_looked_up: 0,
            took: Duration::ZERO,
        };
        for contradiction in &book.contradictions {
            audit.findings.add(Rule::Contradiction, || contradiction.clone());
        }
        let unlisted = book.contradicted - book.contradictions.len() as u64;
        audit.findings.add_unlisted(Rule::Contradiction, unlisted);
        self.catch_up(book, started + self.timeout, &mut audit.findings).await;

        book.told.sort_unstable_by_key(|told| (told.sale, told.customer));
        for sale in self.sales {
            let start = book.told.partition_point(|told| told.sale < sale.index);
            let end = book.told.partition_point(|told| told.sale <= sale.index);
            self.audit_sale(sale, &book.told[start..end], &mut audit).await;
        }
        audit.took = started.elapsed();
        audit
    }

    async fn catch_up(&self, book: &Book, deadline: Instant, findings: &mut Findings) {
        for (&partition, &offset) in &book.highest {
            let position = Position { partition, offset };
            while let Err(error) = self.views.reached(position).await {
                if Instant::now() > deadline {
                    findings.add(Rule::ViewsBehind, || format!("position {position}: {error}"));
                    break;
                }
                tokio::time::sleep(POLL).await;
            }
        }
    }

    async fn audit_sale(&self, sale: &Offer, told: &[Told], audit: &mut Audit) {
        self.wait_for_coupons(sale, told).await;
        let reading = match self.read_until_steady(sale).await {
            Ok(reading) => reading,
            Err(error) => {
                return audit.findings.add(Rule::Unreadable, || error.to_string());
            }
        };
        audit.coupons_read += reading.rows.len() as u64;
        let case = Case {
            crowd: self.crowd,
            sale,
            told,
            rows: &reading.rows,
            coupons: match sale.claim {
                Claim::Ours | Claim::DemandedToTheEnd => sale.coupons,
                Claim::Shared => reading.after.coupons,
            },
            given: given(&reading.before)..=given(&reading.after),
        };
        judge::judge(&case, &mut audit.findings);
        self.look_up_customers(sale, told, audit).await;
    }

    /// The original's routes tell no position, so there the count of coupons given is waited for.
    /// If it does not come, the judge finds whose is missing.
    async fn wait_for_coupons(&self, sale: &Offer, told: &[Told]) {
        let yours = told.iter().filter(|told| told.answer.is_yours()).count();
        let deadline = Instant::now() + self.timeout;
        while Instant::now() < deadline {
            if let Ok(row) = self.views.promotion(&sale.id).await
                && given(&row) as usize >= yours
            {
                return;
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn read_until_steady(&self, sale: &Offer) -> Result<Reading, ReadError> {
        let mut reading = self.read(sale).await?;
        for _ in 1..READINGS {
            if reading.is_steady() {
                break;
            }
            tokio::time::sleep(BETWEEN_READINGS).await;
            reading = self.read(sale).await?;
        }
        Ok(reading)
    }

    async fn read(&self, sale: &Offer) -> Result<Reading, ReadError> {
        let before = self.views.promotion_in_time(&sale.id, self.timeout).await?;
        let mut rows = Vec::new();
        let keep = |row| rows.push(self.row(sale, row));
        self.views.coupons_of_promotion(&sale.id, self.timeout, keep).await?;
        let after = self.views.promotion_in_time(&sale.id, self.timeout).await?;
        Ok(Reading { rows, before, after })
    }

    fn row(&self, sale: &Offer, row: CouponRow) -> Row {
        let expected = CouponId { promotion_id: sale.id.clone(), serial: row.serial };
        let fits = row.promotion_id == sale.id && row.id == expected.to_string();
        Row {
            serial: row.serial,
            holder: match self.crowd.number_of(&row.customer_id) {
                Some(number) => Holder::Ours(number),
                None => Holder::Stranger(row.customer_id.into()),
            },
            odd_id: (!fits).then(|| format!("{} of {}", row.id, row.promotion_id).into()),
        }
    }

    /// Reads the own views of every customer who was given a coupon, and of some who were refused.
    async fn look_up_customers(&self, sale: &Offer, told: &[Told], audit: &mut Audit) {
        let yours = told.iter().filter(|told| told.answer.is_yours());
        let refused: Vec<_> =
            told.iter().filter(|told| matches!(told.answer, Answer::Refused(_))).collect();
        let asked = stream::iter(yours.chain(sample(&refused)));
        let reads = asked.map(|told| async move {
            let customer_id = self.crowd.customer_id(told.customer);
            let own = self.views.coupons_of_customer(&customer_id, self.timeout).await;
            (told, customer_id, own)
        });
        let mut reads = std::pin::pin!(reads.buffer_unordered(AT_ONCE));
        while let Some((told, customer_id, own)) = reads.next().await {
            audit.customers_looked_up += 1;
            match own {
                Ok(rows) => judge::judge_own(sale, told, &customer_id, &rows, &mut audit.findings),
                Err(error) => {
                    // One that cannot be read is evidence enough; each may take the whole timeout.
                    return audit.findings.add(Rule::Unreadable, || error.to_string());
                }
            }
        }
    }
}

impl Reading {
    fn is_steady(&self) -> bool {
        (given(&self.before)..=given(&self.after)).contains(&count(&self.rows))
    }
}

fn sample<'a>(told: &'a [&'a Told]) -> impl Iterator<Item = &'a Told> {
    told.iter().copied().step_by(told.len().div_ceil(SAMPLE).max(1))
}

const fn given(row: &PromotionRow) -> u32 {
    row.coupons.saturating_sub(row.remaining)
}

fn count(rows: &[Row]) -> u32 {
    u32::try_from(rows.len()).unwrap_or(u32::MAX)
}
