//! Looks at the views for all who listen.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use seckill_edge::Problem;
use seckill_proto::{Position, partition_of};
use seckill_views::{MAX_PAGE, PromotionRow, PromotionState, Views, ViewsError};
use tokio::sync::watch;
use tokio::time::Instant;

use super::EVERY;
use crate::problem::problem;

/// For how long one that is over is shown: who is slow, or comes back, is told of its end.
const OVER_SHOWN: Duration = Duration::from_secs(30);

/// How far somebody has seen each partition.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Seen(BTreeMap<u32, u64>);

impl Seen {
    pub(super) fn of(positions: Vec<Position>) -> Self {
        Self(positions.into_iter().map(|at| (at.partition, at.offset)).collect())
    }

    pub(super) fn is_new(&self, position: Position) -> bool {
        self.0.get(&position.partition).is_none_or(|seen| *seen < position.offset)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (partition, offset)) in self.0.iter().enumerate() {
            let before = if number > 0 { "," } else { "" };
            write!(f, "{before}{partition}:{offset}")?;
        }
        Ok(())
    }
}

type Row = Option<Arc<PromotionRow>>;

/// All promotions that are on sale, or were a moment ago.
#[derive(Debug, Default)]
pub(super) struct Board {
    pub(super) rows: BTreeMap<String, Arc<PromotionRow>>,
    /// Since when those are over that are.
    over: HashMap<String, Instant>,
    /// How far the rows reach.
    pub(super) seen: Seen,
}

pub(super) struct Hub {
    views: Views,
    /// By partition: the promotions that somebody listens to.
    watched: Vec<Mutex<Watched>>,
    board: Mutex<Option<watch::Sender<Arc<Board>>>>,
}

#[derive(Default)]
struct Watched {
    rows: HashMap<String, watch::Sender<Row>>,
    /// Whether somebody looks at the partition.
    looked_at: bool,
}

impl Hub {
    pub(super) fn new(views: Views, partitions: u32) -> Arc<Self> {
        let watched = (0..partitions).map(|_| Mutex::default()).collect();
        Arc::new(Self { views, watched, board: Mutex::default() })
    }

    /// The newest row of a promotion, now and whenever it changes.
    pub(super) async fn listen_to(
        self: &Arc<Self>,
        id: &str,
    ) -> Result<watch::Receiver<Row>, Problem> {
        let partition = partition_of(id, u32::try_from(self.watched.len()).unwrap_or(1));
        let watched = &self.watched[partition as usize];
        // Before the look at the row: what changes after it is noticed.
        let (receiver, begins) = {
            let mut watched = watched.lock();
            let sender = watched.rows.entry(id.to_owned());
            let receiver = sender.or_insert_with(|| watch::channel(None).0).subscribe();
            (receiver, !std::mem::replace(&mut watched.looked_at, true))
        };
        if begins {
            tokio::spawn(Arc::clone(self).look_at(partition));
        }
        let row = self.views.promotion(id).await.map_err(|error| problem(&error))?;
        watched.lock().tell(id, row);
        Ok(receiver)
    }

    /// Tells of one partition until nobody listens any more.
    async fn look_at(self: Arc<Self>, partition: u32) {
        let (watched, mut reached) = (&self.watched[partition as usize], 0);
        loop {
            // First how far they are: who comes after that reads at least that by itself.
            let next_offset = self.views.next_offset(partition).await;
            let ids = watched.lock().still_watched();
            let Some(ids) = ids else { return };
            // Views that cannot be read now are read at the next look.
            let told = async {
                let now = next_offset?;
                if now != reached {
                    let rows = self.views.promotions_of_ids(partition, &ids).await?;
                    let mut watched = watched.lock();
                    rows.into_iter().for_each(|row| watched.tell(&row.id.clone(), Some(row)));
                }
                Ok::<_, ViewsError>(now)
            };
            reached = told.await.unwrap_or(reached);
            tokio::time::sleep(EVERY).await;
        }
    }

