//! What clients were told, against the ledger.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use seckill_proto::Position;
use seckill_proto::v1::FinishReason;

use crate::ledger::{Grant, Ledger, RULES_OF_A_SALE, Sale, State};
use crate::{Attempt, Outcome, Reason, Violation};

/// How old what a refusal of this program rests on may be when it is asked, in microseconds: 250 ms, by clocks of whole
/// milliseconds.
pub const REFUSALS_OLD_US: u64 = 251_000;

/// Says what is wrong with an attempt, if anything is.
type Rule = fn(&Case<'_>, &Attempt) -> Result<(), String>;

/// What is promised of an answer, one function each.
const RULES: [(&str, Rule); 4] = [
    ("an answer names a place that its sale has in the log", placed),
    ("what was granted is in the log, once, where it was said to be", granted),
    ("a refusal was true at the place that it names", refused),
    ("an answer is no older than what was known before it was asked", recent),
];

const ASKED_FOR: &str = "every coupon of the sales in these histories was asked for";
const ONE_ANSWER: &str = "a wish has one answer";
const GRANTED_ONCE: &str = "a wish is granted once";
const NOT_ACCEPTED: &str = "what was definitely not accepted is not in the log";

/// Everything that [`check`] and [`Ledger::read_log`] look after.
pub const PROMISES: [&str; 9] = [
    RULES_OF_A_SALE,
    RULES[0].0,
    RULES[1].0,
    RULES[2].0,
    RULES[3].0,
    ASKED_FOR,
    ONE_ANSWER,
    GRANTED_ONCE,
    NOT_ACCEPTED,
];

struct Case<'a> {
    ledger: &'a Ledger,
    /// How old what a refusal rests on may be when it is asked, by the clock of the attempts.
    refusals_old: u64,
    /// Of every partition: by when the log was known to reach which offset, both growing.
    known: HashMap<u32, Vec<(u64, u64)>>,
}

/// Every promise that these attempts and this log break. All attempts at the sales that they name belong to
/// them; the log is as it was after the last one. A refusal may rest on what was so `refusals_old` before it was told, by the
/// clock of the attempts.
#[must_use]
pub fn check(ledger: &Ledger, attempts: &[Attempt], refusals_old: u64) -> Vec<Violation> {
    let case = Case { ledger, refusals_old, known: known(attempts) };
    let mut broken = Vec::new();
    for attempt in attempts {
        for (rule, holds) in RULES {
            if let Err(what) = holds(&case, attempt) {
                broken.push(Violation { rule, what: format!("{what}. The answer: {attempt}") });
            }
        }
    }
    broken.extend(wishes(&case, attempts));
    broken
}

/// By when each partition was known to reach how far.
fn known(attempts: &[Attempt]) -> HashMap<u32, Vec<(u64, u64)>> {
    let mut known: HashMap<u32, Vec<(u64, u64)>> = HashMap::new();
    for attempt in attempts {
        if let (Some(answered), Some(at)) = (attempt.answered, attempt.outcome.position()) {
            known.entry(at.partition).or_default().push((answered, at.offset));
        }
    }
    for answers in known.values_mut() {
        answers.sort_unstable();
        let mut furthest = 0;
        for (_, offset) in answers {
            furthest = furthest.max(*offset);
            *offset = furthest;
        }
    }
    known
}

impl Case<'_> {
    /// How far a partition was known to reach before a time.
    fn known_before(&self, partition: u32, time: u64) -> Option<u64> {
        let answers = self.known.get(&partition)?;
        let before = answers.partition_point(|(answered, _)| *answered < time);
        Some(answers[before.checked_sub(1)?].1)
    }

    /// Whether a coupon at a place may be of this attempt: one that was told that the customer had it already
    /// made none, and none is in what was known before it was asked.
    fn may_have_made(&self, attempt: &Attempt, at: Position) -> bool {
        let known = self.known_before(at.partition, attempt.asked);
        match attempt.outcome {
            Outcome::Granted { repeated, .. } => !repeated,
            Outcome::Unknown => known.is_none_or(|known| known < at.offset),
            Outcome::Refused { .. } | Outcome::NotAccepted => false,
        }
    }
}

fn placed(case: &Case<'_>, attempt: &Attempt) -> Result<(), String> {
    let Some(Position { partition, offset }) = attempt.outcome.position() else { return Ok(()) };
    let its_own = case.ledger.partition_of(&attempt.promotion_id);
    if partition != its_own {
        return Err(format!("the sale is in partition {its_own}"));
    }
    let end = case.ledger.end(partition);
    if offset >= end {
        return Err(format!("the log ends at {partition}:{end}"));
    }
    Ok(())
}

fn granted(case: &Case<'_>, attempt: &Attempt) -> Result<(), String> {
    let Outcome::Granted { serial, position, repeated } = attempt.outcome else { return Ok(()) };
    let sale = case.ledger.sale(&attempt.promotion_id).ok_or("the log has no such sale")?;
    let grant = sale.grant(serial);
    let grant = grant.ok_or_else(|| format!("the log has no coupon {serial} of this sale"))?;
    let Grant { customer_id, key, offset, .. } = grant;
    if *customer_id != attempt.customer_id || (!key.is_empty() && *key != attempt.key) {
        let whose = of_wish((&attempt.promotion_id, customer_id, key));
        return Err(format!("in the log coupon {serial} is of {whose}"));
    }
    let there = if repeated { *offset <= position.offset } else { *offset == position.offset };
    if !there || sale.partition != position.partition {
        return Err(format!("in the log coupon {serial} is at {}:{offset}", sale.partition));
    }
    Ok(())
}

