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

    /// Adds a part that can work while this process is in its consumer group, for whoever knows whether it is.
    pub fn member(&self, name: &'static str) -> impl Fn(bool) + Send + use<> {
        let part = self.part(name);
        move |is_member| match is_member {
            true => part.ready(),
            false => {
                part.not_ready("this process is not in its consumer group");
            }
        }
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
        self.not_ready_where(|_| true)
    }

    /// Of those only what a role needs: its own parts, and what all roles share. A part's name begins
    /// with its role and a slash, or it is shared. What operators command is decided by command nodes.
    #[must_use]
    pub fn not_ready_for(&self, role: &str) -> BTreeMap<String, String> {
        let decides = |of: &str| of == "command" && role == "admin";
        let needed =
            |name: &str| name.split_once('/').is_none_or(|(of, _)| of == role || decides(of));
        self.not_ready_where(needed)
    }

    fn not_ready_where(&self, needed: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
        let parts = self.parts.lock();
        let needed = parts.iter().filter(|(name, _)| needed(name));
        let not_ready = needed.filter_map(|(name, reason)| {
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

    #[test]
    fn a_role_needs_its_own_parts_and_what_all_share() {
        let health = Health::default();
        let names = ["command/partition/0", "projector/partition/0", "log"];
        let parts = names.map(|name| health.part(name));
        parts[0].ready();
        assert!(health.not_ready_for("command").keys().eq(["log"]));
        parts[0].not_ready("for a test");
        assert!(health.not_ready_for("admin").contains_key("command/partition/0"));
        parts[0].ready();
        parts[2].ready();
        assert!(health.not_ready_for("command").is_empty());
        assert!(health.not_ready_for("projector").keys().eq(["projector/partition/0"]));
        assert_eq!(health.not_ready().len(), 1);
    }
}
