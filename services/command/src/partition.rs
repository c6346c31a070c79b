//! The life of one owned partition: take over, serve, and take over again when in doubt.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesOrdered;
use prost::Message;
use seckill_log::{Delivery, Log, LogError, Look, Owner, Phase, Settled, Table, Traced};
use seckill_promotion::{Book, end_of};
use seckill_proto::v1::{Answer, Checkpoint, Command, OwnerHint, answer, command};
use seckill_telemetry::Part;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::Failure;
use crate::clock::Clock;
use crate::departure::Departure;
use crate::forward::{OWNER_KEY, Peers};
use crate::mailbox::{
    Answered, Asker, Envelope, Gate, Incoming, Mailbox, Mailboxes, Release, Reply,
};
use crate::neighbours::Neighbours;
use crate::proof::ViewsWitness;
use crate::snapshot::WhichArchived;
use crate::standby::Standbys;
use crate::takeover::{self, Attempt, Identity, TakeoverError};

/// Commands decided before what they wrote is handed to the log.
const MAX_BURST: usize = 2_048;
/// Bursts on their way to the log; while there are so many, commands wait in the mailbox.
const MAX_BURSTS: usize = 8;
/// With so many records on their way, commands gather in the mailbox too: few large bursts cost less than many small ones,
/// and where there are fewer nobody waits longer than for the log.
const GATHER_BEHIND: usize = 16;
/// A log that has not answered for so long is not answering: let nobody else wait for it.
const STALLED: Duration = Duration::from_secs(1);
/// How often the end of the log is looked at while nothing is written: without word from the log for
/// [`STALLED`] a partition takes no commands, and [`GIVE_UP`] later it is given up.
const LOOK_EVERY: Duration = Duration::from_millis(500);
const LOOK_AGAIN: Duration = Duration::from_millis(100);
const TIDY_EVERY: Duration = Duration::from_millis(500);
const GIVE_UP: Duration = Duration::from_secs(5);
/// How long a partition that is given up waits for its last answers, or for word of what became of them.
const DRAIN: Duration = Duration::from_secs(3);
/// How long a partition that was given up is left to who has asked for it.
const STAY_AWAY: Duration = Duration::from_secs(2);
/// The longest sleep: the wall clock may be set, and a sleep would not notice.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// A log further ahead of the clock than this is worth an operator's while, in milliseconds.
const CLOCK_AHEAD_MS: i64 = 60_000;
/// Before the next attempt when only an operator can help.
const NEEDS_HELP: Duration = Duration::from_secs(5);

/// Who waits for a decided command.
struct Waiting {
    reply: Reply,
    outcome: answer::Outcome,
    unless_held: Option<Box<Asker>>,
}

type Bursts = FuturesOrdered<BoxFuture<'static, Vec<Delivery>>>;

pub(crate) struct Partition {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) partition: u32,
    pub(crate) identity: Identity,
    pub(crate) mailbox: Mailbox,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) incoming: Incoming,
    pub(crate) peers: Arc<dyn Peers>,
    pub(crate) neighbours: Arc<Neighbours>,
    pub(crate) standbys: Arc<Standbys>,
    /// Tells how far the log is confirmed.
    pub(crate) confirmed: watch::Sender<Checkpoint>,
    /// The furthest that this node has ever seen the log confirmed.
    pub(crate) known: Checkpoint,
    pub(crate) views: Option<ViewsWitness>,
    /// While the log's disk has no room for more, why.
    pub(crate) room: watch::Receiver<Option<String>>,
    /// After how long promotions that are over are archived; never, where it is absent.
    pub(crate) retain: Option<Duration>,
    /// What the maker of snapshots wants to know.
    pub(crate) questions: mpsc::Receiver<WhichArchived>,
    pub(crate) clock: Clock,
    pub(crate) health: Part,
    pub(crate) departure: Arc<Departure>,
    /// It was given up for another node.
    pub(crate) released: bool,
}

/// When a burst was handed to the log: for how long it has been on its way, by the clock that leases are
/// measured with, and by the time of the sale.
struct Burst {
    since: Instant,
    sent_ms: u64,
    decided_ms: i64,
    records: usize,
}

/// What serving needs, and what is dropped as a whole when it ends.
struct Session {
    term: u64,
    book: Book,
    bursts: Bursts,
    /// The bursts on their way, in order.
    since: VecDeque<Burst>,
    /// The offset by which every promotion had ended that is archived.
    archived_by: u64,
    /// A look at the log's end that is under way.
    look: Option<BoxFuture<'static, (Look, Result<u64, LogError>)>>,
    /// When the next one is due, and when the log last gave word.
    look_at: Instant,
    heard: Instant,
    tidy_at: Instant,
}

