//! What no member of a group looks after is adopted by one of them.
//!
//! A group may give a partition to a member that never hears of it, and a group may be lost by its broker: then nobody
//! looks after a partition, and everybody believes that all is well. So each member leaves word in the table of owners
//! of what it looks after, a heartbeat every few seconds, and reads those of the others. A partition that has been in
//! nobody's heartbeat for a while is looked after by one of them without the group, until the group gives it to
//! somebody. Should two do so at once, the log decides, as always.
//!
//! Time is counted in looks that went well. While the table cannot be reached, nobody is found to be missing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use seckill_proto::v1::Heartbeat;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use twox_hash::XxHash3_64;

use crate::{Group, Log, LogError, Membership, Standing, Table};

/// Between two heartbeats, and two looks at those of others.
const EVERY: Duration = Duration::from_secs(3);
/// Where they stand.
const PARTITION: u32 = 0;
/// A member whose heartbeat has stood still for so many looks is gone.
const GONE_AFTER: u32 = 4;
/// What nobody has looked after for so many looks is adopted: the group has had time to give it to somebody. Twice as
/// many each time that this was of no use, up to the second number, an hour.
const PATIENCE: u32 = 4;
const LONGEST_PATIENCE: u32 = 1_200;
/// After so many a heartbeat that stands still is deleted, and a partition that is in good hands is in no danger.
const FORGOTTEN_AFTER: u32 = 100;

/// Tells the members of a group what this one looks after, and adopts what none does, until `stop`. `membership` is to
/// look after what is in `adopted`, and `adopts` is told how many are added.
///
/// Ends at once where there can be no other members.
pub fn keep_partitions_attended(
    log: Arc<dyn Log>,
    group: Group,
    membership: &Membership,
    adopted: watch::Sender<BTreeSet<u32>>,
    adopts: fn(usize),
    stop: CancellationToken,
) -> impl Future<Output = ()> + Send + 'static {
    let prefix = format!("member-{}-", group.name());
    let (own, standing) = (membership.name().map(str::to_owned), membership.standing());
    async move {
        let Some(own) = own else { return };
        let members = Members::new(own, log.partitions());
        let mut keeper = Keeper { log, group, prefix, standing, adopted, members, beat: 0 };
        let keeping = async {
            loop {
                tokio::time::sleep(EVERY).await;
                match keeper.look().await {
                    Ok(0) => {}
                    Ok(count) => adopts(count),
                    Err(error) => tracing::debug!(%error, "nobody knows what members look after"),
                }
            }
        };
        let _: Option<()> = stop.run_until_cancelled(keeping).await;
        keeper.say_goodbye().await;
    }
}

struct Keeper {
    log: Arc<dyn Log>,
    group: Group,
    prefix: String,
    standing: watch::Receiver<Standing>,
    adopted: watch::Sender<BTreeSet<u32>>,
    members: Members,
    beat: u64,
}

impl Keeper {
    /// Says what this member looks after and takes on what nobody does: how many partitions.
    async fn look(&mut self) -> Result<usize, LogError> {
        self.beat += 1;
        let own = Heartbeat {
            beat: self.beat,
            assigned: self.standing.borrow().partitions.iter().copied().collect(),
            adopted: self.adopted.borrow().iter().copied().collect(),
        };
        let entry = (self.key(&self.members.own), Bytes::from(own.encode_to_vec()));
        self.log.put(Table::Owners, PARTITION, vec![entry]).await?;
        let found = self.heartbeats().await?;
        let Verdict { adopt, leave, dead } = self.members.look(found, &own);
        if !dead.is_empty() {
            let keys = dead.iter().map(|name| self.key(name)).collect();
            self.log.delete(Table::Owners, PARTITION, keys).await?;
        }
        let (group, count) = (self.group.name(), adopt.len());
        if count > 0 {
            tracing::warn!(group, partitions = ?adopt, "taking over what no member looks after");
        }
        self.adopted.send_if_modified(|adopted| {
            let before = adopted.clone();
            adopted.retain(|partition| !leave.contains(partition));
            adopted.extend(&adopt);
            *adopted != before
        });
        Ok(count)
    }

