//! Owners against an adversary: a seeded simulation of one partition.
//!
//! Three nodes believe in any order, and at the same time, that the partition is theirs. The
//! network loses requests and responses, repeats requests, reports offsets that mean nothing, and
//! keeps requests of the dead for later. In the end everything that is still on its way lands,
//! and what was told to clients is held against the fold of the log.
//!
//! What each rule of the protocol is for is shown by nodes that do not keep it: what they are told is
//! changed on its way, so that the rule finds nothing to object to.

use std::collections::{HashMap, HashSet, VecDeque};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use seckill_proto::v1::{Checkpoint, CouponGrabbed, Event, event, record};
use seckill_proto::{decode_record, encode_event};

use crate::Delivery;
use crate::fold::{Fold, Folded};
use crate::owner::{LEASE_MS, Look, Owner, Phase, Settled};
use crate::takeover::{Effect, Next, Takeover};

const STOCK: u32 = 12;
const STEPS: u32 = 300;
/// How long a step takes: a lease lasts for a few of them.
const STEP_MS: u64 = 40;
const SEEDS: u64 = 12_000;

/// A rule that keeps what was told true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// An event counts only under the term of the last fence.
    Term,
    /// An event counts only as the next one of its term.
    Sequence,
    /// An answer is released only for the offset expected.
    Contiguity,
    /// Serving begins only after folding everything through the own fence.
    CatchUp,
    /// After a delivery that is unknown, nothing more is released.
    Suspicion,
    /// An answer that wrote nothing is released only for a later event, or while it is known that
    /// nobody else has written.
    Lease,
}

/// Somebody who waits: for a coupon, or for a refusal that says how many had been granted.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Waiting {
    Grab(u64),
    Refusal { granted: u32, asked_ms: u64 },
}

struct Request {
    /// Term of an event; `None` for the fence of that id.
    term: Option<u64>,
    fence_id: u64,
    sent_ms: u64,
    record: Vec<u8>,
}

/// What came back for a request.
struct Response {
    term: Option<u64>,
    fence_id: u64,
    sent_ms: u64,
    delivery: Delivery,
}

#[derive(Default)]
struct Node {
    owner: Owner<Waiting>,
    granted: u32,
    takeover: Option<Takeover>,
    /// The fence that has been sent, until there is word of it.
    fencing: Option<u64>,
    fence_id: u64,
    connection: VecDeque<Request>,
    responses: VecDeque<Response>,
    /// A look at the log's end, and the end once it has been asked for.
    look: Option<(Look, Option<u64>)>,
}

impl Node {
    fn next(&mut self) -> Option<Next> {
        Some(self.takeover.as_mut()?.next(&mut self.owner))
    }
}

#[derive(Default)]
struct Answers {
    durable: Vec<(u64, u64)>,
    void: Vec<u64>,
    refused: Vec<Refused>,
    withdrawn: usize,
}

/// A refusal as it was told.
struct Refused {
    granted: u32,
    asked_ms: u64,
    told_ms: u64,
}

struct Run {
    random: SmallRng,
    without: Option<Rule>,
    /// As it is read.
    log: Vec<Vec<u8>>,
    fold: Fold,
    /// When each record got into the log.
    landed_ms: Vec<u64>,
    now_ms: u64,
    nodes: Vec<Node>,
    /// Requests of the dead, still on their way.
    zombies: Vec<VecDeque<Request>>,
    last_id: u64,
    told: Answers,
}

impl Run {
    fn new(seed: u64, without: Option<Rule>) -> Self {
        Self {
            random: SmallRng::seed_from_u64(seed),
            without,
            log: Vec::new(),
            fold: Fold::default(),
            landed_ms: Vec::new(),
            now_ms: 0,
            nodes: (0..3).map(|_| Node::default()).collect(),
            zombies: Vec::new(),
            last_id: 0,
            told: Answers::default(),
        }
    }

    fn play(mut self) -> Result<Answers, String> {
        for _ in 0..STEPS {
            self.now_ms += STEP_MS;
            let node = self.random.random_range(0..self.nodes.len());
            self.act(node);
            self.broker();
            let node = self.random.random_range(0..self.nodes.len());
            self.respond(node);
            let node = self.random.random_range(0..self.nodes.len());
            self.look(node);
        }
        self.land_everything();
        self.judge()
    }

