//! Ctrl-C and SIGTERM; a terminal that goes away is no reason to end.

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// A token that is cancelled by the first Ctrl-C or SIGTERM. A second one ends the process.
///
/// # Errors
/// The process may not handle signals.
pub fn on_signal() -> anyhow::Result<CancellationToken> {
    let mut interrupt = signal(SignalKind::interrupt()).context("Ctrl-C cannot be handled")?;
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut hang_up = signal(SignalKind::hangup()).context("SIGHUP cannot be handled")?;
    let stop = CancellationToken::new();
    let stopping = stop.clone();
    tokio::spawn(async move {
        let mut again = false;
        loop {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                Some(()) = hang_up.recv() => {
                    tracing::info!("SIGHUP: nothing to do");
                    continue;
                }
            }
            if again {
                tracing::warn!("told to stop twice: ending at once");
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the second signal asks for just that"
                )]
                std::process::exit(130);
            }
            tracing::info!("stopping; once more ends at once");
            stopping.cancel();
            again = true;
        }
    });
    Ok(stop)
}
