//! Which faults come when: from the seed alone, before anything has begun.

use std::collections::HashMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};

use crate::fault::{Blow, Fault, Link, Trouble, Who, Writing};

/// Before the first fault, and after the last one: a crowd that is served.
const QUIET: Duration = Duration::from_secs(3);
/// Between the beginnings of two faults, in milliseconds.
const GAP_MS: std::ops::Range<u64> = 300..2_500;
/// How long most faults last, in milliseconds.
const LASTS_MS: std::ops::Range<u64> = 300..4_000;
/// How long a pause of a process can last: longer than its group waits for it, so that it wakes up beside its
/// successor.
const PAUSE_MS: std::ops::Range<u64> = 200..8_000;

/// How long a clock is wrong, in milliseconds: it takes up to a second to be seen.
const LEAP_MS: std::ops::Range<u64> = 1_500..8_000;
/// How long nothing passes between nodes, in milliseconds: longer than they wait for each other.
const APART_MS: std::ops::Range<u64> = 1_500..4_000;

/// Processes of which a cluster has one.
const LONELY: [Who; 2] = [Who::Gateway, Who::Admin];

/// What there is to be hurt.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Command nodes; or the one process of embedded engines.
    pub(crate) nodes: usize,
    /// None with embedded engines.
    pub(crate) projectors: usize,
    /// Brokers, which may be hurt, as the database may; none with embedded engines.
    pub(crate) brokers: usize,
}

/// A fault with its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Planned {
    pub(crate) fault: Fault,
    /// Since the crowd came.
    pub(crate) at: Duration,
    pub(crate) lasts: Duration,
}

impl Shape {
    /// Whether there are several processes.
    pub(crate) const fn is_cluster(&self) -> bool {
        self.projectors > 0
    }

    /// Every kind of fault, each with all that it can be done to.
    fn kinds(&self) -> Vec<Vec<Fault>> {
        let nodes: Vec<Who> = (0..self.nodes).map(Who::Node).collect();
        let projectors: Vec<Who> = (0..self.projectors).map(Who::Projector).collect();
        let mut kinds = [blows(&nodes), blows(&projectors), self.of_customers()].concat();
        if self.is_cluster() {
            kinds.extend(self.between_nodes());
            let blows = [Blow::Kill, Blow::Pause];
            kinds.extend(blows.map(|blow| each(blow, &LONELY)));
            let writings = [Writing::Fences, Writing::Repeats, Writing::Garbage];
            kinds.extend(writings.map(|writing| vec![Fault::Writing(writing)]));
        }
        let lonely = if self.is_cluster() { &LONELY[..] } else { &[] };
        let processes = [&nodes[..], &projectors, lonely].concat();
        kinds.extend([Blow::Ahead, Blow::Behind].map(|blow| each(blow, &processes)));
        if self.brokers > 0 {
            kinds.extend(of_engines(self.brokers, &[nodes, projectors].concat()));
        }
        kinds.retain(|faults: &Vec<Fault>| !faults.is_empty());
        kinds
    }

    fn of_customers(&self) -> Vec<Vec<Fault>> {
        let troubles = [Trouble::LoseRequests, Trouble::LoseAnswers, Trouble::CutShort];
        let of = |trouble| {
            (0..self.nodes).map(|node| Fault::Trouble(trouble, Link::Customers(node))).collect()
        };
        troubles.map(of).to_vec()
    }

    fn between_nodes(&self) -> [Vec<Fault>; 3] {
        [Trouble::Hang, Trouble::Shut, Trouble::LoseAnswers].map(|trouble| {
            let of_one = (0..self.nodes).map(Link::Peers);
            let links = of_one.chain([Link::AllPeers]);
            links.map(|link| Fault::Trouble(trouble, link)).collect()
        })
    }
}

/// A blow to any of these.
fn each(blow: Blow, all: &[Who]) -> Vec<Fault> {
    all.iter().map(|who| Fault::Blow(blow, *who)).collect()
}

fn blows(processes: &[Who]) -> Vec<Vec<Fault>> {
    let blows = [Blow::Kill, Blow::Stop, Blow::Pause, Blow::NoDescriptors];
    blows.map(|blow| each(blow, processes)).to_vec()
}

fn of_engines(brokers: usize, processes: &[Who]) -> Vec<Vec<Fault>> {
    let brokers: Vec<Who> = (0..brokers).map(Who::Broker).collect();
    let mut kinds = Vec::new();
    for engines in [&brokers[..], &[Who::Database]] {
        kinds.extend([Blow::Kill, Blow::Pause, Blow::NoSpace].map(|blow| each(blow, engines)));
    }
    let troubles = [Trouble::Slow, Trouble::LoseRequests, Trouble::LoseAnswers, Trouble::CutShort];
    for link in [Link::Brokers, Link::Database] {
        kinds.extend(troubles.map(|trouble| vec![Fault::Trouble(trouble, link)]));
    }
    let alone = |trouble| move |who: &Who| Fault::Trouble(trouble, Link::BrokersOf(*who));
    let troubles = [Trouble::Hang, Trouble::Shut];
    kinds.extend(troubles.map(|trouble| processes.iter().map(alone(trouble)).collect()));
    kinds
}