    /// All promotions that are on sale, now and whenever one changes.
    pub(super) async fn listen_to_all(
        self: &Arc<Self>,
    ) -> Result<watch::Receiver<Arc<Board>>, Problem> {
        if let Some(board) = &*self.board.lock() {
            return Ok(board.subscribe());
        }
        let first = self.read_board(&Board::default()).await.map_err(|error| problem(&error))?;
        let mut board = self.board.lock();
        if let Some(board) = &*board {
            return Ok(board.subscribe()); // somebody else was quicker
        }
        let (sender, receiver) = watch::channel(Arc::new(first));
        *board = Some(sender);
        tokio::spawn(Arc::clone(self).look_at_all());
        Ok(receiver)
    }

    async fn look_at_all(self: Arc<Self>) {
        loop {
            tokio::time::sleep(EVERY).await;
            let before = {
                let mut board = self.board.lock();
                if board.as_ref().is_none_or(|board| board.receiver_count() == 0) {
                    *board = None;
                    return;
                }
                board.as_ref().map(|board| board.borrow().clone()).unwrap_or_default()
            };
            let Ok(seen) = self.seen().await else { continue };
            if seen == before.seen {
                continue;
            }
            if let (Ok(now), Some(board)) = (self.read_board(&before).await, &*self.board.lock()) {
                board.send_replace(Arc::new(now));
            }
        }
    }

    /// How far the views are.
    async fn seen(&self) -> Result<Seen, ViewsError> {
        let mut seen = BTreeMap::new();
        for partition in (0..).take(self.watched.len()) {
            let progress = self.views.progress(partition).await?;
            let reached = progress.and_then(|progress| progress.next_offset.checked_sub(1));
            seen.extend(reached.map(|offset| (partition, offset)));
        }
        Ok(Seen(seen))
    }

    /// Those on sale, and those that were before.
    async fn read_board(&self, before: &Board) -> Result<Board, ViewsError> {
        // First how far they are: the rows are at least as new.
        let (seen, mut rows, mut cursor) = (self.seen().await?, BTreeMap::new(), None);
        loop {
            let (state, after) = (Some(PromotionState::Active), cursor.as_deref());
            let page = self.views.promotions(state, after, MAX_PAGE).await?;
            rows.extend(page.items.into_iter().map(|row| (row.id.clone(), Arc::new(row))));
            let Some(next) = page.next else { break };
            cursor = Some(next);
        }
        let mut over = HashMap::new();
        let gone = before.rows.values().filter(|row| !rows.contains_key(&row.id));
        for row in gone.cloned().collect::<Vec<_>>() {
            let (row, since) = match before.over.get(&row.id) {
                Some(since) => (Some(row), *since),
                None => (self.views.promotion(&row.id).await?.map(Arc::new), Instant::now()),
            };
            let shown = row.filter(|_| since.elapsed() < OVER_SHOWN);
            over.extend(shown.iter().map(|row| (row.id.clone(), since)));
            rows.extend(shown.map(|row| (row.id.clone(), row)));
        }
        Ok(Board { rows, over, seen })
    }
}

impl Watched {
    /// Those that somebody listens to; none where there are none, and then nobody looks any more.
    fn still_watched(&mut self) -> Option<Vec<String>> {
        self.rows.retain(|_, sender| sender.receiver_count() > 0);
        self.looked_at = !self.rows.is_empty();
        self.looked_at.then(|| self.rows.keys().cloned().collect())
    }

    /// Tells who listens, where it is news.
    fn tell(&mut self, id: &str, row: Option<PromotionRow>) {
        let (Some(sender), Some(row)) = (self.rows.get(id), row) else { return };
        sender.send_if_modified(|told| {
            let is_news = told.as_ref().is_none_or(|told| told.position < row.position);
            if is_news {
                *told = Some(Arc::new(row));
            }
            is_news
        });
    }
}
