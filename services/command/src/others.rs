//! What a node knows of the others, and which partitions of nodes that are gone fall to whom. No I/O and no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use seckill_log::weight;
use seckill_proto::v1::{NodeStatus, OwnerHint, ServedPartition};
use tokio::time::Instant;

/// How long a node that was lost is still tried; after that, only where another node names it.
pub(crate) const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);

/// The other nodes.
#[derive(Default)]
pub(crate) struct Others {
    own: String,
    /// What this node serves, by partition.
    pub(crate) serving: BTreeMap<u32, OwnerHint>,
    /// What those say of themselves that are reached, by endpoint.
    pub(crate) reached: BTreeMap<String, NodeStatus>,
    lost: Vec<Lost>,
}

/// A node that was reached and is not any more.
struct Lost {
    endpoint: String,
    /// Of what it served, what is still nobody's.
    status: NodeStatus,
    at: Instant,
    /// It has ended for certain: another process has taken its place.
    restarted: bool,
}

impl Others {
    pub(crate) fn new(own: String) -> Self {
        Self { own, ..Self::default() }
    }

    /// What a node says of itself; whether it was not reached before.
    pub(crate) fn learn(&mut self, endpoint: &str, status: NodeStatus, now: Instant) -> bool {
        let instance = status.instance.clone();
        let before = self.reached.insert(endpoint.to_owned(), status);
        let is_new = before.is_none();
        let restarted = before.filter(|before| before.instance != instance);
        // Whoever is back was not gone.
        self.lost.retain(|lost| lost.endpoint != endpoint || lost.status.instance != instance);
        let replaced = self.lost.iter_mut().filter(|lost| lost.endpoint == endpoint);
        replaced.for_each(|lost| lost.restarted = true);
        if let Some(status) = restarted {
            let endpoint = endpoint.to_owned();
            self.lost.push(Lost { endpoint, status, at: now, restarted: true });
        }
        is_new
    }

    /// What a node has begun to serve and this one does not, by what that says of itself now.
    pub(crate) fn begun(&self, endpoint: &str, now: &NodeStatus) -> Vec<u32> {
        let before = self.reached.get(endpoint).map(|before| &before.serves);
        let begun = now.serves.iter().filter(|served| {
            !(before.is_some_and(|before| before.contains(served))
                || self.serving.contains_key(&served.partition))
        });
        begun.map(|served| served.partition).collect()
    }

    /// A node is not reached any more; what it had last said, where it was reached.
    pub(crate) fn lose(&mut self, endpoint: &str, now: Instant) -> Option<NodeStatus> {
        let status = self.reached.remove(endpoint)?;
        self.lost.retain(|lost| now - lost.at < FORGOTTEN_AFTER);
        let (endpoint, of) = (endpoint.to_owned(), status.clone());
        self.lost.push(Lost { endpoint, status: of, at: now, restarted: false });
        Some(status)
    }

    /// Which other nodes serve partitions, each with its term.
    pub(crate) fn servers(&self) -> BTreeMap<u32, (u64, String)> {
        let mut servers: BTreeMap<u32, (u64, String)> = BTreeMap::new();
        for (endpoint, status) in &self.reached {
            for served in &status.serves {
                let (partition, term) = (served.partition, term_of(served));
                let is_newest = servers.get(&partition).is_none_or(|(other, _)| *other < term);
                if is_newest {
                    servers.insert(partition, (term, endpoint.clone()));
                }
            }
        }
        servers
    }

    /// The nodes that would take a partition over where `owner` is gone, the first one first; this node among them,
    /// unless it leaves.
    pub(crate) fn successors(&self, partition: u32, owner: &str, leaves: bool) -> Vec<String> {
        let stay = self.reached.iter().filter(|(_, status)| !status.leaving);
        let mut nodes: Vec<String> = stay.map(|(endpoint, _)| endpoint.clone()).collect();
        if !leaves {
            nodes.push(self.own.clone());
        }
        nodes.retain(|endpoint| endpoint != owner);
        nodes.sort_by_cached_key(|endpoint| weight(partition, endpoint));
        nodes
    }

    /// Partitions of nodes that are gone and whose they are now. What is this node's is told once.
    pub(crate) fn orphans(&mut self, leaves: bool) -> BTreeMap<u32, String> {
        if self.lost.is_empty() {
            return BTreeMap::new();
        }
        let (servers, reaches_most) = (self.servers(), self.reaches_most());
        let mut lost = std::mem::take(&mut self.lost);
        let mut orphans = BTreeMap::new();
        for Lost { endpoint, status, restarted, .. } in &mut lost {
            if !*restarted && (self.is_reached_by_others(endpoint) || !reaches_most) {
                continue; // it is this node that is cut off, or it will be seen soon
            }
            status.serves.retain(|served| {
                let (partition, term) = (served.partition, term_of(served));
                let of_others = servers.get(&partition).is_some_and(|(other, _)| *other > term);
                if of_others || self.serving.contains_key(&partition) {
                    return false;
                }
                let next = self.successors(partition, endpoint, leaves).into_iter().next();
                let is_own = next.as_ref() == Some(&self.own);
                orphans.extend(next.map(|next| (partition, next)));
                !is_own
            });
        }
        self.lost = lost;
        orphans
    }