impl Session {
    fn new(term: u64, book: Book) -> Self {
        let (bursts, since, now) = (Bursts::new(), VecDeque::new(), Instant::now());
        Self {
            term,
            book,
            bursts,
            since,
            archived_by: term,
            look: None,
            look_at: now,
            heard: now,
            tidy_at: now,
        }
    }

    /// Whether another burst may be on its way.
    fn has_room(&self) -> bool {
        let on_their_way: usize = self.since.iter().map(|burst| burst.records).sum();
        self.bursts.len() < MAX_BURSTS && on_their_way < GATHER_BEHIND
    }
}

impl Partition {
    /// Runs until told to stop.
    pub(crate) async fn run(mut self) {
        let mut owner = Owner::default();
        let stop = self.departure.told.clone();
        while !stop.is_cancelled() {
            let taken = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                taken = self.take_over_with_room(&mut owner) => taken,
            };
            match taken {
                Ok(book) => {
                    self.serve(&mut owner, book).await;
                    self.stay_away(&mut owner).await;
                }
                Err(error) => tokio::select! {
                    biased;
                    () = stop.cancelled() => {}
                    () = self.report_and_wait(&error) => {}
                },
            }
        }
        self.mailbox.set(Gate::Elsewhere);
        self.turn_away_waiting();
        let _ = tokio::time::timeout(DRAIN, self.read_back(&mut owner)).await;
        for waiting in owner.abandon() {
            waiting.reply.send(Err(Failure::Unknown));
        }
    }

    /// Leaves a partition that was given up to who has asked for it.
    async fn stay_away(&mut self, owner: &mut Owner<Waiting>) {
        if !std::mem::take(&mut self.released) {
            return;
        }
        self.neighbours.no_longer_adopts(self.partition);
        let staying = async {
            let _ = tokio::time::timeout(DRAIN, self.read_back(owner)).await;
            tokio::time::sleep(STAY_AWAY).await;
        };
        tokio::select! {
            biased;
            () = self.departure.told.cancelled() => {}
            () = staying => {}
        }
    }

    /// Answers what is in doubt, where the log tells of it.
    async fn read_back(&self, owner: &mut Owner<Waiting>) {
        if owner.parked() == 0 {
            return;
        }
        let partition = self.partition;
        let mut settle = |settled| answer(partition, settled);
        let attempt = self.attempt(&|_, _| {}, &|| {});
        if let Err(error) = attempt.read_back(owner, &mut settle).await {
            tracing::warn!(%error, partition, "what became of the last answers is not known");
        }
    }

    /// Taking over writes.
    async fn take_over_with_room(
        &mut self,
        owner: &mut Owner<Waiting>,
    ) -> Result<Book, TakeoverError> {
        while let Some(reason) = self.no_room() {
            self.health.not_ready(reason);
            if self.room.changed().await.is_err() {
                break;
            }
        }
        self.take_over(owner).await
    }

    fn no_room(&self) -> Option<String> {
        self.room.borrow().clone()
    }

    async fn take_over(&mut self, owner: &mut Owner<Waiting>) -> Result<Book, TakeoverError> {
        let begun = Instant::now();
        let partition = self.partition;
        let followed = self.standbys.take(partition).await;
        let (warm, seen) = followed.map(|of| (of.warm, of.seen)).unwrap_or_default();
        let is_warm = warm.is_some();
        // What was seen of the log stays known, whatever becomes of this attempt.
        self.know(seen);
        let mut settle = |settled| answer(partition, settled);
        let progress = |at: u64, fence: u64| {
            let reason = format!("taking the partition over: at offset {at} of {fence}");
            self.health.not_ready(reason);
            tracing::info!(partition, at, fence, "taking the partition over");
        };
        let let_in = || self.mailbox.set(Gate::Open);
        let made = self.attempt(&progress, &let_in).make(owner, warm, &mut settle).await;
        if made.is_err() {
            // Of what is in doubt nobody else is known to have taken over.
            let in_doubt = owner.read_back_from().is_some();
            self.mailbox.set(if in_doubt { Gate::Closed } else { Gate::Elsewhere });
            self.turn_away_waiting();
        }
        if matches!(made, Err(TakeoverError::Deposed)) {
            self.neighbours.no_longer_adopts(self.partition);
        }
        let book = made?;
        let (took, holds) = (begun.elapsed(), book.size());
        tracing::info!(partition, ?took, holds, is_warm, "serving");
        metrics::histogram!("seckill_takeover_seconds").record(begun.elapsed());
        Ok(book)
    }

    fn attempt<'a>(
        &'a self,
        progress: &'a (dyn Fn(u64, u64) + Sync),
        let_in: &'a (dyn Fn() + Sync),
    ) -> Attempt<'a> {
        Attempt {
            log: &*self.log,
            partition: self.partition,
            identity: &self.identity,
            views: self.views.as_ref(),
            known: &self.known,
            progress,
            peers: &*self.peers,
            neighbours: &self.neighbours,
            let_in,
        }
    }

    async fn report_and_wait(&self, error: &TakeoverError) {
        let partition = self.partition;
        match (self.health.not_ready(error.to_string()), error.is_retryable()) {
            (true, true) => tracing::warn!(%error, partition, "not taken over; trying again"),
            (true, false) => tracing::error!(%error, partition, "the partition cannot be served"),
            (false, _) => tracing::debug!(%error, partition, "still not taken over"),
        }
        if error.is_retryable() {
            takeover::back_off(&self.identity.random).await;
        } else {
            tokio::time::sleep(NEEDS_HELP).await;
        }
    }

    async fn serve(&mut self, owner: &mut Owner<Waiting>, book: Book) {
        let Phase::Serving { term } = owner.phase() else { return };
        let mut beside = JoinSet::new(); // ends with this session
        self.mailbox.set_owner(owner.fence_id());
        let Identity { node, endpoint, url, .. } = self.identity.clone();
        let hint = OwnerHint { term, node, endpoint, url, fence_id: owner.fence_id().into() };
        let _serves = self.neighbours.serves(self.partition, hint.clone());
        beside.spawn(self.publish_hint(&hint));
        self.confirmed.send_replace(owner.checkpoint()); // a snapshot may be due
        self.warn_of_clock(&book);
        self.serve_on();
        while self.incoming.releases.try_recv().is_ok() {} // asked for before it was served
        let mut session = Session::new(term, book);
        self.decide_until_in_doubt(owner, &mut session).await;
        let gone = self.released || self.departure.told.is_cancelled();
        self.mailbox.set(if gone { Gate::Elsewhere } else { Gate::Closed });
        self.know(owner.checkpoint());
        owner.withdraw_unproven().into_iter().for_each(turn_away);
        self.health.not_ready("taking the partition over");
        self.turn_away_waiting();
    }

    async fn decide_until_in_doubt(&mut self, owner: &mut Owner<Waiting>, session: &mut Session) {
        let departure = Arc::clone(&self.departure);
        let mut envelopes = Vec::with_capacity(MAX_BURST);
        while let Phase::Serving { .. } = owner.phase() {
            let (room, has_space) = (session.has_room(), self.no_room().is_none());
            let stalled = session.since.front().map(|burst| burst.since + STALLED);
            self.begin_look(owner, session);
            self.tidy_up(owner, session);
            tokio::select! {
                biased;
                () = departure.due() => return self.drain(owner, session).await,
                Some(deliveries) = session.bursts.next() => {
                    self.confirm(owner, session, &deliveries);
                }
                Some(release) = self.incoming.releases.recv() => {
                    if !release.is_closed() {
                        return self.release(owner, session, release).await;
                    }
                }
                () = tokio::time::sleep_until(stalled.unwrap_or_else(Instant::now)),
                    if stalled.is_some() => self.wait_out_stall(owner, session).await,
                (look, end) = looked(&mut session.look) => {
                    self.take_look(owner, session, look, end);
                }
                () = tokio::time::sleep_until(session.look_at), if session.look.is_none() => {}
                Ok(()) = self.room.changed() => self.serve_on(),
                Some(question) = self.questions.recv() => which_archived(&session.book, question),
                received = self.incoming.envelopes.recv_many(&mut envelopes, MAX_BURST), if room => {
                    if received == 0 {
                        return;
                    }
                    self.gather(&mut envelopes).await;
                    self.decide(owner, session, &mut envelopes);
                }
                () = sleep_until_due(&self.clock, &session.book), if room && has_space => {
                    self.wake(owner, session);
                }
            }
        }
    }

    /// Lets those come in too who are at the door: other tasks that can run now have their turn first.
    async fn gather(&mut self, envelopes: &mut Vec<Envelope>) {
        if envelopes.len() >= GATHER_BEHIND {
            return;
        }
        tokio::task::yield_now().await;
        while envelopes.len() < MAX_BURST
            && let Ok(envelope) = self.incoming.envelopes.try_recv()
        {
            envelopes.push(envelope);
        }
    }

    fn decide(
        &self,
        owner: &mut Owner<Waiting>,
        session: &mut Session,
        envelopes: &mut Vec<Envelope>,
    ) {
        if self.room.borrow().is_some() {
            return envelopes.drain(..).for_each(turn_envelope_away);
        }
        // What is due comes first: a crowd at one promotion must not keep another from starting.
        let now_ms = self.clock.now_ms();
        let mut records = owner.stamp(session.book.wake(now_ms));
        let mut traced = Traced::new();
        for Envelope { command, reply, trace } in envelopes.drain(..) {
            if reply.is_closed() {
                continue; // nobody waits any more, and nothing has been decided
            }
            let handled = session.book.handle(&command, now_ms);
            let unless_held = handled.unless_held.then(|| asker(command, session.archived_by));
            let unless_held = unless_held.flatten();
            let waiting = Waiting { reply, outcome: handled.outcome, unless_held };
            let first = records.len();
            records.append(&mut owner.submit(handled.events, waiting));
            let its_own = trace.into_iter().flat_map(|trace| {
                (first..records.len()).map(move |index| (index, Arc::clone(&trace)))
            });
            traced.extend(its_own);
        }
        self.append(session, records, traced, now_ms);
        self.settle(owner);
    }

    /// Now and then: measures, and lets go of promotions that have been over for long.
    fn tidy_up(&self, owner: &mut Owner<Waiting>, session: &mut Session) {
        if Instant::now() < session.tidy_at {
            return;
        }
        session.tidy_at = Instant::now() + TIDY_EVERY;
        self.archive(owner, session);
        let gauge = |name, value| {
            metrics::gauge!(name, "partition" => self.partition.to_string()).set(value as f64);
        };
        gauge("seckill_mailbox_commands", self.incoming.envelopes.len() as u64);
        gauge("seckill_held_in_memory", session.book.size());
    }

    /// What nobody has restocked for long is ended; and of promotions that are over for certain, with no end
    /// of them still on its way, coupons are let go of.
    fn archive(&self, owner: &mut Owner<Waiting>, session: &mut Session) {
        let Some(retain) = self.retain else { return };
        let retain_ms = i64::try_from(retain.as_millis()).unwrap_or(i64::MAX);
        let now_ms = self.clock.now_ms();
        let before_ms = now_ms.saturating_sub(retain_ms);
        if session.bursts.len() < MAX_BURSTS && self.no_room().is_none() {
            let records = owner.stamp(session.book.finish_idle(before_ms, now_ms));
            self.append(session, records, Traced::new(), now_ms);
        }
        let pending_ms = session.since.front().map_or(i64::MAX, |burst| burst.decided_ms);
        let archived = session.book.archive(before_ms.min(pending_ms));
        if !archived.is_empty() {
            session.archived_by = owner.next_offset();
            drop(tokio::task::spawn_blocking(move || drop(archived))); // it may be millions
        }
    }

    /// Does what is due by the clock.
    fn wake(&self, owner: &mut Owner<Waiting>, session: &mut Session) {
        let now_ms = self.clock.now_ms();
        let records = owner.stamp(session.book.wake(now_ms));
        self.append(session, records, Traced::new(), now_ms);
    }

    fn append(
        &self,
        session: &mut Session,
        records: Vec<Vec<u8>>,
        traced: Traced,
        decided_ms: i64,
    ) {
        if records.is_empty() {
            return;
        }
        metrics::histogram!("seckill_burst_records").record(records.len() as f64);
        // Before they are sent: a process may stand still in between.
        let (since, sent_ms) = (Instant::now(), self.clock.since_boot_ms());
        let burst = Burst { since, sent_ms, decided_ms, records: records.len() };
        let appending = self.log.append_traced(self.partition, records, traced);
        session.bursts.push_back(Box::pin(appending.deliveries()));
        session.since.push_back(burst);
    }

    fn confirm(&self, owner: &mut Owner<Waiting>, session: &mut Session, deliveries: &[Delivery]) {
        let Some(Burst { since, sent_ms, .. }) = session.since.pop_front() else { return };
        metrics::histogram!("seckill_append_seconds").record(since.elapsed());
        owner.delivered(session.term, deliveries, sent_ms);
        session.heard = Instant::now();
        session.look_at = session.heard + LOOK_EVERY;
        self.confirmed.send_replace(owner.checkpoint());
        self.settle(owner);
        if owner.phase() == Phase::Suspect {
            let partition = self.partition;
            tracing::warn!(
                partition,
                waiting = owner.parked(),
                "a delivery does not fit: in doubt"
            );
        }
    }

    fn settle(&self, owner: &mut Owner<Waiting>) {
        let now_ms = self.clock.since_boot_ms();
        while let Some(settled) = owner.next_settled(now_ms) {
            answer(self.partition, settled);
        }
    }

    /// Begins a look at the log's end where one is due, or an answer waits for it.
    fn begin_look(&self, owner: &Owner<Waiting>, session: &mut Session) {
        let now_ms = self.clock.since_boot_ms();
        let due = Instant::now() >= session.look_at;
        if session.look.is_some() || !(due || owner.wants_look(now_ms)) {
            return;
        }
        session.look_at = Instant::now() + LOOK_EVERY;
        let Some(look) = owner.look(now_ms) else { return };
        let (log, partition) = (Arc::clone(&self.log), self.partition);
        session.look = Some(Box::pin(async move {
            let asked = tokio::time::timeout(STALLED, log.end(partition)).await;
            let late = || LogError::Unavailable("it does not say where it ends".to_owned());
            (look, asked.unwrap_or_else(|_| Err(late())))
        }));
    }

    /// Answers what waited for a look. Without word from the log nobody is refused, and nobody is
    /// kept waiting either.
    fn take_look(
        &mut self,
        owner: &mut Owner<Waiting>,
        session: &mut Session,
        look: Look,
        end: Result<u64, LogError>,
    ) {
        match end {
            Ok(end) => {
                owner.looked(look, end);
                self.settle(owner);
                session.heard = Instant::now();
                if matches!(owner.phase(), Phase::Serving { .. }) {
                    self.serve_on();
                }
            }
            Err(error) => {
                self.mailbox.set(Gate::Closed);
                self.health.not_ready(error.to_string());
                self.turn_away_waiting();
                owner.withdraw_unproven().into_iter().for_each(turn_away);
                session.look_at = Instant::now() + LOOK_AGAIN;
                if session.heard.elapsed() > GIVE_UP {
                    tracing::warn!(partition = self.partition, %error, "giving the partition up");
                    owner.suspect();
                }
            }
        }
        if owner.phase() == Phase::Suspect {
            let partition = self.partition;
            tracing::warn!(partition, "the log's end is not the one expected: in doubt");
        }
    }

    /// Keeps the furthest that the log was seen confirmed.
    fn know(&mut self, confirmed: Checkpoint) {
        if confirmed.next_offset > self.known.next_offset {
            self.known = confirmed;
        }
    }

    /// The log does not answer. Those who wait here are turned away for certain; what has been
    /// handed to the log stays with its owner.
    async fn wait_out_stall(&mut self, owner: &mut Owner<Waiting>, session: &mut Session) {
        tracing::warn!(partition = self.partition, "the log does not answer");
        self.mailbox.set(Gate::Closed);
        self.health.not_ready("the log does not answer");
        self.turn_away_waiting();
        let deliveries = tokio::select! {
            biased;
            () = self.departure.due() => return,
            deliveries = session.bursts.next() => deliveries,
        };
        self.confirm(owner, session, &deliveries.unwrap_or_default());
        if matches!(owner.phase(), Phase::Serving { .. }) {
            self.serve_on();
        }
    }

    /// Takes commands, as long as there is room for them.
    fn serve_on(&self) {
        let no_room = self.no_room();
        self.mailbox.set(if no_room.is_none() { Gate::Open } else { Gate::Closed });
        match no_room {
            Some(reason) => {
                self.health.not_ready(reason);
            }
            None => self.health.ready(),
        }
    }

    fn turn_away_waiting(&mut self) {
        while let Ok(envelope) = self.incoming.envelopes.try_recv() {
            turn_envelope_away(envelope);
        }
    }

    /// Lets in nobody more and answers those who are in.
    async fn drain(&mut self, owner: &mut Owner<Waiting>, session: &mut Session) {
        self.mailbox.set(Gate::Elsewhere);
        self.turn_away_waiting();
        self.finish(owner, session).await;
        owner.suspect(); // of what has no answer yet
    }

    /// Gives the partition up for a node that is about to take it over: decides what is in, and nothing more.
    async fn release(
        &mut self,
        owner: &mut Owner<Waiting>,
        session: &mut Session,
        release: Release,
    ) {
        self.mailbox.set(Gate::Elsewhere);
        self.mailboxes.wait_at_gates();
        let mut waiting = Vec::new();
        while let Ok(envelope) = self.incoming.envelopes.try_recv() {
            waiting.push(envelope);
        }
        self.decide(owner, session, &mut waiting);
        self.finish(owner, session).await;
        owner.suspect();
        self.released = true;
        tracing::info!(partition = self.partition, "given up for another node");
        let _ = release.send(()); // it may not wait any more
    }

    /// Waits for what is on its way to the log.
    async fn finish(&mut self, owner: &mut Owner<Waiting>, session: &mut Session) {
        let deadline = Instant::now() + DRAIN;
        while let Ok(Some(deliveries)) =
            tokio::time::timeout_at(deadline, session.bursts.next()).await
        {
            self.confirm(owner, session, &deliveries);
        }
    }

    /// Time never goes back within a partition, so a clock that was far ahead leaves its mark.
    fn warn_of_clock(&self, book: &Book) {
        let ahead_ms = book.at_ms() - self.clock.now_ms();
        if ahead_ms > CLOCK_AHEAD_MS {
            let partition = self.partition;
            tracing::error!(partition, ahead_ms, "the log is ahead of this node's clock");
        }
    }

    /// Tells whoever asks the table of owners where commands go. Only a hint, and nobody waits for it.
    fn publish_hint(&self, hint: &OwnerHint) -> impl Future<Output = ()> + Send + 'static {
        let entry = (OWNER_KEY.to_owned(), Bytes::from(hint.encode_to_vec()));
        let (log, partition) = (Arc::clone(&self.log), self.partition);
        async move {
            let mut said = false;
            while let Err(error) = log.put(Table::Owners, partition, vec![entry.clone()]).await {
                if !std::mem::replace(&mut said, true) {
                    tracing::warn!(%error, partition, "the owner is not in the table of owners yet");
                }
                tokio::time::sleep(LONGEST_SLEEP).await;
            }
        }
    }
}

