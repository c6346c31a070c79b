//! Metrics of this crate.

/// Says what the metrics of this crate are.
pub(crate) fn describe_metrics() {
    metrics::describe_gauge!(
        "seckill_projector_lag_records",
        "Records in the log that the views do not have yet, by partition"
    );
    metrics::describe_gauge!(
        "seckill_projector_lag_seconds",
        "Age of the last event that the views have, where they lack records, by partition"
    );
    metrics::describe_counter!(
        "seckill_rebuild_records_total",
        "Records whose rows were written to the tables of a rebuild"
    );
    metrics::counter!("seckill_rebuild_records_total").increment(0);
    metrics::describe_gauge!(
        "seckill_rebuild_left_records",
        "Records that the tables of a rebuild lack to where the views are, by partition"
    );
    metrics::describe_counter!(
        "seckill_projected_events_total",
        "Events whose rows were written; after a restart some are counted again"
    );
    metrics::counter!("seckill_projected_events_total").increment(0);
    metrics::describe_histogram!(
        "seckill_project_seconds",
        "From reading a batch of records until its rows are written"
    );
    metrics::describe_counter!(
        "seckill_void_records_total",
        "Records that count for nobody, left behind by an owner that was deposed"
    );
    metrics::counter!("seckill_void_records_total").increment(0);
    metrics::describe_counter!(
        "seckill_skipped_records_total",
        "Records passed over because an operator has said so"
    );
    metrics::counter!("seckill_skipped_records_total").increment(0);
    metrics::describe_counter!(
        "seckill_adopted_partitions_total",
        "Partitions that a process took without being given them by its group: their node was not reached any more, or nobody looked after them"
    );
    metrics::describe_counter!(
        "seckill_projector_sessions_failed_total",
        "Times that a partition's views had to begin again at their progress"
    );
    metrics::counter!("seckill_projector_sessions_failed_total").increment(0);
    adopted(0);
}

/// Counts partitions that this process looks after because nobody did.
pub(crate) fn adopted(partitions: usize) {
    metrics::counter!("seckill_adopted_partitions_total", "group" => "projector")
        .increment(partitions as u64);
}