    async fn heartbeats(&self) -> Result<Vec<(String, Heartbeat)>, LogError> {
        let entries = self.log.scan(Table::Owners, PARTITION).await?;
        let of_member = entries.iter().filter_map(|(key, value)| {
            let name = key.strip_prefix(&self.prefix)?;
            Some((name.to_owned(), Heartbeat::decode(value.clone()).ok()?))
        });
        Ok(of_member.collect())
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    async fn say_goodbye(&self) {
        let keys = vec![self.key(&self.members.own)];
        if let Err(error) = self.log.delete(Table::Owners, PARTITION, keys).await {
            tracing::debug!(%error, "a heartbeat is left behind");
        }
    }
}

/// The members of a group, as one of them sees them. No I/O and no clock.
struct Members {
    own: String,
    partitions: u32,
    others: BTreeMap<String, Seen>,
    /// Partitions that nobody looked after, or not for long.
    endangered: BTreeMap<u32, Endangered>,
}

struct Seen {
    heartbeat: Heartbeat,
    /// For how many looks it has stood still.
    still_for: u32,
}

struct Endangered {
    /// For how many looks nobody has looked after it, and how many are to be borne.
    neglected_for: u32,
    patience: u32,
    /// For how many looks somebody has.
    attended_for: u32,
}

/// What a look has shown.
#[derive(Debug, Default, PartialEq, Eq)]
struct Verdict {
    /// Partitions that are to be looked after, and those that somebody else has.
    adopt: BTreeSet<u32>,
    leave: BTreeSet<u32>,
    /// Whose heartbeats nobody needs any more.
    dead: Vec<String>,
}

impl Members {
    fn new(own: String, partitions: u32) -> Self {
        Self { own, partitions, others: BTreeMap::new(), endangered: BTreeMap::new() }
    }

    fn look(&mut self, found: Vec<(String, Heartbeat)>, own: &Heartbeat) -> Verdict {
        self.see(found);
        let mut attended: BTreeSet<u32> = partitions_of(own).collect();
        attended.extend(self.alive().flat_map(|(_, heartbeat)| partitions_of(heartbeat)));
        let mut verdict = Verdict::default();
        for partition in 0..self.partitions {
            if self.is_due(partition, attended.contains(&partition)) && self.comes_first(partition)
            {
                verdict.adopt.insert(partition);
                self.endangered.entry(partition).and_modify(Endangered::bear_more);
            }
        }
        let adopted = own.adopted.iter().copied();
        verdict.leave = adopted.filter(|partition| self.is_in_better_hands(*partition)).collect();
        let forgotten = self.others.iter().filter(|(_, seen)| seen.still_for == FORGOTTEN_AFTER);
        verdict.dead = forgotten.map(|(name, _)| name.clone()).collect();
        verdict
    }

    /// Takes note of the heartbeats that there are.
    fn see(&mut self, found: Vec<(String, Heartbeat)>) {
        let mut before = std::mem::take(&mut self.others);
        for (name, heartbeat) in found.into_iter().filter(|(name, _)| *name != self.own) {
            let before = before.remove(&name);
            let stands_still = before.filter(|before| before.heartbeat.beat == heartbeat.beat);
            let still_for = stands_still.map_or(0, |before| before.still_for + 1);
            self.others.insert(name, Seen { heartbeat, still_for });
        }
    }

    fn alive(&self) -> impl Iterator<Item = (&String, &Heartbeat)> {
        let alive = self.others.iter().filter(|(_, seen)| seen.still_for < GONE_AFTER);
        alive.map(|(name, seen)| (name, &seen.heartbeat))
    }

    /// Whether a partition has been nobody's for so long that one must take it.
    fn is_due(&mut self, partition: u32, is_attended: bool) -> bool {
        if is_attended {
            let endangered = self.endangered.get_mut(&partition);
            if endangered.is_some_and(Endangered::is_over) {
                self.endangered.remove(&partition);
            }
            return false;
        }
        self.endangered.entry(partition).or_default().is_due()
    }

    /// Of the members that are there, in the same order everywhere.
    fn comes_first(&self, partition: u32) -> bool {
        let own = weight(partition, &self.own);
        self.alive().all(|(name, _)| own < weight(partition, name))
    }

    /// Whether the group has given a partition to another member, or another one has adopted it that comes first.
    fn is_in_better_hands(&self, partition: u32) -> bool {
        let own = weight(partition, &self.own);
        self.alive().any(|(name, heartbeat)| {
            heartbeat.assigned.contains(&partition)
                || heartbeat.adopted.contains(&partition) && weight(partition, name) < own
        })
    }
}

impl Default for Endangered {
    fn default() -> Self {
        Self { neglected_for: 0, patience: PATIENCE, attended_for: 0 }
    }
}

impl Endangered {
    /// It was nobody's at one more look.
    fn is_due(&mut self) -> bool {
        self.attended_for = 0;
        self.neglected_for += 1;
        self.neglected_for > self.patience
    }

    /// It was somebody's at one more look.
    fn is_over(&mut self) -> bool {
        self.neglected_for = 0;
        self.attended_for += 1;
        self.attended_for > FORGOTTEN_AFTER
    }

