//! One partition of the tables of a rebuild, beside the session that writes what is read.
//!
//! It outlives sessions: where what is read cannot be written on, new tables may be what mends it.
//!
//! At first a builder brings them up from the start of the log, always short of where the views are.
//! Close to that, the session writes what is missing, and from then on every write to both. So the new
//! tables have reached the views only where they are written with them, and stay there: it is safe to
//! give them to readers once that is so of every partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seckill_log::Log;
use seckill_views::{Changes, Phase, Progress, Rebuild, Views};
use tokio_util::task::AbortOnDropHandle;

use crate::build::{Builder, Built, Turns};
use crate::rows::{RowMaker, SessionError};

pub(crate) struct Beside {
    log: Arc<dyn Log>,
    views: Views,
    partition: u32,
    turns: Turns,
    /// The first offset that the views do not have, for a builder to stay short of.
    projected: Arc<AtomicU64>,
    state: State,
}

enum State {
    /// No rebuild, as far as is known.
    None,
    /// A builder brings the tables of this rebuild up.
    Building(u32, AbortOnDropHandle<Built>),
    /// The tables of this rebuild are written with those that are read, and by which revision of the
    /// catalog that was told last.
    Joined(u32, u64),
}

impl State {
    fn number(&self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Building(number, _) | Self::Joined(number, _) => Some(*number),
        }
    }
}

impl Beside {
    pub(crate) fn new(
        log: Arc<dyn Log>,
        views: Views,
        partition: u32,
        turns: Turns,
        projected: Arc<AtomicU64>,
    ) -> Self {
        Self { log, views, partition, turns, projected, state: State::None }
    }

    /// A session begins where the views are, which may be before where the last one was: whatever was
    /// known of the tables beside is looked up again. A builder goes on as long as it is short of that.
    pub(crate) async fn begin_session(&mut self, next_offset: u64) {
        let went_back = next_offset < self.projected.swap(next_offset, Ordering::AcqRel);
        if went_back || matches!(self.state, State::Joined(..)) {
            self.state = State::None;
        }
        self.look().await;
    }

    /// Begins and ends with the rebuild that there is. What is wrong with the tables beside is no matter of
    /// those that are read.
    async fn look(&mut self) {
        let looked = async {
            let rebuild = self.written().await?;
            if rebuild.as_ref().map(|rebuild| rebuild.number) == self.state.number() {
                return Ok(None);
            }
            match rebuild {
                None => Ok(Some(State::None)),
                Some(rebuild) => self.begin(&rebuild).await.map(Some),
            }
        };
        match looked.await {
            Ok(Some(state)) => {
                self.state = state;
                self.measure_nothing_left();
            }
            Ok(None) => {}
            Err::<Option<State>, SessionError>(error) => {
                tracing::warn!(partition = self.partition, %error, "the rebuild cannot be followed");
            }
        }
    }

    /// Follows the rebuild that there is. `rows` has made all that the views have.
    pub(crate) async fn follow(&mut self, rows: &mut RowMaker) -> Result<(), SessionError> {
        self.look().await;
        match &mut self.state {
            State::Building(number, task) if task.is_finished() => {
                let (number, built) = (*number, task.await);
                self.state = State::None;
                match built {
                    Ok(built) => {
                        self.join(built, rows).await?;
                        self.state = State::Joined(number, 0);
                        self.measure_nothing_left();
                    }
                    // A bug; the next call begins again.
                    Err(error) => tracing::error!(%error, "the builder ended badly"),
                }
            }
            State::None | State::Building(..) | State::Joined(..) => {}
        }
        self.acknowledge(rows).await
    }

    fn measure_nothing_left(&self) {
        if !matches!(self.state, State::Building(..)) {
            let partition = self.partition.to_string();
            metrics::gauge!("seckill_rebuild_left_records", "partition" => partition).set(0.0);
        }
    }

    /// Tells that all writes from now on are by the catalog as it is: those before have ended.
    async fn acknowledge(&mut self, rows: &RowMaker) -> Result<(), SessionError> {
        let State::Joined(number, told) = self.state else { return Ok(()) };
        let (_, revision) = self.views.rebuild_and_revision().await?;
        if revision != told {
            let progress = Progress::at(self.partition, &rows.checkpoint(), None);
            self.views.write_both(Changes::none(progress), number).await?;
            self.state = State::Joined(number, revision);
        }
        Ok(())
    }

    /// The rebuild whose tables are written.
    async fn written(&self) -> Result<Option<Rebuild>, SessionError> {
        let rebuild = self.views.rebuild().await?;
        Ok(rebuild.filter(|rebuild| rebuild.phase.is_written()))
    }

    async fn begin(&self, rebuild: &Rebuild) -> Result<State, SessionError> {
        let reached = self.reached().await?;
        if reached >= self.projected.load(Ordering::Acquire) {
            return Ok(State::Joined(rebuild.number, 0));
        }
        let builder = Builder {
            log: Arc::clone(&self.log),
            views: self.views.clone(),
            partition: self.partition,
            number: rebuild.number,
            projected: Arc::clone(&self.projected),
            turns: self.turns.clone(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(builder.run()));
        Ok(State::Building(rebuild.number, task))
    }

    /// The first offset that the tables beside do not have.
    async fn reached(&self) -> Result<u64, SessionError> {
        Ok(self.views.beside().next_offset(self.partition).await?)
    }

    /// Writes what the builder left, up to where the views are, and goes on with the rows that it has
    /// made: they are of the log alone.
    async fn join(&self, mut built: Built, rows: &mut RowMaker) -> Result<(), SessionError> {
        built.advance(rows.next_offset()).await?;
        if built.rows.checkpoint() != rows.checkpoint() {
            return Err(SessionError::OtherHistory);
        }
        rows.projections = built.rows.projections;
        tracing::info!(partition = self.partition, "the rebuild has reached the views");
        Ok(())
    }

    /// The views to read rows from that are to be changed: the newest that are complete.
    pub(crate) async fn newest(&self) -> Result<Views, SessionError> {
        let phase = self.views.rebuild().await?.map(|rebuild| rebuild.phase);
        let joined = matches!(self.state, State::Joined(..));
        let beside = joined && phase.is_some_and(Phase::new_is_beside);
        Ok(if beside { self.views.beside() } else { self.views.clone() })
    }

    /// Writes to the views, and to the tables beside them where these have reached them.
    pub(crate) async fn write(&self, changes: Changes) -> Result<(), SessionError> {
        match self.state {
            State::Joined(number, _) => self.views.write_both(changes, number).await?,
            State::None | State::Building(..) => self.views.write(changes).await?,
        }
        Ok(())
    }

    /// Sees to it that the tables beside still have what was written there.
    pub(crate) async fn check(&self, from: u64) -> Result<(), SessionError> {
        let State::Joined(number, _) = self.state else { return Ok(()) };
        if self.written().await?.is_none_or(|rebuild| rebuild.number != number) {
            return Ok(()); // it has ended
        }
        let to = self.reached().await?;
        if to < from { Err(SessionError::WentBack { from, to }) } else { Ok(()) }
    }
}