    fn chance(&mut self, probability: f64) -> bool {
        self.random.random_bool(probability)
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn act(&mut self, node: usize) {
        if self.nodes[node].owner.phase() != Phase::Idle && self.chance(0.03) {
            return self.crash(node);
        }
        if self.nodes[node].takeover.is_some() {
            return if self.chance(0.5) {
                self.take_over(node)
            };
        }
        match self.nodes[node].owner.phase() {
            Phase::Serving { .. } if self.chance(0.02) => self.nodes[node].owner.suspect(),
            Phase::Serving { .. } if self.chance(0.5) => self.grab(node),
            Phase::Suspect if self.chance(0.5) => self.begin_takeover(node),
            Phase::Idle | Phase::Fencing | Phase::CatchingUp { .. } if self.chance(0.25) => {
                self.begin_takeover(node);
            }
            Phase::Idle
            | Phase::Fencing
            | Phase::CatchingUp { .. }
            | Phase::Serving { .. }
            | Phase::Suspect => {}
        }
    }

    fn crash(&mut self, node: usize) {
        let dead = std::mem::take(&mut self.nodes[node]);
        self.zombies.push(dead.connection);
    }

    fn begin_takeover(&mut self, node: usize) {
        let id = self.next_id();
        // Who does not fold what came before knows nothing of it.
        let knows_nothing = self.without == Some(Rule::CatchUp);
        let next_offset = if knows_nothing { self.log.len() as u64 } else { 0 };
        let fold = Fold::resume(&Checkpoint { next_offset, ..Checkpoint::default() });
        let node = &mut self.nodes[node];
        (node.fence_id, node.granted, node.fencing) = (id, 0, None);
        node.takeover = Some(Takeover::new(fence_id(id), "node", "", fold));
    }

    /// Does what the takeover says, as far as it goes now: records come a few at a time, and the word
    /// about a fence when it comes.
    fn take_over(&mut self, node: usize) {
        let mut records = self.random.random_range(1..200);
        while let Some(next) = self.nodes[node].next() {
            match next {
                Next::LookAtEnd => self.look_at_end(node),
                Next::Append(_) if self.nodes[node].fencing.is_some() => return,
                Next::Append(record) => return self.fence(node, record),
                Next::Read { from } if index(from) >= self.log.len() => self.look_at_end(node),
                Next::Read { .. } if records == 0 => return,
                Next::Read { from } => self.read(node, from),
                Next::Done(_) => self.nodes[node].takeover = None,
            }
            records = u32::saturating_sub(records, 1);
        }
    }

    fn look_at_end(&mut self, node: usize) {
        let end = self.log.len() as u64;
        self.nodes[node].takeover.iter_mut().for_each(|takeover| takeover.ended(end));
    }

    fn fence(&mut self, node: usize, record: Vec<u8>) {
        if self.chance(0.5) {
            let connection = std::mem::take(&mut self.nodes[node].connection);
            self.zombies.push(connection);
        }
        let sent_ms = self.now_ms;
        let node = &mut self.nodes[node];
        let fence_id = node.fence_id;
        node.fencing = Some(fence_id);
        node.connection.push_back(Request { term: None, fence_id, sent_ms, record });
    }

    fn read(&mut self, node: usize, offset: u64) {
        let Node { takeover: Some(takeover), owner, granted, .. } = &mut self.nodes[node] else {
            return;
        };
        let effects = takeover.record(owner, offset, &self.log[index(offset)]);
        for effect in effects.expect("a readable log") {
            match effect {
                Effect::Settled(settled) => self.told.note(settled, self.now_ms),
                Effect::Apply(event) => *granted = serial(&event),
                Effect::Fence(_) => {}
            }
        }
    }

    fn grab(&mut self, node: usize) {
        let (id, refused, asked_ms) = (self.next_id(), self.chance(0.2), self.now_ms);
        let node = &mut self.nodes[node];
        let Phase::Serving { term } = node.owner.phase() else { return };
        if node.owner.parked() >= 6 {
            return;
        }
        let records = if node.granted < STOCK && !refused {
            node.granted += 1;
            node.owner.submit(vec![grabbed(node.granted, id)], Waiting::Grab(id))
        } else {
            let refusal = Waiting::Refusal { granted: node.granted, asked_ms };
            node.owner.submit(Vec::new(), refusal)
        };
        let request = |record| Request { term: Some(term), fence_id: 0, sent_ms: asked_ms, record };
        node.connection.extend(records.into_iter().map(request));
        self.settle_all();
    }

    /// Goes on with a look at the log's end: begins one, asks for the end, or hears of it.
    fn look(&mut self, node: usize) {
        let (now_ms, end, hurried) = (self.now_ms, self.log.len() as u64, self.chance(0.2));
        let node = &mut self.nodes[node];
        node.look = match node.look.take() {
            None if node.owner.wants_look(now_ms) => {
                if hurried {
                    self.told.withdrawn += node.owner.withdraw_unproven().len();
                }
                node.owner.look(now_ms).map(|look| (look, None))
            }
            None => None,
            Some((look, None)) => Some((look, Some(end))),
            Some((look, Some(end))) => {
                node.owner.looked(look, end);
                None
            }
        };
        self.settle_all();
    }

    /// Takes the first request of some connection.
    fn broker(&mut self) {
        let sources: Vec<usize> = (0..self.nodes.len() + self.zombies.len())
            .filter(|&source| !self.connection(source).is_empty())
            .collect();
        if sources.is_empty() || !self.chance(0.6) {
            return;
        }
        let source = sources[self.random.random_range(0..sources.len())];
        let request = self.connection(source).pop_front().expect("not empty");
        let delivery = self.receive(&request.record);
        if let Some(node) = self.nodes.get_mut(source) {
            let Request { term, fence_id, sent_ms, .. } = request;
            node.responses.push_back(Response { term, fence_id, sent_ms, delivery });
        }
    }

    fn connection(&mut self, source: usize) -> &mut VecDeque<Request> {
        let nodes = self.nodes.len();
        if source < nodes {
            &mut self.nodes[source].connection
        } else {
            &mut self.zombies[source - nodes]
        }
    }

    fn receive(&mut self, record: &[u8]) -> Delivery {
        let offset = Delivery::At(self.log.len() as u64);
        let fate: f64 = self.random.random();
        if fate < 0.04 {
            return Delivery::Unknown; // lost, and later ones still come: a hole
        }
        self.land(record.to_vec());
        if fate < 0.08 {
            return Delivery::Unknown; // written, the response lost
        }
        if fate < 0.11 {
            self.land(record.to_vec()); // written twice
        }
        if fate < 0.14 { Delivery::At(u64::MAX - 1_000) } else { offset }
    }

    fn land(&mut self, record: Vec<u8>) {
        let record = self.as_read(record);
        self.fold.step(self.log.len() as u64, &record).expect("a readable log");
        self.log.push(record);
        self.landed_ms.push(self.now_ms);
    }

    /// To a reader that does not look at the term, or at the sequence, each one is right.
    fn as_read(&self, record: Vec<u8>) -> Vec<u8> {
        let decoded = decode_record(&record).expect("a readable record");
        let record::Kind::Event(event) = decoded else { return record };
        match self.without {
            Some(Rule::Term) => {
                encode_event(Event { term: self.fold.term().unwrap_or(event.term), ..event })
            }
            Some(Rule::Sequence) => encode_event(Event { seq: self.fold.next_seq(), ..event }),
            _ => record,
        }
    }

    /// To an owner that takes every delivery for its own, each is where it had to be.
    fn as_reported(&self, owner: &Owner<Waiting>, delivery: Delivery) -> Delivery {
        match (self.without, delivery) {
            (Some(Rule::Contiguity), Delivery::At(_))
            | (Some(Rule::Suspicion), Delivery::Unknown) => Delivery::At(owner.next_offset()),
            _ => delivery,
        }
    }

    fn respond(&mut self, node: usize) {
        if !self.chance(0.6) {
            return;
        }
        let Some(response) = self.nodes[node].responses.pop_front() else { return };
        let Response { term, fence_id, sent_ms, delivery } = response;
        let reported = self.as_reported(&self.nodes[node].owner, delivery);
        let node = &mut self.nodes[node];
        match term {
            Some(term) => node.owner.delivered(term, &[reported], sent_ms),
            None if node.fencing == Some(fence_id) => {
                node.fencing = None;
                let Node { takeover: Some(takeover), owner, .. } = node else { return };
                takeover.delivered(owner, known(delivery));
            }
            None => {}
        }
        self.settle_all();
    }

    fn settle_all(&mut self) {
        for node in &mut self.nodes {
            if self.without == Some(Rule::Lease)
                && let Some(look) = node.owner.look(self.now_ms)
            {
                // Believes that the log ends where it thinks.
                node.owner.looked(look, node.owner.next_offset());
            }
            while let Some(settled) = node.owner.next_settled(self.now_ms) {
                self.told.note(settled, self.now_ms);
            }
        }
    }

    fn land_everything(&mut self) {
        for node in &mut self.nodes {
            self.zombies.push(std::mem::take(&mut node.connection));
        }
        while self.zombies.iter().any(|zombie| !zombie.is_empty()) {
            let index = self.random.random_range(0..self.zombies.len());
            if let Some(request) = self.zombies[index].pop_front() {
                self.land(request.record);
            }
        }
    }

    fn judge(self) -> Result<Answers, String> {
        let accepted = accepted(&self.log)?;
        for (id, told_at) in &self.told.durable {
            match accepted.get(id) {
                Some(offset) if offset == told_at => {}
                other => return Err(format!("told {id} is durable at {told_at}, is at {other:?}")),
            }
        }
        if let Some(id) = self.told.void.iter().find(|id| accepted.contains_key(id)) {
            return Err(format!("told {id} is void, is accepted"));
        }
        let mut granted_ms: Vec<u64> =
            accepted.values().map(|&offset| self.landed_ms[index(offset)]).collect();
        granted_ms.sort_unstable();
        self.told.refused.iter().try_for_each(|refused| refused.judge(&granted_ms))?;
        Ok(self.told)
    }
}

impl Refused {
    /// What it said must have been so at some time from a lease before it was asked until it was
    /// told.
    fn judge(&self, granted_ms: &[u64]) -> Result<(), String> {
        let at = |ms: u64| granted_ms.partition_point(|granted| *granted <= ms);
        let (least, most) = (at(self.asked_ms.saturating_sub(LEASE_MS)), at(self.told_ms));
        if (least..=most).contains(&(self.granted as usize)) {
            return Ok(());
        }
        let Self { granted, asked_ms, told_ms } = self;
        Err(format!(
            "refused for {granted} granted, asked {asked_ms}, told {told_ms}: it was {least} to {most}"
        ))
    }
}

impl Answers {
    fn note(&mut self, settled: Settled<Waiting>, told_ms: u64) {
        match settled {
            Settled::Durable(Waiting::Grab(id), place) => self.durable.push((id, *place.start())),
            Settled::Durable(Waiting::Refusal { granted, asked_ms }, _) => {
                self.refused.push(Refused { granted, asked_ms, told_ms });
            }
            Settled::Void(Waiting::Grab(id)) => self.void.push(id),
            Settled::Void(Waiting::Refusal { .. }) => {}
        }
    }
}

/// An offset that cannot be one is known to be none; the engines see to that.
fn known(delivery: Delivery) -> Delivery {
    match delivery {
        Delivery::At(offset) if offset > 1 << 60 => Delivery::Unknown,
        Delivery::At(_) | Delivery::Unknown => delivery,
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn fence_id(id: u64) -> [u8; 16] {
    u128::from(id).to_be_bytes()
}

fn grabbed(serial: u32, id: u64) -> Event {
    let body = CouponGrabbed {
        serial,
        customer_id: id.to_string(),
        remaining: STOCK - serial,
        idempotency_key: String::new(),
    };
    Event { promotion_id: "p".into(), body: Some(event::Body::Grabbed(body)), ..Event::default() }
}

fn grab_of(event: &Event) -> &CouponGrabbed {
    match event.body.as_ref().expect("a body") {
        event::Body::Grabbed(grabbed) => grabbed,
        other => panic!("nothing but grabs is written here: {other:?}"),
    }
}

fn serial(event: &Event) -> u32 {
    grab_of(event).serial
}

/// Who holds a coupon in the end, and at which offset; an error where the fold breaks a promise.
fn accepted(log: &[Vec<u8>]) -> Result<HashMap<u64, u64>, String> {
    let mut fold = Fold::default();
    let mut accepted = HashMap::new();
    for (offset, record) in (0..).zip(log) {
        let Folded::Event(event) = fold.step(offset, record).map_err(|error| error.to_string())?
        else {
            continue;
        };
        let grab = grab_of(&event);
        if grab.serial as usize != accepted.len() + 1 {
            return Err(format!("serial {} after {} at {offset}", grab.serial, accepted.len()));
        }
        let id = grab.customer_id.parse().map_err(|_| "not an id".to_owned())?;
        if accepted.insert(id, offset).is_some() {
            return Err(format!("{id} is accepted twice"));
        }
    }
    if accepted.len() > STOCK as usize {
        return Err(format!("oversold: {}", accepted.len()));
    }
    Ok(accepted)
}

#[test]
fn what_was_told_holds_in_every_run() {
    let (mut durable, mut void, mut refused, mut withdrawn) = (0, 0, 0, 0);
    for seed in 0..SEEDS {
        let told = Run::new(seed, None)
            .play()
            .unwrap_or_else(|violation| panic!("seed {seed}: {violation}"));
        durable += told.durable.len();
        void += told.void.len();
        refused += told.refused.len();
        withdrawn += told.withdrawn;
        let distinct: HashSet<u64> = told.durable.iter().map(|(id, _)| *id).collect();
        assert_eq!(distinct.len(), told.durable.len(), "seed {seed}: answered twice");
    }
    println!(
        "{SEEDS} runs: {durable} durable, {void} void, {refused} refused, {withdrawn} withdrawn"
    );
    assert!(durable > 20_000 && void > 2_000, "the runs reach every answer");
    assert!(refused > 10_000 && withdrawn > 100, "and every kind of refusal");
}

#[test]
fn without_any_one_rule_a_promise_is_broken() {
    let rules =
        [Rule::Term, Rule::Sequence, Rule::Contiguity, Rule::CatchUp, Rule::Suspicion, Rule::Lease];
    for rule in rules {
        let broken = |seed: &u64| Run::new(*seed, Some(rule)).play().is_err();
        let broken = (0..3_000).filter(broken).count();
        println!("without {rule:?}: {broken} of 3000 runs break a promise");
        assert!(broken > 0, "nothing notices that {rule:?} is missing");
    }
}
