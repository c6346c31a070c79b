//! A partition is to go to another node: when to end it here.

use std::sync::OnceLock;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// When a node gives its partitions up.
#[derive(Clone)]
pub(crate) struct Leave {
    /// For how long a partition that is to go is served on, until another node has taken it over.
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
    /// Until when it waits for another node.
    until: OnceLock<Instant>,
}

impl Departure {
    pub(crate) fn new(told: CancellationToken, node: Leave) -> Self {
        Self { told, node, until: OnceLock::new() }
    }

    /// Waits until it was told to go and nobody has taken it over for a while; where the whole node goes, until that
    /// has let in its last request.
    pub(crate) async fn due(&self) {
        self.told.cancelled().await;
        let until = *self.until.get_or_init(|| Instant::now() + self.node.hand_over);
        tokio::select! {
            biased;
            () = self.node.end.cancelled() => {}
            () = tokio::time::sleep_until(until) => {
                if self.node.begun.is_cancelled() {
                    self.node.end.cancelled().await;
                }
            }
        }
    }
}
