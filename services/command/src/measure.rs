//! What is counted of commands.

use std::cell::RefCell;
use std::collections::HashMap;

use metrics::Counter;
use seckill_proto::v1::{Answer, Command, Refusal, answer, command};

use crate::Failure;
use crate::failure::told_of;

/// The kind of a command, as its metrics name it.
pub(crate) fn kind(command: &Command) -> &'static str {
    match command.body {
        Some(command::Body::Schedule(_)) => "schedule",
        Some(command::Body::Change(_)) => "change",
        Some(command::Body::Cancel(_)) => "cancel",
        Some(command::Body::Restock(_)) => "restock",
        Some(command::Body::Pause(_)) => "pause",
        Some(command::Body::Resume(_)) => "resume",
        Some(command::Body::Finish(_)) => "finish",
        Some(command::Body::Grab(_)) => "grab",
        None => "none",
    }
}

/// Counts what a client is told; a command that was forwarded, on the node that its client asked.
pub(crate) fn told(kind: &'static str, told: &Result<Answer, Failure>) {
    let outcome = outcome(told);
    let find =
        || metrics::counter!("seckill_commands_total", "command" => kind, "outcome" => outcome);
    FOUND.with_borrow_mut(|found| {
        found.entry((kind, outcome)).or_insert_with(find).increment(1);
    });
}

thread_local! {
    /// By kind and outcome: to find a counter by its labels costs more than to count.
    static FOUND: RefCell<HashMap<(&'static str, &'static str), Counter>> = RefCell::default();
}

pub(crate) fn outcome(told: &Result<Answer, Failure>) -> &'static str {
    match told.as_ref().map(|answer| &answer.outcome) {
        Ok(Some(answer::Outcome::Accepted(accepted))) if accepted.repeated => "repeated",
        Ok(Some(answer::Outcome::Accepted(_))) => "accepted",
        Ok(Some(answer::Outcome::Refused(refusal))) => {
            told_of(Refusal::try_from(*refusal).unwrap_or_default()).0.name()
        }
        Ok(None) => told_of(Refusal::Unspecified).0.name(),
        Err(failure) => failure.kind().name(),
    }
}

/// Counts partitions taken over from a node that is gone, or because no node looked after them.
pub(crate) fn adopted(partitions: usize) {
    metrics::counter!("seckill_adopted_partitions_total", "group" => "command")
        .increment(partitions as u64);
}

/// Says what the metrics of this crate are.
pub(crate) fn describe() {
    metrics::describe_counter!(
        "seckill_commands_total",
        "Commands by what their clients were told: accepted, repeated, or the name of the problem"
    );
    metrics::describe_histogram!(
        "seckill_append_seconds",
        "From handing records to the log until all of them are durable"
    );
    metrics::describe_histogram!("seckill_burst_records", "Records handed to the log at once");
    metrics::describe_histogram!(
        "seckill_takeover_seconds",
        "From wanting a partition until serving it"
    );
    metrics::describe_counter!(
        "seckill_adopted_partitions_total",
        "Partitions that a process took without being given them by its group: their node was not reached any more, or nobody looked after them"
    );
    adopted(0);
    metrics::describe_gauge!(
        "seckill_standby_partitions",
        "Partitions of other nodes whose state this process keeps, to take over from"
    );
    metrics::describe_counter!("seckill_snapshots_total", "Snapshots made");
    metrics::counter!("seckill_snapshots_total").increment(0);
    metrics::describe_counter!("seckill_snapshots_failed_total", "Snapshots that were not made");
    metrics::counter!("seckill_snapshots_failed_total").increment(0);
    metrics::describe_gauge!(
        "seckill_snapshot_age_seconds",
        "Time since this process last made a snapshot of the partition, or took it over; above a minute \
         only while nothing happens there"
    );
    metrics::describe_gauge!(
        "seckill_mailbox_commands",
        "Commands that wait for the partition's owner"
    );
    metrics::describe_gauge!(
        "seckill_held_in_memory",
        "Promotions and coupons that the partition's owner keeps in memory"
    );
    metrics::describe_gauge!(
        "seckill_clock_lead_seconds",
        "How far the wall clock is ahead of the time by which promotions start and finish"
    );
}

#[cfg(test)]
mod tests {
    use seckill_proto::v1::{Accepted, Refusal, answer};

    use super::*;

    #[test]
    fn outcomes_are_named_as_clients_know_them() {
        let answer = |outcome| Ok(Answer { outcome: Some(outcome), ..Answer::default() });
        let accepted = |repeated| {
            answer(answer::Outcome::Accepted(Accepted { repeated, ..Accepted::default() }))
        };
        let cases = [
            (accepted(false), "accepted"),
            (accepted(true), "repeated"),
            (answer(answer::Outcome::Refused(Refusal::SoldOut.into())), "sold-out"),
            (Err(Failure::Unknown), "outcome-unknown"),
        ];
        for (told, expected) in cases {
            assert_eq!(outcome(&told), expected);
        }
    }
}
