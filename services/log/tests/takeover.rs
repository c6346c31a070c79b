//! Transcripts of takeovers: each file in `takeover/` is a script with what it must print. After a
//! change on purpose `UPDATE_GOLDENFILES=1 cargo test -p seckill-log --test takeover` writes them
//! anew, and the difference is read before it is committed.
//!
//! ```text
//! fence NODE             another node's fence gets into the log
//! event TERM SEQ         an event of somebody's gets into the log
//! takeover NODE [OFFSET] begins one, from the beginning or from a snapshot that ends at an offset
//! step [lost|unheard]    does what is to be done next; an append may be lost, or written and no word of it
//!                        come back
//! run                    steps until it is over
//! submit NAME, refuse NAME   an event or a refusal, decided by the owner; the event is sent
//! land                   what was sent gets into the log, and the word of it comes back
//! lose, drop             what was sent gets lost; or into the log, and no word of it comes back
//! late                   what was lost gets into the log after all
//! cut OFFSET             the log loses everything from an offset on
//! log                    what every reader makes of the log
//! ```

use std::collections::VecDeque;
use std::error::Error;
use std::fmt::Write;
use std::path::Path;

use goldenscript::{Command, Context, Runner};
use seckill_log::{Delivery, Effect, Fold, Folded, Next, Outcome, Owner, Phase, Settled, Takeover};
use seckill_proto::v1::{Event, Fence, PromotionStarted, event};
use seckill_proto::{encode_event, encode_fence};

type Said = Result<String, Box<dyn Error>>;

#[derive(Default)]
struct Stage {
    log: Vec<Vec<u8>>,
    owner: Owner<String>,
    takeover: Option<Takeover>,
    sent: VecDeque<Vec<u8>>,
    lost: Vec<Vec<u8>>,
}

impl Runner for Stage {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Said {
        let mut args = command.consume_args();
        let said = match command.name.as_str() {
            "fence" => self.put(fence(args.next_pos().ok_or("whose?")?)),
            "event" => {
                let mut number = || {
                    args.next_pos()
                        .ok_or("term and sequence?")?
                        .parse::<u64>()
                        .map_err(Box::<dyn Error>::from)
                };
                let (term, seq) = (number()?, number()?);
                self.put(event_of(term, seq))
            }
            "takeover" => {
                let node = args.next_pos().ok_or("whose?")?;
                let from = args.next_pos().map_or(Ok(0), str::parse)?;
                self.begin(node, from)
            }
            "step" => {
                let fate = args.next_pos();
                self.step(fate)
            }
            "run" => self.run_on(),
            "submit" => self.submit(args.next_pos().ok_or("who?")?, true),
            "refuse" => self.submit(args.next_pos().ok_or("who?")?, false),
            "land" => self.deliver(true, true),
            "lose" => self.deliver(false, false),
            "drop" => self.deliver(true, false),
            "late" => {
                let lost = std::mem::take(&mut self.lost);
                lost.into_iter().map(|record| self.put(record)).collect()
            }
            "cut" => {
                self.log.truncate(args.next_pos().ok_or("where?")?.parse()?);
                String::new()
            }
            "log" => self.folded(),
            other => return Err(format!("no such command: {other}").into()),
        };
        args.reject_next()?;
        Ok(said)
    }
}

impl Stage {
    fn put(&mut self, record: Vec<u8>) -> String {
        self.log.push(record);
        format!("at {}\n", self.log.len() - 1)
    }

    fn begin(&mut self, node: &str, from: usize) -> String {
        let mut fold = Fold::default();
        for (offset, record) in (0..).zip(&self.log[..from]) {
            fold.step(offset, record).expect("readable");
        }
        self.takeover = Some(Takeover::new(id(node), node, "", fold));
        String::new()
    }

