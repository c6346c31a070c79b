//! Which parts of the process are able to work.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// The parts of a process and what keeps each from working.
#[derive(Clone, Default)]
pub struct Health {
    parts: Arc<Mutex<BTreeMap<String, Option<String>>>>,
}

/// One part, to be reported on by whoever runs it. Gone from the list when dropped.
pub struct Part {
    health: Health,
    name: String,
}

impl Health {
    /// Adds a part, not ready yet.
    #[must_use]
    pub fn part(&self, name: impl Into<String>) -> Part {
        let part = Part { health: self.clone(), name: name.into() };
        part.not_ready("starting");
        part
    }

    /// All parts, and whether each can work.
    #[must_use]
    pub fn parts(&self) -> BTreeMap<String, bool> {
        let parts = self.parts.lock();
        parts.iter().map(|(name, reason)| (name.clone(), reason.is_none())).collect()
    }

    /// Parts that cannot work, each with the reason.
    #[must_use]
    pub fn not_ready(&self) -> BTreeMap<String, String> {
        let parts = self.parts.lock();
        let not_ready = parts.iter().filter_map(|(name, reason)| {
            reason.as_ref().map(|reason| (name.clone(), reason.clone()))
        });
        not_ready.collect()
    }
}

impl Part {
    /// Says that it works.
    pub fn ready(&self) {
        self.health.parts.lock().insert(self.name.clone(), None);
    }

    /// Says that it does not, and why. Tells whether that is news.
    pub fn not_ready(&self, reason: impl Into<String>) -> bool {
        let reason = Some(reason.into());
        let before = self.health.parts.lock().insert(self.name.clone(), reason.clone());
        before != Some(reason)
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.health.parts.lock().remove(&self.name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_every_part_is() {
        let health = Health::default();
        let (a, b) = (health.part("a"), health.part("b"));
        a.ready();
        assert_eq!(health.not_ready(), BTreeMap::from([("b".into(), "starting".into())]));
        b.ready();
        assert!(health.not_ready().is_empty());
        a.not_ready("the broker is gone");
        assert_eq!(health.not_ready()["a"], "the broker is gone");
        drop(a);
        assert!(health.not_ready().is_empty());
    }
}