    fn is_reached_by_others(&self, endpoint: &str) -> bool {
        self.reached.values().any(|status| status.reaches.iter().any(|other| other == endpoint))
    }

    /// Whether this node is not on the smaller side, as far as it knows. Of two nodes each has to believe so.
    fn reaches_most(&self) -> bool {
        let gone = self.lost.iter().filter(|lost| !(lost.restarted || lost.status.leaving));
        let gone: BTreeSet<&String> = gone.map(|lost| &lost.endpoint).collect();
        1 + self.reached.len() >= gone.len()
    }
}

fn term_of(served: &ServedPartition) -> u64 {
    served.owner.as_ref().map_or(0, |owner| owner.term)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITIONS: std::ops::Range<u32> = 0..40;

    /// A node that serves partitions since a term, and reaches others.
    fn status(instance: u8, serves: impl Iterator<Item = u32>, reaches: &[&str]) -> NodeStatus {
        let owner = Some(OwnerHint { term: 5, ..OwnerHint::default() });
        NodeStatus {
            instance: vec![instance],
            serves: serves
                .map(|partition| ServedPartition { partition, owner: owner.clone() })
                .collect(),
            reaches: reaches.iter().map(|endpoint| (*endpoint).to_owned()).collect(),
            ..NodeStatus::default()
        }
    }

    /// What node "a" knows of "b", which serves everything, and "c", which reaches both.
    fn three(own: &str) -> Others {
        let mut others = Others::new(own.to_owned());
        others.learn("b", status(1, PARTITIONS, &[]), Instant::now());
        let other = if own == "a" { "c" } else { "a" };
        others.learn(other, status(2, 0..0, &["b"]), Instant::now());
        others
    }

    #[test]
    fn what_a_node_leaves_behind_is_shared_out_the_same_way_everywhere() {
        let orphans = ["a", "c"].map(|own| {
            let (mut others, other) = (three(own), if own == "a" { "c" } else { "a" });
            others.lose("b", Instant::now());
            assert!(others.orphans(false).is_empty(), "the third node still reaches it");
            others.learn(other, status(2, 0..0, &[]), Instant::now());
            others.orphans(false)
        });
        assert_eq!(orphans[0], orphans[1]);
        assert_eq!(orphans[0].len(), PARTITIONS.len());
        let of_a = orphans[0].values().filter(|next| *next == "a").count();
        assert!((10..30).contains(&of_a), "{of_a}");
    }

    #[test]
    fn what_falls_to_a_node_is_told_once_and_what_fell_to_another_again_when_that_is_gone() {
        let mut others = three("a");
        others.learn("c", status(2, 0..0, &[]), Instant::now());
        others.learn("d", status(3, 0..0, &[]), Instant::now());
        others.lose("b", Instant::now());
        let first = others.orphans(false);
        let again = others.orphans(false);
        assert!(first.values().any(|next| next == "a") && !again.values().any(|next| next == "a"));
        others.lose("c", Instant::now());
        let last = others.orphans(false);
        let of_c = first.iter().filter(|(_, next)| *next == "c");
        assert!(of_c.clone().count() > 0 && of_c.clone().all(|(of, _)| last.contains_key(of)));
    }

    #[test]
    fn who_loses_the_others_takes_nothing_from_them() {
        let mut others = three("a");
        for endpoint in ["c", "b"] {
            others.lose(endpoint, Instant::now());
        }
        assert!(others.orphans(false).is_empty());
        others.learn("b", status(1, PARTITIONS, &[]), Instant::now());
        assert!(others.orphans(false).is_empty(), "it is back");
    }

    #[test]
    fn of_two_nodes_each_follows_the_other() {
        let mut others = Others::new("a".to_owned());
        others.learn("b", status(1, PARTITIONS, &[]), Instant::now());
        others.lose("b", Instant::now());
        assert_eq!(others.orphans(false).len(), PARTITIONS.len());
    }

    #[test]
    fn a_node_that_was_started_again_serves_nothing_of_before() {
        let mut others = three("a");
        others.learn("b", status(9, 0..0, &[]), Instant::now());
        assert_eq!(others.orphans(false).len(), PARTITIONS.len());
        assert_eq!(others.orphans(true).values().filter(|next| *next == "a").count(), 0);
    }

    #[test]
    fn what_somebody_has_taken_is_nobodys_no_more() {
        let mut others = three("a");
        others.lose("b", Instant::now());
        let mut taken = status(2, PARTITIONS, &[]);
        taken.serves.iter_mut().flat_map(|served| &mut served.owner).for_each(|of| of.term = 6);
        others.learn("c", taken, Instant::now());
        assert!(others.orphans(false).is_empty());
    }
}
