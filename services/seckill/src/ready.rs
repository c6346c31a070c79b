//! Whether readers can be answered.

use std::time::Duration;

use seckill_telemetry::Part;
use seckill_views::Views;

const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Asks the views again and again whether they answer. Never ends.
pub(crate) async fn watch(views: Views, part: Part) {
    loop {
        match views.check().await {
            Ok(()) => part.ready(),
            Err(error) => drop(part.not_ready(error.to_string())),
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
