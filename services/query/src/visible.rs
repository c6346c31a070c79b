//! Read-your-writes: waits until a view has reached a position.
//!
//! Nobody asks for itself: however many wait for a partition, one task asks how far its views are, and
//! wakes those who have waited for that.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use parking_lot::Mutex;
use seckill_edge::Problem;
use seckill_proto::{Position, ProblemKind};
use seckill_views::Views;
use tokio::sync::oneshot;

use crate::problem::problem;

/// How long a reader waits for a view.
const READER_TIMEOUT: Duration = Duration::from_secs(2);
const FIRST_PAUSE: Duration = Duration::from_millis(2);
const LONGEST_PAUSE: Duration = Duration::from_millis(50);

/// The position asked for, by parameter or by header.
pub(crate) fn asked(
    parameter: Option<&str>,
    headers: &HeaderMap,
) -> Result<Option<Position>, Problem> {
    let header = headers.get("seckill-after").map(|value| value.to_str().unwrap_or_default());
    let Some(text) = parameter.or(header) else { return Ok(None) };
    let wrong = |error| Problem::new(ProblemKind::InvalidPosition, format!("after: {error}."));
    text.parse().map(Some).map_err(wrong)
}

/// Who waits for which view.
pub(crate) struct Visible {
    views: Views,
    /// By partition.
    waiting: Vec<Arc<Mutex<Waiting>>>,
}

type Waited = Result<(), Problem>;

#[derive(Default)]
struct Waiting {
    /// By the offset that must be shown; the second number only tells them apart.
    readers: BTreeMap<(u64, u64), oneshot::Sender<Waited>>,
    numbered: u64,
    /// Whether somebody asks for them.
    asked_for: bool,
}

/// A reader that waits for as long as this lives.
struct Place {
    waiting: Arc<Mutex<Waiting>>,
    key: (u64, u64),
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.lock().readers.remove(&self.key);
    }
}

impl Visible {
    pub(crate) fn new(views: Views, partitions: u32) -> Self {
        Self { views, waiting: (0..partitions).map(|_| Arc::default()).collect() }
    }

    /// Waits until the views show what was answered at a position, for a bounded time.
    pub(crate) async fn wait_for(&self, position: Position) -> Result<(), Problem> {
        let (_place, told) = self.begin_to_wait(self.of(position.partition)?, position);
        match tokio::time::timeout(READER_TIMEOUT, told).await {
            Ok(Ok(told)) => told,
            Ok(Err(_)) | Err(_) => Err(not_yet(position)),
        }
    }

    /// How many records the views lack to show what was answered at a position.
    pub(crate) async fn behind(&self, position: Position) -> Result<u64, Problem> {
        self.of(position.partition)?;
        let next = shown(&self.views, position.partition).await?;
        Ok(position.offset.saturating_add(1).saturating_sub(next))
    }

    fn of(&self, partition: u32) -> Result<&Arc<Mutex<Waiting>>, Problem> {
        let waiting = usize::try_from(partition).ok().and_then(|index| self.waiting.get(index));
        waiting.ok_or_else(|| {
            let detail = format!("after: the log has no partition {partition}.");
            Problem::new(ProblemKind::InvalidPosition, detail)
        })
    }

    fn begin_to_wait(
        &self,
        waiting: &Arc<Mutex<Waiting>>,
        position: Position,
    ) -> (Place, oneshot::Receiver<Waited>) {
        let (tell, told) = oneshot::channel();
        let mut locked = waiting.lock();
        locked.numbered += 1;
        let key = (position.offset, locked.numbered);
        locked.readers.insert(key, tell);
        if !std::mem::replace(&mut locked.asked_for, true) {
            let (views, waiting) = (self.views.clone(), Arc::clone(waiting));
            tokio::spawn(ask_for_all(views, waiting, position.partition));
        }
        (Place { waiting: Arc::clone(waiting), key }, told)
    }
}

/// The first offset that the views do not show.
async fn shown(views: &Views, partition: u32) -> Result<u64, Problem> {
    views.next_offset(partition).await.map_err(|error| problem(&error))
}

/// Asks how far the views are until nobody waits any more; slower while they stand still.
async fn ask_for_all(views: Views, waiting: Arc<Mutex<Waiting>>, partition: u32) {
    let (mut before, mut pause) = (0, FIRST_PAUSE);
    loop {
        let next = shown(&views, partition).await;
        let moved = next.as_ref().is_ok_and(|next| *next > before);
        pause = if moved { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        before = *next.as_ref().unwrap_or(&before);
        if !waiting.lock().tell(next) {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

impl Waiting {
    /// Wakes whoever has waited for this. Whether somebody still waits.
    fn tell(&mut self, next: Result<u64, Problem>) -> bool {
        let rest = match &next {
            Ok(next) => self.readers.split_off(&(*next, 0)),
            Err(_) => BTreeMap::new(),
        };
        let told = next.map(drop);
        for (_, reader) in std::mem::replace(&mut self.readers, rest) {
            let _ = reader.send(told.clone()); // who has waited for long enough is gone
        }
        self.asked_for = !self.readers.is_empty();
        self.asked_for
    }
}

fn not_yet(position: Position) -> Problem {
    Problem::new(
        ProblemKind::NotYetVisible,
        format!("The view has not reached {position}. What was answered stands; try again."),
    )
}

#[cfg(test)]
mod tests {
    use seckill_proto::v1::Checkpoint;
    use seckill_views::{Changes, Progress};

    use super::*;

    async fn reach(views: &Views, next_offset: u64) {
        let checkpoint = Checkpoint { next_offset, ..Checkpoint::default() };
        let progress = Progress::at(0, &checkpoint, None);
        views.write(Changes::none(progress)).await.expect("written");
    }

    #[tokio::test]
    async fn readers_are_woken_in_the_order_of_what_they_wait_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let views = Views::open_directory(directory.path(), 1).await.expect("views");
        let visible = Arc::new(Visible::new(views.clone(), 1));
        let wait = |offset| {
            let visible = Arc::clone(&visible);
            tokio::spawn(async move { visible.wait_for(Position { partition: 0, offset }).await })
        };
        let (late, early) = (wait(9), wait(4));
        while visible.waiting[0].lock().readers.len() < 2 {
            tokio::task::yield_now().await;
        }
        reach(&views, 5).await;
        early.await.expect("it ends").expect("it is shown");
        assert!(!late.is_finished());
        reach(&views, 10).await;
        late.await.expect("it ends").expect("it is shown");
        while visible.waiting[0].lock().asked_for {
            tokio::time::sleep(FIRST_PAUSE).await;
        }
        wait(9).await.expect("it ends").expect("shown already");
    }

    #[tokio::test]
    async fn what_does_not_come_is_told_after_a_while_and_forgotten() {
        let directory = tempfile::tempdir().expect("a directory");
        let views = Views::open_directory(directory.path(), 1).await.expect("views");
        let visible = Visible::new(views, 1);
        let refused = visible.wait_for(Position { partition: 0, offset: 4 }).await;
        assert_eq!(refused.expect_err("nothing is there").kind(), ProblemKind::NotYetVisible);
        assert!(visible.waiting[0].lock().readers.is_empty());
        let wrong = visible.wait_for(Position { partition: 1, offset: 4 }).await;
        assert_eq!(wrong.expect_err("no partition").kind(), ProblemKind::InvalidPosition);
    }
}
