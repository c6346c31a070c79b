//! The judgement: what the crowd was told of one sale, against the sale's rows.
//!
//! A pure function. Every rule has a test that breaks it once.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use super::finding::{Findings, Rule};
use crate::crowd::Crowd;
use crate::ledger::{Answer, Refusal, Told};
use crate::promotion::{Claim, Offer};
use crate::views::CouponRow;

/// Who holds a coupon.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Holder {
    /// A customer of this run.
    Ours(u32),
    Stranger(Box<str>),
}

/// A coupon as the view has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) serial: u32,
    pub(super) holder: Holder,
    /// Its id and promotion, when they are not what the serial says.
    pub(super) odd_id: Option<Box<str>>,
}

/// One sale, everything told of it and everything in the views of it.
pub(super) struct Case<'a> {
    pub(super) crowd: &'a Crowd,
    pub(super) sale: &'a Offer,
    /// In order of customers, each once.
    pub(super) told: &'a [Told],
    pub(super) rows: &'a [Row],
    /// How many coupons there are.
    pub(super) coupons: u32,
    /// How many the promotion's row counted as given, before and after the rows were read.
    pub(super) given: RangeInclusive<u32>,
}

pub(super) fn judge(case: &Case<'_>, findings: &mut Findings) {
    let held = Holdings::of(case.rows);
    for told in case.told {
        judge_told(case, told, held.of_customer(told.customer), findings);
    }
    judge_told_twice(case, findings);
    judge_holders(case, findings);
    judge_serials(case, findings);
    judge_limit(case, findings);
    judge_counts(case, findings);
}

/// One customer's own view.
pub(super) fn judge_own(
    sale: &Offer,
    told: &Told,
    customer_id: &str,
    rows: &[CouponRow],
    findings: &mut Findings,
) {
    let here: Vec<_> = rows.iter().filter(|row| row.promotion_id == sale.id).collect();
    let all_his = rows.iter().all(|row| row.customer_id == customer_id);
    let as_told = match told.answer {
        Answer::Granted(serial) | Answer::AlreadyYours(serial) => {
            here.len() == 1 && serial.is_none_or(|serial| here[0].serial == serial.get())
        }
        Answer::Refused(_) => here.is_empty(),
        Answer::GaveUp => true,
    };
    if !all_his || !as_told {
        findings.add(Rule::OwnCoupons, || {
            format!("{customer_id} was told {:?}, his view shows {rows:?}", told.answer)
        });
    }
}

/// Serials by customer of this run.
struct Holdings {
    sorted: Vec<(u32, u32)>,
}

impl Holdings {
    fn of(rows: &[Row]) -> Self {
        let ours = rows.iter().filter_map(|row| match row.holder {
            Holder::Ours(customer) => Some((customer, row.serial)),
            Holder::Stranger(_) => None,
        });
        let mut sorted: Vec<_> = ours.collect();
        sorted.sort_unstable();
        Self { sorted }
    }

    fn of_customer(&self, customer: u32) -> &[(u32, u32)] {
        let start = self.sorted.partition_point(|held| held.0 < customer);
        let end = self.sorted.partition_point(|held| held.0 <= customer);
        &self.sorted[start..end]
    }
}

/// Every customer of a run asks for one coupon of a sale.
fn judge_told(case: &Case<'_>, told: &Told, held: &[(u32, u32)], findings: &mut Findings) {
    if let Some(broken) = broken_by(told, held) {
        findings.add(broken, || line(case, told, held));
    }
    if held.len() > 1 {
        findings.add(Rule::MoreThanAsked, || line(case, told, held));
    }
    if matches!(told.answer, Answer::AlreadyYours(_)) && !told.doubted {
        findings.add(Rule::FalseAlreadyYours, || line(case, told, held));
    }
    if let Answer::Refused(refusal) = told.answer
        && !can_be(refusal, case.sale.claim)
    {
        findings.add(Rule::WrongRefusal, || line(case, told, held));
    }
}

