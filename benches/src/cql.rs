//! What the benches make in ScyllaDB or Cassandra, by the driver alone.

use anyhow::Context;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

/// Everything that a run makes in a database.
pub(crate) const KEYSPACE: &str = "seckill_bench";

pub(crate) async fn drop_keyspace(nodes: &str) -> anyhow::Result<()> {
    let statement = format!("DROP KEYSPACE IF EXISTS {KEYSPACE}");
    session(nodes).await?.query_unpaged(statement, ()).await?;
    Ok(())
}

pub(crate) async fn session(nodes: &str) -> anyhow::Result<Session> {
    let nodes: Vec<&str> = nodes.split(',').collect();
    let session = SessionBuilder::new().known_nodes(&nodes).build().await;
    session.with_context(|| format!("no CQL node answers at {nodes:?}"))
}
