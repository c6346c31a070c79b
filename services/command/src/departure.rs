//! A partition is to go to another node: when to end it here.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// For how long a partition is served on that the group has given to another node: that one may have much to read.
const SERVED_ON_FOR: Duration = Duration::from_secs(30);

/// When a node gives its partitions up.
#[derive(Clone)]
pub(crate) struct Leave {
    /// For how long partitions are served on when all are to go, until other nodes have taken them over; nothing where
    /// there are no others.
    pub(crate) hand_over: Duration,
    /// All of them are to go.
    pub(crate) begun: CancellationToken,
    /// All of them end now.
    pub(crate) end: CancellationToken,
}

/// How one partition leaves a node.
pub(crate) struct Departure {
    /// It is to go.
    pub(crate) told: CancellationToken,
    node: Leave,
    /// Since when.
    since: OnceLock<Instant>,
}

impl Departure {
    pub(crate) fn new(told: CancellationToken, node: Leave) -> Self {
        Self { told, node, since: OnceLock::new() }
    }

    /// Waits until it was told to go and nobody has taken it over for a while; where the whole node goes, until that
    /// has let in its last request.
    pub(crate) async fn due(&self) {
        self.told.cancelled().await;
        let since = *self.since.get_or_init(Instant::now);
        let nobody_came = async {
            let served_on_for =
                if self.node.hand_over.is_zero() { Duration::ZERO } else { SERVED_ON_FOR };
            tokio::time::sleep_until(since + served_on_for).await;
        };
        tokio::select! {
            biased;
            () = self.node.end.cancelled() => {}
            () = nobody_came, if !self.node.begun.is_cancelled() => {}
        }
    }
}