fn broken_by(told: &Told, held: &[(u32, u32)]) -> Option<Rule> {
    let holds = !held.is_empty();
    match told.answer {
        Answer::Granted(_) | Answer::AlreadyYours(_) if !holds => Some(Rule::Missing),
        Answer::Granted(Some(serial)) | Answer::AlreadyYours(Some(serial)) => {
            let there = held.iter().any(|held| held.1 == serial.get());
            (!there).then_some(Rule::Different)
        }
        Answer::Granted(None) | Answer::AlreadyYours(None) => None,
        Answer::Refused(_) => holds.then_some(Rule::RefusedHolds),
        Answer::GaveUp => (holds && !told.doubted).then_some(Rule::TurnedAwayHolds),
    }
}

/// Whether a customer who asks for the only coupon may be refused so. A promotion of ours was
/// active before the customer came and has no end; over the original's routes `finished` also stands for
/// sold out, and an existing promotion may do what it likes.
const fn can_be(refusal: Refusal, claim: Claim) -> bool {
    match (refusal, claim) {
        (Refusal::SoldOut, _)
        | (Refusal::Finished, Claim::DemandedToTheEnd | Claim::Shared)
        | (Refusal::NotStarted | Refusal::NotFound, Claim::Shared) => true,
        (Refusal::Finished, Claim::Ours)
        | (Refusal::NotStarted | Refusal::NotFound, Claim::Ours | Claim::DemandedToTheEnd)
        | (Refusal::LimitReached | Refusal::Invalid, _) => false,
    }
}

fn line(case: &Case<'_>, told: &Told, held: &[(u32, u32)]) -> String {
    let customer = case.crowd.customer_id(told.customer);
    let sale = &case.sale.id;
    let doubt = if told.doubted { " after an unknown outcome" } else { "" };
    let serials: Vec<_> = held.iter().map(|held| held.1).collect();
    format!("{sale}: {customer} was told {:?}{doubt}, holds serials {serials:?}", told.answer)
}

fn judge_told_twice(case: &Case<'_>, findings: &mut Findings) {
    let mut told: Vec<_> = case.told.iter().filter_map(serial_told).collect();
    told.sort_unstable();
    for pair in told.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        findings.add(Rule::ToldTwice, || {
            let [one, other] = [pair[0].1, pair[1].1].map(|number| case.crowd.customer_id(number));
            format!("{}: serial {} was told to {one} and {other}", case.sale.id, pair[0].0)
        });
    }
}

fn serial_told(told: &Told) -> Option<(u32, u32)> {
    match told.answer {
        Answer::Granted(serial) | Answer::AlreadyYours(serial) => {
            serial.map(|serial| (serial.get(), told.customer))
        }
        Answer::Refused(_) | Answer::GaveUp => None,
    }
}

fn judge_holders(case: &Case<'_>, findings: &mut Findings) {
    let id = &case.sale.id;
    let asked = |number: u32| case.told.binary_search_by_key(&number, |told| told.customer).is_ok();
    for row in case.rows {
        match (&row.holder, case.sale.claim) {
            (Holder::Ours(number), _) if !asked(*number) => findings.add(Rule::NeverAsked, || {
                format!("{id}: serial {} of {}", row.serial, case.crowd.customer_id(*number))
            }),
            (Holder::Stranger(name), Claim::Ours | Claim::DemandedToTheEnd) => {
                findings.add(Rule::Stranger, || format!("{id}: serial {} of {name}", row.serial))
            }
            (Holder::Ours(_), _) | (Holder::Stranger(_), Claim::Shared) => {}
        }
        if let Some(odd) = &row.odd_id {
            findings.add(Rule::CouponId, || format!("{id}: serial {} is {odd}", row.serial));
        }
    }
}

/// Of a shared sale only the serials that were counted before its rows were read must be there:
/// later ones may have been on their way.
fn judge_serials(case: &Case<'_>, findings: &mut Findings) {
    let id = &case.sale.id;
    let mut serials = BTreeSet::new();
    for row in case.rows.iter().filter(|row| !serials.insert(row.serial)) {
        findings.add(Rule::SerialTwice, || format!("{id}: serial {}", row.serial));
    }
    if serials.contains(&0) {
        findings.add(Rule::SerialGap, || format!("{id}: there is a serial 0"));
    }
    let counted = *case.given.start();
    let last = match case.sale.claim {
        Claim::Ours | Claim::DemandedToTheEnd => serials.last().copied().unwrap_or(0).max(counted),
        Claim::Shared => counted,
    };
    let mut expected = 1_u64;
    for &serial in serials.iter().filter(|&&serial| serial > 0) {
        judge_gap(id, expected, u64::from(serial.min(last.saturating_add(1))), findings);
        expected = u64::from(serial) + 1;
    }
    judge_gap(id, expected, u64::from(last) + 1, findings);
}