    fn step(&mut self, fate: Option<&str>) -> String {
        let Some(takeover) = &mut self.takeover else { return "no takeover\n".to_owned() };
        let mut said = String::new();
        match takeover.next(&mut self.owner) {
            Next::LookAtEnd => {
                let end = self.log.len() as u64;
                takeover.ended(end);
                let _ = writeln!(said, "look at the end: {end}");
            }
            Next::Append(record) => {
                let at = Delivery::At(self.log.len() as u64);
                let (lands, delivery) = match fate {
                    None => (true, at),
                    Some("unheard") => (true, Delivery::Unknown),
                    Some(_) => (false, Delivery::Unknown),
                };
                if lands {
                    self.log.push(record)
                } else {
                    self.lost.push(record)
                }
                takeover.delivered(&mut self.owner, delivery);
                let _ = writeln!(said, "append the fence: {delivery:?}");
            }
            Next::Read { from } => {
                let at = usize::try_from(from).expect("small");
                match self.log.get(at) {
                    Some(record) => {
                        let effects = takeover.record(&mut self.owner, from, record);
                        let _ = write!(said, "read {from}");
                        for effect in effects.expect("readable") {
                            let _ = write!(said, ", {}", words(&effect));
                        }
                        said.push('\n');
                    }
                    None => {
                        takeover.ended(self.log.len() as u64);
                        let _ = writeln!(said, "read {from}: nothing comes");
                    }
                }
            }
            Next::Done(outcome) => {
                self.takeover = None;
                let _ = writeln!(said, "{outcome:?}, {:?}", self.owner.phase());
                if outcome == Outcome::Serving {
                    said += &self.settled();
                }
            }
        }
        said
    }

    fn run_on(&mut self) -> String {
        let mut said = String::new();
        while self.takeover.is_some() {
            said += &self.step(None);
        }
        said
    }

    fn submit(&mut self, name: &str, writes: bool) -> String {
        if !matches!(self.owner.phase(), Phase::Serving { .. }) {
            return format!("not taken while {:?}\n", self.owner.phase());
        }
        let body = Some(event::Body::Started(PromotionStarted {}));
        let event = Event { promotion_id: name.into(), body, ..Event::default() };
        let events = if writes { vec![event] } else { vec![] };
        self.sent.extend(self.owner.submit(events, name.to_owned()));
        self.settled()
    }

    fn deliver(&mut self, lands: bool, heard: bool) -> String {
        let Phase::Serving { term } = self.owner.phase() else { return "not serving\n".to_owned() };
        let mut deliveries = Vec::new();
        for record in std::mem::take(&mut self.sent) {
            let at = Delivery::At(self.log.len() as u64);
            deliveries.push(if heard { at } else { Delivery::Unknown });
            if lands { self.log.push(record) } else { self.lost.push(record) }
        }
        self.owner.delivered(term, &deliveries, 0);
        let phase = self.owner.phase();
        format!("{deliveries:?}: {phase:?}\n{}", self.settled())
    }

    /// What may be told now; no lease lasts until then.
    fn settled(&mut self) -> String {
        let settled = std::iter::from_fn(|| self.owner.next_settled(u64::MAX));
        settled.map(|settled| told(&settled) + "\n").collect()
    }

    fn folded(&self) -> String {
        let mut fold = Fold::default();
        let records = (0..).zip(&self.log).map(|(offset, record)| {
            match fold.step(offset, record).expect("readable") {
                Folded::Fence(fence) => format!("{offset} fence of {}\n", fence.node),
                Folded::Event(event) => format!("{offset} counts: {}\n", event.promotion_id),
                Folded::Void => format!("{offset} void\n"),
                Folded::Skipped(_) => format!("{offset} skipped\n"),
                Folded::Skip(skip) => format!("{offset} skips {}\n", skip.offset),
            }
        });
        records.collect()
    }
}

fn words(effect: &Effect<String>) -> String {
    match effect {
        Effect::Settled(settled) => told(settled),
        Effect::Apply(event) => format!("apply {}", event.promotion_id),
        Effect::Fence(fence) => format!("fence of {}", fence.node),
    }
}

fn told(settled: &Settled<String>) -> String {
    match settled {
        Settled::Durable(name, place) => format!("{name} is durable at {}", place.end()),
        Settled::Void(name) => format!("{name} is void"),
    }
}

fn id(node: &str) -> [u8; 16] {
    let mut id = [0; 16];
    id[..node.len()].copy_from_slice(node.as_bytes());
    id
}

fn fence(node: &str) -> Vec<u8> {
    encode_fence(Fence { fence_id: id(node).to_vec(), node: node.to_owned(), ..Fence::default() })
}

fn event_of(term: u64, seq: u64) -> Vec<u8> {
    let body = Some(event::Body::Started(PromotionStarted {}));
    encode_event(Event {
        term,
        seq,
        promotion_id: format!("{term}/{seq}"),
        body,
        ..Event::default()
    })
}

#[test]
fn every_transcript_is_as_it_was_reviewed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/takeover");
    let mut scripts: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("one").path())
        .collect();
    scripts.sort();
    assert!(scripts.len() >= 8, "{scripts:?}");
    for script in scripts {
        goldenscript::run(&mut Stage::default(), &script)
            .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
    }
}
