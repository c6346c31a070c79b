//! One partition of the tables of a rebuild, beside the session that writes what is read.
//!
//! At first a builder brings them up from the start of the log, always short of where the views are.
//! Close to that, the session writes what is missing, and from then on every write to both. So the new
//! tables have reached the views only where they are written with them, and stay there: it is safe to
//! give them to readers once that is so of every partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use seckill_log::Log;
use seckill_views::{Changes, Phase, Rebuild, Views};
use tokio_util::task::AbortOnDropHandle;

use crate::build::{Builder, Built, Turns};
use crate::rows::{RowMaker, SessionError};

pub(crate) struct Beside {
    log: Arc<dyn Log>,
    views: Views,
    partition: u32,
    turns: Turns,
    state: State,
}

enum State {
    /// No rebuild, as far as is known.
    None,
    /// A builder brings the tables of this rebuild up.
    Building(u32, AbortOnDropHandle<Built>),
    /// The tables of this rebuild are written with those that are read.
    Joined(u32),
}

impl State {
    fn number(&self) -> Option<u32> {
        match self {
            Self::None => None,
            Self::Building(number, _) | Self::Joined(number) => Some(*number),
        }
    }
}

impl Beside {
    pub(crate) fn new(log: Arc<dyn Log>, views: Views, partition: u32, turns: Turns) -> Self {
        Self { log, views, partition, turns, state: State::None }
    }

    /// Begins and ends with the rebuild that there is. `rows` has made all that the views have, which is
    /// up to `projected`.
    pub(crate) async fn follow(
        &mut self,
        rows: &mut RowMaker,
        projected: &Arc<AtomicU64>,
    ) -> Result<(), SessionError> {
        let rebuild = self.written().await?;
        if rebuild.as_ref().map(|rebuild| rebuild.number) != self.state.number() {
            self.state = match rebuild {
                None => State::None,
                Some(rebuild) => self.begin(&rebuild, projected).await?,
            };
        }
        let built = match &mut self.state {
            State::Building(number, task) if task.is_finished() => (*number, task.await),
            State::None | State::Building(..) | State::Joined(_) => return Ok(()),
        };
        self.state = match built {
            (number, Ok(built)) => {
                self.join(built, rows).await?;
                State::Joined(number)
            }
            // A bug; the next call begins again.
            (_, Err(error)) => {
                tracing::error!(partition = self.partition, %error, "the builder ended badly");
                State::None
            }
        };
        Ok(())
    }

    /// The rebuild whose tables are written.
    async fn written(&self) -> Result<Option<Rebuild>, SessionError> {
        let rebuild = self.views.rebuild().await?;
        Ok(rebuild.filter(|rebuild| rebuild.phase.is_written()))
    }

    async fn begin(
        &self,
        rebuild: &Rebuild,
        projected: &Arc<AtomicU64>,
    ) -> Result<State, SessionError> {
        let reached = self.reached().await?;
        if reached >= projected.load(Ordering::Acquire) {
            return Ok(State::Joined(rebuild.number));
        }
        let builder = Builder {
            log: Arc::clone(&self.log),
            views: self.views.clone(),
            partition: self.partition,
            number: rebuild.number,
            projected: Arc::clone(projected),
            turns: self.turns.clone(),
        };
        let task = AbortOnDropHandle::new(tokio::spawn(builder.run()));
        Ok(State::Building(rebuild.number, task))
    }

    /// The first offset that the tables beside do not have.
    async fn reached(&self) -> Result<u64, SessionError> {
        let progress = self.views.beside().progress(self.partition).await?;
        Ok(progress.map_or(0, |progress| progress.next_offset))
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
        let joined = matches!(self.state, State::Joined(_));
        let beside = joined && phase.is_some_and(Phase::new_is_beside);
        Ok(if beside { self.views.beside() } else { self.views.clone() })
    }

    /// Writes to the views, and to the tables beside them where these have reached them.
    pub(crate) async fn write(&self, changes: Changes) -> Result<(), SessionError> {
        match self.state {
            State::Joined(number) => self.views.write_both(changes, number).await?,
            State::None | State::Building(..) => self.views.write(changes).await?,
        }
        Ok(())
    }

    /// Sees to it that the tables beside still have what was written there.
    pub(crate) async fn check(&self, from: u64) -> Result<(), SessionError> {
        let State::Joined(number) = self.state else { return Ok(()) };
        if self.written().await?.is_none_or(|rebuild| rebuild.number != number) {
            return Ok(()); // it has ended
        }
        let to = self.reached().await?;
        if to < from { Err(SessionError::WentBack { from, to }) } else { Ok(()) }
    }
}