/// The serials from `expected` to before `next` are not there.
fn judge_gap(id: &str, expected: u64, next: u64, findings: &mut Findings) {
    if expected < next {
        findings.add(Rule::SerialGap, || format!("{id}: serials {expected} to {} lack", next - 1));
        findings.add_unlisted(Rule::SerialGap, next - expected - 1);
    }
}

fn judge_limit(case: &Case<'_>, findings: &mut Findings) {
    let mut held: HashMap<&Holder, u32> = HashMap::new();
    for row in case.rows {
        *held.entry(&row.holder).or_default() += 1;
    }
    for (holder, count) in held {
        if count > case.sale.limit_per_customer {
            findings.add(Rule::OverLimit, || {
                let name = match holder {
                    Holder::Ours(number) => case.crowd.customer_id(*number),
                    Holder::Stranger(name) => name.to_string(),
                };
                format!("{}: {name} holds {count}", case.sale.id)
            });
        }
    }
}

fn judge_counts(case: &Case<'_>, findings: &mut Findings) {
    let (id, coupons) = (&case.sale.id, case.coupons);
    let rows = super::count(case.rows);
    if rows > coupons {
        findings.add(Rule::Oversold, || format!("{id}: {rows} of {coupons} coupons"));
    }
    if !case.given.contains(&rows) {
        let given = &case.given;
        findings.add(Rule::Remaining, || {
            format!("{id}: {rows} coupons, the promotion's row counts {given:?}")
        });
    }
    let at_least = at_least(case);
    if rows < at_least {
        findings.add(Rule::Undersold, || {
            format!("{id}: {rows} coupons were given, at least {at_least} of {coupons} were due")
        });
    }
}

