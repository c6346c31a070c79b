//! What sells coupons of one promotion that never sells out.

use anyhow::Result;
use async_trait::async_trait;

use super::process::Server;

#[async_trait]
pub(super) trait Shop: Send + Sync {
    fn name(&self) -> String;

    fn server(&self) -> &Server;

    /// With a connection of its own.
    async fn buyer(&self) -> Result<Box<dyn Buyer>>;
}

#[async_trait]
pub(super) trait Buyer: Send {
    /// Grabs for customers who have none yet; comes back when all have been given one, durably as far as the shop goes.
    async fn grab(&mut self, customers: Vec<String>) -> Result<()>;
}
