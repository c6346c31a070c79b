//! Where chance comes from: ids of fences, and how long to wait so that two do not do the same again.

use std::sync::Arc;

use rand::RngExt;

/// A source of chance; copies share it.
#[derive(Clone)]
pub struct Random(Arc<dyn Fn() -> u64 + Send + Sync>);

impl Random {
    /// That of this machine.
    #[must_use]
    pub fn system() -> Self {
        Self::new(|| rand::rng().random())
    }

    /// Numbers from anywhere, all of them equally likely.
    pub fn new(next: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(next))
    }

    /// An id that nobody else has.
    pub(crate) fn id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        id[..8].copy_from_slice(&(self.0)().to_be_bytes());
        id[8..].copy_from_slice(&(self.0)().to_be_bytes());
        id
    }

    /// A number below another, which is not 0.
    pub(crate) fn below(&self, end: u64) -> u64 {
        (self.0)() % end
    }
}