/// How many coupons must have been given. Who gave up counts for nothing here: they may or may not
/// have got one.
fn at_least(case: &Case<'_>) -> u32 {
    let yours = case.told.iter().filter(|told| told.answer.is_yours()).count();
    let sold_out = case.told.iter().any(|told| told.answer == Answer::Refused(Refusal::SoldOut));
    match case.sale.claim {
        Claim::DemandedToTheEnd => case.coupons,
        Claim::Ours if sold_out => case.coupons,
        Claim::Ours => u32::try_from(yours).unwrap_or(u32::MAX).min(case.coupons),
        Claim::Shared => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::promotion::tests::sale;

    /// Three coupons; customers 0 to 2 got serials 1 to 3, customer 3 was told that it is sold out.
    struct Scene {
        crowd: Crowd,
        sale: Offer,
        told: Vec<Told>,
        rows: Vec<Row>,
        given: RangeInclusive<u32>,
    }

    fn told(customer: u32, answer: Answer) -> Told {
        Told { customer, sale: 0, doubted: false, answer }
    }

    fn doubted(customer: u32, answer: Answer) -> Told {
        Told { doubted: true, ..told(customer, answer) }
    }

    fn granted(serial: u32) -> Answer {
        Answer::Granted(NonZeroU32::new(serial))
    }

    fn already(serial: u32) -> Answer {
        Answer::AlreadyYours(NonZeroU32::new(serial))
    }

    const SOLD_OUT: Answer = Answer::Refused(Refusal::SoldOut);

    fn row(serial: u32, customer: u32) -> Row {
        Row { serial, holder: Holder::Ours(customer), odd_id: None }
    }

    fn stranger(serial: u32) -> Row {
        Row { holder: Holder::Stranger("stranger".into()), ..row(serial, 0) }
    }

    impl Scene {
        fn right() -> Self {
            Self {
                crowd: Crowd::fresh(),
                sale: sale("p", 3, Claim::Ours),
                told: vec![
                    told(0, granted(1)),
                    told(1, granted(2)),
                    told(2, granted(3)),
                    told(3, SOLD_OUT),
                ],
                rows: vec![row(1, 0), row(2, 1), row(3, 2)],
                given: 3..=3,
            }
        }

        fn claimed(claim: Claim) -> Self {
            Self { sale: sale("p", 3, claim), ..Self::right() }
        }

        fn broken(&self) -> Vec<Rule> {
            let case = Case {
                crowd: &self.crowd,
                sale: &self.sale,
                told: &self.told,
                rows: &self.rows,
                coupons: self.sale.coupons,
                given: self.given.clone(),
            };
            let mut findings = Findings::default();
            judge(&case, &mut findings);
            findings.iter().map(|(rule, _)| rule).collect()
        }
    }

    #[test]
    fn what_is_right_is_not_blamed() {
        for claim in [Claim::Ours, Claim::DemandedToTheEnd, Claim::Shared] {
            assert_eq!(Scene::claimed(claim).broken(), [], "{claim:?}");
        }
    }

    #[test]
    fn a_coupon_told_but_not_there() {
        let mut scene = Scene::right();
        scene.sale.coupons = 2;
        scene.rows.pop();
        scene.given = 2..=2;
        assert_eq!(scene.broken(), [Rule::Missing]);
    }

    #[test]
    fn a_coupon_with_another_serial_than_told() {
        let mut scene = Scene::right();
        scene.rows = vec![row(1, 1), row(2, 0), row(3, 2)];
        assert_eq!(scene.broken(), [Rule::Different]);
    }

    #[test]
    fn two_coupons_for_one_question() {
        let mut scene = Scene::right();
        scene.sale.limit_per_customer = 2;
        scene.told[2].answer = SOLD_OUT;
        scene.rows[2] = row(3, 1);
        assert_eq!(scene.broken(), [Rule::MoreThanAsked]);
    }

    #[test]
    fn a_coupon_told_to_two() {
        let mut scene = Scene::right();
        scene.told[2].answer = granted(2);
        assert_eq!(scene.broken(), [Rule::Different, Rule::ToldTwice]);
    }

    #[test]
    fn already_yours_needs_a_doubt() {
        let mut scene = Scene::right();
        scene.told[1] = doubted(1, already(2));
        assert_eq!(scene.broken(), []);
        scene.told[1] = told(1, already(2));
        assert_eq!(scene.broken(), [Rule::FalseAlreadyYours]);
    }

    #[test]
    fn nobody_refused_holds_a_coupon() {
        let mut scene = Scene::right();
        scene.told[2].answer = SOLD_OUT;
        assert_eq!(scene.broken(), [Rule::RefusedHolds]);
        scene.told[2] = doubted(2, SOLD_OUT);
        assert_eq!(scene.broken(), [Rule::RefusedHolds], "his doubt was settled by the refusal");
    }

    #[test]
    fn who_gave_up_may_hold_a_coupon_only_if_in_doubt() {
        let mut scene = Scene::right();
        scene.told[2] = doubted(2, Answer::GaveUp);
        assert_eq!(scene.broken(), []);
        scene.told[2] = told(2, Answer::GaveUp);
        assert_eq!(scene.broken(), [Rule::TurnedAwayHolds]);
    }

    #[test]
    fn refusals_that_cannot_be() {
        let refusals = [
            Refusal::LimitReached,
            Refusal::NotStarted,
            Refusal::Finished,
            Refusal::NotFound,
            Refusal::Invalid,
        ];
        let wrong = |claim| {
            refusals.map(|refusal| {
                let mut scene = Scene::claimed(claim);
                scene.told[3].answer = Answer::Refused(refusal);
                scene.broken() == [Rule::WrongRefusal]
            })
        };
        assert_eq!(wrong(Claim::Ours), [true; 5]);
        assert_eq!(wrong(Claim::DemandedToTheEnd), [true, true, false, true, true]);
        assert_eq!(wrong(Claim::Shared), [true, false, false, false, true]);
    }

    #[test]
    fn a_holder_who_never_asked() {
        let mut scene = Scene::right();
        scene.told.remove(2);
        assert_eq!(scene.broken(), [Rule::NeverAsked]);
    }

    #[test]
    fn a_stranger_among_us() {
        let mut scene = Scene::right();
        scene.told.remove(2);
        scene.rows[2] = stranger(3);
        assert_eq!(scene.broken(), [Rule::Stranger]);
        scene.sale.claim = Claim::Shared;
        assert_eq!(scene.broken(), []);
    }

    #[test]
    fn a_serial_given_twice() {
        let mut scene = Scene::right();
        scene.sale.coupons = 4;
        scene.told = vec![told(0, granted(1)), told(1, granted(2)), told(2, granted(3))];
        scene.told.push(doubted(4, Answer::GaveUp));
        scene.rows.push(row(3, 4));
        scene.given = 4..=4;
        assert_eq!(scene.broken(), [Rule::SerialTwice, Rule::SerialGap]);
    }

    #[test]
    fn a_serial_left_out() {
        let mut scene = Scene::right();
        scene.rows[2].serial = 4;
        scene.told[2].answer = granted(4);
        assert_eq!(scene.broken(), [Rule::SerialGap]);
        scene.rows[2].serial = 0;
        scene.told[2].answer = Answer::Granted(None);
        assert_eq!(scene.broken(), [Rule::SerialGap]);
    }

    #[test]
    fn a_gap_behind_what_was_counted_is_excused_only_where_others_grab() {
        let mut scene = Scene::claimed(Claim::Shared);
        scene.told.truncate(1);
        scene.rows = vec![row(1, 0), stranger(3)];
        scene.given = 1..=3;
        assert_eq!(scene.broken(), []);
        scene.given = 2..=3;
        assert_eq!(scene.broken(), [Rule::SerialGap]);
    }

    #[test]
    fn a_coupon_with_a_foreign_id() {
        let mut scene = Scene::right();
        scene.rows[1].odd_id = Some("p-7".into());
        assert_eq!(scene.broken(), [Rule::CouponId]);
    }

    #[test]
    fn a_customer_over_the_limit() {
        let mut scene = Scene::claimed(Claim::Shared);
        scene.told.clear();
        scene.rows = vec![stranger(1), stranger(2)];
        scene.given = 2..=2;
        assert_eq!(scene.broken(), [Rule::OverLimit]);
    }

    #[test]
    fn one_coupon_too_many() {
        let mut scene = Scene::right();
        scene.told[3].answer = granted(4);
        scene.rows.push(row(4, 3));
        scene.given = 4..=4;
        assert_eq!(scene.broken(), [Rule::Oversold]);
    }

    #[test]
    fn sold_out_while_coupons_are_left() {
        let mut scene = Scene::right();
        scene.rows.pop();
        scene.told.remove(2);
        scene.given = 2..=2;
        assert_eq!(scene.broken(), [Rule::Undersold]);
        scene.sale.claim = Claim::Shared;
        assert_eq!(scene.broken(), []);
    }

    #[test]
    fn coupons_left_though_demanded_to_the_end() {
        let mut scene = Scene::claimed(Claim::DemandedToTheEnd);
        scene.rows.pop();
        scene.told.truncate(2);
        scene.given = 2..=2;
        assert_eq!(scene.broken(), [Rule::Undersold]);
    }

    #[test]
    fn coupons_left_because_nobody_wanted_them() {
        let mut scene = Scene::right();
        scene.rows.pop();
        scene.told.truncate(2);
        scene.given = 2..=2;
        assert_eq!(scene.broken(), []);
    }

    #[test]
    fn a_promotion_that_counts_wrong() {
        let mut scene = Scene::right();
        scene.given = 2..=2;
        assert_eq!(scene.broken(), [Rule::Remaining]);
        scene.given = 2..=4;
        assert_eq!(scene.broken(), [], "it moved while it was read");
    }

    #[test]
    fn a_customers_own_view() {
        let sale = sale("p", 3, Claim::Ours);
        let coupon = |serial, customer: &str| CouponRow {
            id: format!("p-{serial}"),
            promotion_id: String::from("p"),
            serial,
            customer_id: customer.to_owned(),
        };
        let broken = |answer, rows: &[CouponRow]| {
            let mut findings = Findings::default();
            judge_own(&sale, &told(0, answer), "c", rows, &mut findings);
            !findings.is_empty()
        };
        assert!(!broken(granted(2), &[coupon(2, "c")]));
        assert!(!broken(Answer::Granted(None), &[coupon(2, "c")]));
        assert!(!broken(SOLD_OUT, &[]));
        assert!(!broken(Answer::GaveUp, &[coupon(2, "c")]));
        assert!(broken(granted(2), &[]));
        assert!(broken(granted(2), &[coupon(1, "c")]));
        assert!(broken(granted(2), &[coupon(2, "c"), coupon(3, "c")]));
        assert!(broken(granted(2), &[coupon(2, "d")]));
        assert!(broken(SOLD_OUT, &[coupon(2, "c")]));
    }
}
