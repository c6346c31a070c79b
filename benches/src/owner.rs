//! Contestant `owner`: clients in this process, each waiting for its grab to be durable.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::lap::{Tally, Window};
use crate::sale::{OpenSale, is_accepted};

/// After an answer that was not the one hoped for.
const PAUSE: Duration = Duration::from_millis(10);

pub(crate) async fn lap(
    sale: &Arc<OpenSale>,
    clients: u32,
    length: Duration,
) -> anyhow::Result<Tally> {
    let window = Window::of(length);
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        tasks.spawn(client(Arc::clone(sale), window));
    }
    Tally::gather(window, tasks).await
}

async fn client(sale: Arc<OpenSale>, window: Window) -> anyhow::Result<Tally> {
    let mut tally = Tally::new(window);
    while !window.is_over() {
        let Some(number) = sale.next_customer() else { break };
        let begun = Instant::now();
        let command = sale.grab(&sale.wanted_by(number).id, number);
        match sale.dispatcher.send(command).await {
            Ok(answer) if is_accepted(&answer) => tally.answered(begun),
            Ok(_) | Err(_) => {
                tally.failed();
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    Ok(tally)
}