/// Faults over a time, all of them over at its end. Every kind comes before one comes again.
pub(crate) fn schedule(
    seed: u64,
    shape: Shape,
    duration: Duration,
    only: &[String],
) -> Vec<Planned> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut kinds = shape.kinds();
    let is_wanted = |fault: &Fault| {
        only.is_empty() || only.iter().any(|word| fault.to_string().contains(word.as_str()))
    };
    kinds.iter_mut().for_each(|faults| faults.retain(is_wanted));
    kinds.retain(|faults| !faults.is_empty());
    let (mut deck, mut planned) = (Vec::new(), Vec::new());
    let (mut busy, mut at) = (HashMap::new(), QUIET);
    while at + QUIET < duration && !kinds.is_empty() {
        if deck.is_empty() {
            deck.clone_from(&kinds);
            deck.shuffle(&mut random);
        }
        let kind: Vec<Fault> = deck.pop().unwrap_or_default();
        let free = |fault: &&Fault| busy.get(&lane(fault)).is_none_or(|until| *until < at);
        let fits: Vec<&Fault> = kind.iter().filter(free).collect();
        if let Some(fault) = fits.choose(&mut random) {
            let range = lasting_ms(fault);
            let lasts = Duration::from_millis(random.random_range(range.clone()));
            let lasts = lasts.min(duration - QUIET - at);
            // One that is over too soon does nothing.
            if lasts >= Duration::from_millis(range.start) {
                // What is hurt has a moment to come back.
                busy.insert(lane(fault), at + lasts + QUIET);
                planned.push(Planned { fault: **fault, at, lasts });
            }
        } else {
            deck.insert(0, kind); // later
        }
        at += Duration::from_millis(random.random_range(GAP_MS));
    }
    planned
}

const fn lasting_ms(fault: &Fault) -> std::ops::Range<u64> {
    match fault {
        Fault::Blow(Blow::Pause, _) => PAUSE_MS,
        Fault::Blow(Blow::Ahead | Blow::Behind, _) => LEAP_MS,
        Fault::Trouble(Trouble::Hang, Link::Peers(_) | Link::AllPeers) => APART_MS,
        _ => LASTS_MS,
    }
}

/// Two faults in one lane never overlap.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Lane {
    Process(Who),
    Link(Link),
    Stranger,
}

const fn lane(fault: &Fault) -> Lane {
    match fault {
        Fault::Blow(_, who) => Lane::Process(*who),
        Fault::Trouble(_, link) => Lane::Link(*link),
        Fault::Writing(_) => Lane::Stranger,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLUSTER: Shape = Shape { nodes: 3, projectors: 2, brokers: 3 };
    const MINUTES: Duration = Duration::from_secs(300);

    #[test]
    fn the_same_seed_plans_the_same() {
        let plan = |seed| schedule(seed, CLUSTER, MINUTES, &[]);
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn every_kind_comes_and_all_are_over_in_time() {
        let planned = schedule(1, CLUSTER, MINUTES, &[]);
        for kind in CLUSTER.kinds() {
            assert!(planned.iter().any(|planned| kind.contains(&planned.fault)), "{kind:?}");
        }
        assert!(planned.iter().all(|planned| planned.at + planned.lasts + QUIET <= MINUTES));
    }

    #[test]
    fn nothing_is_hurt_twice_at_once() {
        for seed in 0..50 {
            let planned = schedule(seed, CLUSTER, MINUTES, &[]);
            for (index, first) in planned.iter().enumerate() {
                let same = |other: &&Planned| {
                    lane(&other.fault) == lane(&first.fault) && other.at < first.at + first.lasts
                };
                assert_eq!(planned[index + 1..].iter().find(same), None, "seed {seed}: {first:?}");
            }
        }
    }

    #[test]
    fn one_process_has_no_peers_and_no_engines() {
        let alone = Shape { nodes: 1, projectors: 0, brokers: 0 };
        let of_process = |fault: &Fault| {
            matches!(fault, Fault::Blow(_, Who::Node(0)) | Fault::Trouble(_, Link::Customers(0)))
        };
        let planned = schedule(3, alone, MINUTES, &[]);
        assert!(planned.len() > 50 && planned.iter().all(|planned| of_process(&planned.fault)));
    }

    #[test]
    fn only_what_is_asked_for() {
        let planned = schedule(3, CLUSTER, MINUTES, &["kill -9: broker 1".to_owned()]);
        let kill = Fault::Blow(Blow::Kill, Who::Broker(1));
        assert!(planned.len() > 5 && planned.iter().all(|planned| planned.fault == kill));
    }
}