fn answer(partition: u32, settled: Settled<Waiting>) {
    let (reply, said) = match settled {
        Settled::Durable(Waiting { reply, outcome, unless_held }, place) => {
            // Of a coupon, where it was granted; of what operators command, all that came of it.
            let is_coupon =
                matches!(outcome, answer::Outcome::Accepted(accepted) if accepted.serial > 0);
            let offset = *if is_coupon { place.start() } else { place.end() };
            let answer = Answer { partition, offset, outcome: Some(outcome) };
            (reply, Ok(Answered { answer, unless_held }))
        }
        Settled::Void(Waiting { reply, .. }) => (reply, Err(Failure::Unavailable)),
    };
    reply.send(said);
}

fn asker(command: Command, ended_by: u64) -> Option<Box<Asker>> {
    let Command { promotion_id, body: Some(command::Body::Grab(grab)) } = command else {
        return None;
    };
    Some(Box::new(Asker { promotion_id, customer_id: grab.customer_id, ended_by }))
}

fn which_archived(book: &Book, question: WhichArchived) {
    let WhichArchived { promotion_ids, answer } = question;
    let ends = promotion_ids.iter().filter_map(|id| end_of(id, book.get(id)?));
    let _ = answer.send(ends.collect()); // whoever asked may be gone
}

fn turn_envelope_away(envelope: Envelope) {
    envelope.reply.send(Err(Failure::Unavailable));
}

/// Something that has written nothing is not accepted for certain.
fn turn_away(Waiting { reply, .. }: Waiting) {
    reply.send(Err(Failure::Unavailable));
}

async fn sleep_until_due(clock: &Clock, book: &Book) {
    let Some(due_ms) = book.next_due_ms() else { return std::future::pending().await };
    let wait_ms = u64::try_from(due_ms.saturating_sub(clock.now_ms())).unwrap_or(0);
    tokio::time::sleep(Duration::from_millis(wait_ms).min(LONGEST_SLEEP)).await;
}

/// What a look under way comes to.
async fn looked(
    look: &mut Option<BoxFuture<'static, (Look, Result<u64, LogError>)>>,
) -> (Look, Result<u64, LogError>) {
    match look {
        Some(under_way) => {
            let looked = under_way.await;
            *look = None;
            looked
        }
        None => std::future::pending().await,
    }
}