fn refused(case: &Case<'_>, attempt: &Attempt) -> Result<(), String> {
    let Outcome::Refused { reason, position } = attempt.outcome else { return Ok(()) };
    let sale = case.ledger.sale(&attempt.promotion_id);
    let state = sale.map(|sale| sale.as_of(position.offset)).unwrap_or_default();
    let held = sale.into_iter().flat_map(|sale| sale.of_customer(&attempt.customer_id));
    let held: Vec<&Grant> = held.filter(|grant| grant.offset <= position.offset).collect();
    if held.iter().any(|grant| grant.key == attempt.key) {
        return Err("in the log the customer has the coupon that was asked for".to_owned());
    }
    match is_so(reason, &state, held.len()) {
        true => Ok(()),
        false => Err(format!("in the log it was not so at {position}, but {state}")),
    }
}

fn is_so(reason: Reason, state: &State, held: usize) -> bool {
    let over = state.finished.is_some_and(|why| why != FinishReason::SoldOut);
    match reason {
        Reason::NotFound => !state.exists,
        Reason::NotStarted => state.exists && !state.started,
        Reason::Paused => state.paused,
        Reason::SoldOut => state.exists && state.granted == state.coupons,
        Reason::LimitReached => state.exists && held >= state.limit as usize,
        // Its time may have come before the event that says so.
        Reason::Finished => over || (state.started && state.finishes_at_ms.is_some()),
    }
}

fn recent(case: &Case<'_>, attempt: &Attempt) -> Result<(), String> {
    let (position, follows, by) = match attempt.outcome {
        Outcome::Granted { position, repeated: false, .. } => (position, true, attempt.asked),
        Outcome::Refused { position, .. } => {
            (position, false, attempt.asked.saturating_sub(case.refusals_old))
        }
        _ => return Ok(()),
    };
    let Some(known) = case.known_before(position.partition, by) else { return Ok(()) };
    let Position { offset, .. } = position;
    if offset < known || (follows && offset == known) {
        let partition = position.partition;
        return Err(format!("the log was known to reach {partition}:{known} when it was asked"));
    }
    Ok(())
}

/// A sale, a customer, and what tells this wish from another one.
type Wish<'a> = (&'a str, &'a str, &'a str);

/// What holds of all attempts at one wish.
fn wishes(case: &Case<'_>, attempts: &[Attempt]) -> Vec<Violation> {
    let mut wishes: BTreeMap<Wish<'_>, Vec<&Attempt>> = BTreeMap::new();
    for attempt in attempts {
        wishes.entry(attempt.wish()).or_default().push(attempt);
    }
    let mut broken = Vec::new();
    for (wish, attempts) in &wishes {
        broken.extend(one_answer(wish, attempts));
    }
    let named: BTreeSet<&str> = wishes.keys().map(|(promotion_id, ..)| *promotion_id).collect();
    for promotion_id in named {
        let sale = case.ledger.sale(promotion_id).into_iter();
        broken.extend(sale.flat_map(|sale| granted_once(case, promotion_id, sale, &wishes)));
    }
    broken
}

fn one_answer(wish: &Wish<'_>, attempts: &[&Attempt]) -> Option<Violation> {
    let serials: HashSet<u32> = attempts.iter().filter_map(|of| serial(of)).collect();
    let made = |of: &&&Attempt| matches!(of.outcome, Outcome::Granted { repeated: false, .. });
    let made = attempts.iter().filter(made).count();
    (serials.len() > 1 || made > 1).then(|| Violation {
        rule: ONE_ANSWER,
        what: format!(
            "{} was told serials {serials:?}, and {made} times that it is new",
            of_wish(*wish)
        ),
    })
}

fn granted_once(
    case: &Case<'_>,
    promotion_id: &str,
    sale: &Sale,
    wishes: &BTreeMap<Wish<'_>, Vec<&Attempt>>,
) -> Vec<Violation> {
    let (mut granted, mut broken) = (HashSet::new(), Vec::new());
    for Grant { serial, customer_id, key, offset } in &sale.grants {
        let wish = (promotion_id, customer_id.as_str(), key.as_str());
        let at = Position { partition: sale.partition, offset: *offset };
        let mut violate = |rule| {
            let what = format!("coupon {serial} at {at} is of {}", of_wish(wish));
            broken.push(Violation { rule, what });
        };
        if !granted.insert(wish) {
            violate(GRANTED_ONCE);
        }
        match wishes.get(&wish) {
            None => violate(ASKED_FOR),
            Some(asked) if !asked.iter().any(|of| case.may_have_made(of, at)) => {
                violate(NOT_ACCEPTED);
            }
            Some(_) => {}
        }
    }
    broken
}

fn of_wish((promotion_id, customer_id, key): Wish<'_>) -> String {
    let keyed = if key.is_empty() { String::new() } else { format!(" with key {key}") };
    format!("{customer_id} in {promotion_id}{keyed}")
}

fn serial(attempt: &Attempt) -> Option<u32> {
    match attempt.outcome {
        Outcome::Granted { serial, .. } => Some(serial),
        _ => None,
    }
}