    fn bear_more(&mut self) {
        self.neglected_for = 0;
        self.patience = LONGEST_PATIENCE.min(self.patience * 2);
    }
}

fn partitions_of(heartbeat: &Heartbeat) -> impl Iterator<Item = u32> {
    heartbeat.assigned.iter().chain(&heartbeat.adopted).copied()
}

/// By this names are in another order for every partition, and in the same one in every process.
#[must_use]
pub fn weight(partition: u32, name: &str) -> u64 {
    XxHash3_64::oneshot_with_seed(u64::from(partition), name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITIONS: u32 = 20;

    /// Members who see each other: what each has, and whether it lives.
    struct Group {
        members: Vec<(Members, Heartbeat, bool)>,
    }

    impl Group {
        fn of(names: [&str; 3]) -> Self {
            let member = |name: &str| {
                (Members::new(name.to_owned(), PARTITIONS), Heartbeat::default(), true)
            };
            Self { members: names.map(member).into() }
        }

        fn give(&mut self, to: usize, partitions: std::ops::Range<u32>) {
            self.members[to].1.assigned = partitions.collect();
        }

        /// Each looks once: what each has adopted by then.
        fn look(&mut self) -> Vec<BTreeSet<u32>> {
            for index in 0..self.members.len() {
                let alive = self.members[index].2;
                self.members[index].1.beat += u64::from(alive);
                let heartbeats = self.members.iter();
                let found: Vec<_> = heartbeats
                    .map(|(of, heartbeat, _)| (of.own.clone(), heartbeat.clone()))
                    .collect();
                let (members, own, _) = &mut self.members[index];
                if alive {
                    let Verdict { adopt, leave, .. } = members.look(found, own);
                    own.adopted.retain(|partition| !leave.contains(partition));
                    own.adopted.extend(adopt);
                }
            }
            let adopted = |(_, heartbeat, _): &(Members, Heartbeat, bool)| {
                heartbeat.adopted.iter().copied().collect()
            };
            self.members.iter().map(adopted).collect()
        }

        fn look_for(&mut self, looks: u32) -> Vec<BTreeSet<u32>> {
            (0..looks).map(|_| self.look()).last().expect("looks")
        }
    }

    #[test]
    fn what_nobody_has_is_shared_out_once_and_given_back_to_whom_the_group_gives_it() {
        let mut group = Group::of(["a", "b", "c"]);
        group.give(0, 0..10);
        assert!(
            group.look_for(PATIENCE).iter().all(BTreeSet::is_empty),
            "the group may still come"
        );
        let adopted = group.look_for(2);
        let counts: usize = adopted.iter().map(BTreeSet::len).sum();
        let all: BTreeSet<u32> = adopted.iter().flatten().copied().collect();
        assert_eq!((counts, all), (10, (10..20).collect()));
        assert!(adopted.iter().all(|of| of.len() < 10), "{adopted:?}");
        assert_eq!(group.look_for(20), adopted, "nobody takes it from them");
        group.give(1, 10..20);
        let adopted = group.look_for(2);
        assert!(adopted[0].is_empty() && adopted[2].is_empty(), "{adopted:?}");
    }

    #[test]
    fn what_a_member_had_that_is_gone_is_adopted_once_its_heartbeat_stands_still() {
        let mut group = Group::of(["a", "b", "c"]);
        group.give(0, 0..PARTITIONS);
        group.look();
        group.members[0].2 = false;
        assert!(group.look_for(PATIENCE + GONE_AFTER - 1).iter().all(BTreeSet::is_empty));
        let adopted = group.look_for(2);
        assert_eq!(adopted.iter().map(BTreeSet::len).sum::<usize>(), PARTITIONS as usize);
        assert!(adopted[0].is_empty());
    }

    #[test]
    fn of_two_who_have_adopted_the_same_one_keeps_it() {
        let mut group = Group::of(["a", "b", "c"]);
        group.give(2, 1..PARTITIONS);
        for member in &mut group.members {
            member.1.adopted = vec![0];
        }
        let adopted = group.look_for(2);
        assert_eq!(adopted.iter().map(BTreeSet::len).sum::<usize>(), 1, "{adopted:?}");
    }

    #[test]
    fn what_was_adopted_in_vain_is_adopted_ever_more_slowly() {
        let mut members = Members::new("a".to_owned(), 1);
        let nothing = Heartbeat::default();
        let mut looks_until_due = || {
            let looks = (1..).find(|_| !members.look(Vec::new(), &nothing).adopt.is_empty());
            looks.expect("it is due")
        };
        assert_eq!([(); 3].map(|()| looks_until_due()), [5, 9, 17]);
        let mine = Heartbeat { adopted: vec![0], ..nothing.clone() };
        for _ in 0..=FORGOTTEN_AFTER {
            members.look(Vec::new(), &mine);
        }
        let looks = (1..).find(|_| !members.look(Vec::new(), &nothing).adopt.is_empty());
        assert_eq!(looks, Some(5), "that is over");
    }

    #[test]
    fn heartbeats_of_the_dead_are_deleted_once() {
        let mut members = Members::new("a".to_owned(), 1);
        let found = || vec![("b".to_owned(), Heartbeat::default())];
        let dead = (0..200).map(|_| members.look(found(), &Heartbeat::default()).dead);
        assert_eq!(dead.flatten().collect::<Vec<_>>(), ["b"]);
    }
}
