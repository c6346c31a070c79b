//! Topic names, and which partition a promotion lives in.

use twox_hash::XxHash3_64;

/// The prefix of all topic names unless set otherwise.
pub const DEFAULT_PREFIX: &str = "seckill";

/// The names of the topics of one installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// The event log: the only truth. Never compacted, never written in a transaction.
    pub events: String,
    /// Snapshots of the owners' state, compacted.
    pub snapshots: String,
    /// Who owns which partition, compacted; a hint for routing.
    pub owners: String,
    /// One record for every coupon granted, for programs of others. One partition.
    pub coupons: String,
    /// Always empty: consumer groups share its partitions out, and so the work.
    pub slots: String,
}

impl Topics {
    /// The names under a prefix: `seckill` gives `seckill.events` and so on.
    #[must_use]
    pub fn under(prefix: &str) -> Self {
        Self {
            events: format!("{prefix}.events"),
            snapshots: format!("{prefix}.snapshots"),
            owners: format!("{prefix}.owners"),
            coupons: format!("{prefix}.coupons"),
            slots: format!("{prefix}.slots"),
        }
    }
}

/// The partition of a promotion: XXH3-64 (seed 0) of the id's bytes, modulo the partition count.
///
/// Hashed here and never by a Kafka client, because clients' default partitioners differ.
///
/// # Panics
/// When `partitions` is 0.
#[must_use]
pub fn partition_of(promotion_id: &str, partitions: u32) -> u32 {
    let partition = XxHash3_64::oneshot(promotion_id.as_bytes()) % u64::from(partitions);
    u32::try_from(partition).expect("a remainder of a u32 fits in a u32")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pinned: another value here means that every existing log is read in the wrong place.
    #[test]
    fn the_partition_of_an_id_never_changes() {
        let partitions: Vec<u32> =
            ["a", "spring-sale", "0191e5a0-0000-7000-8000-000000000000", "春"]
                .iter()
                .map(|id| partition_of(id, 16))
                .collect();
        assert_eq!(partitions, PINNED);
    }

    const PINNED: [u32; 4] = [15, 10, 3, 13];

    #[test]
    fn ids_spread_over_all_partitions() {
        let mut counts = [0_u32; 8];
        for number in 0..8_000 {
            counts[partition_of(&format!("promotion-{number}"), 8) as usize] += 1;
        }
        assert!(counts.iter().all(|&count| (850..1_150).contains(&count)), "{counts:?}");
    }
}
