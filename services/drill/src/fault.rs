//! What can be done to a running system.

use std::fmt;

/// A process, or an engine, which is one too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Who {
    /// Takes and decides grabs; with embedded engines the only process there is.
    Node(usize),
    Projector(usize),
    Gateway,
    Admin,
    Broker(usize),
    Database,
}

/// What is done to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Blow {
    /// `kill -9`, and it is started again.
    Kill,
    /// SIGTERM, and it is started again.
    Stop,
    /// SIGSTOP, and later SIGCONT.
    Pause,
    /// It can open nothing more: no file, no connection.
    NoDescriptors,
    /// Its wall clock leaps two hours ahead, and later back.
    Ahead,
    /// Its wall clock leaps two hours back, and later ahead.
    Behind,
    /// No file of it grows any more, as on a full disk; then it is killed, and started again with room.
    NoSpace,
}

/// Connections that run through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Link {
    /// Of customers with a node.
    Customers(usize),
    /// Of other nodes with a node, as they ask it.
    Peers(usize),
    /// Of all nodes with each other.
    AllPeers,
    /// Of everybody with all brokers.
    Brokers,
    /// Of one process with all brokers.
    BrokersOf(Who),
    /// Of everybody with the database.
    Database,
}

/// What happens on connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Everything is late.
    Slow,
    /// Nothing passes until it is over.
    Hang,
    /// There are none.
    Shut,
    /// Now and then what was asked is lost, and the connection.
    LoseRequests,
    /// Now and then an answer is lost, and the connection.
    LoseAnswers,
    /// Now and then a connection ends in the middle of what is said.
    CutShort,
}

/// What a stranger writes into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    /// Fences that nobody follows.
    Fences,
    /// Records again that stand there already.
    Repeats,
    /// What nobody can read; an operator has it skipped.
    Garbage,
}

/// One thing that goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Blow(Blow, Who),
    Trouble(Trouble, Link),
    Writing(Writing),
}

impl Fault {
    /// Whether a clock leaps.
    pub(crate) const fn is_of_clock(&self) -> bool {
        matches!(self, Self::Blow(Blow::Ahead | Blow::Behind, _))
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(number) => write!(f, "node {number}"),
            Self::Projector(number) => write!(f, "projector {number}"),
            Self::Gateway => f.write_str("the gateway"),
            Self::Admin => f.write_str("the operator's process"),
            Self::Broker(number) => write!(f, "broker {number}"),
            Self::Database => f.write_str("the database"),
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Customers(node) => write!(f, "customers and node {node}"),
            Self::Peers(node) => write!(f, "other nodes and node {node}"),
            Self::AllPeers => f.write_str("all nodes with each other"),
            Self::Brokers => f.write_str("everybody and Kafka"),
            Self::BrokersOf(who) => write!(f, "{who} and Kafka"),
            Self::Database => f.write_str("everybody and the database"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blow(Blow::Kill, who) => write!(f, "kill -9: {who}"),
            Self::Blow(Blow::Stop, who) => write!(f, "SIGTERM: {who}"),
            Self::Blow(Blow::Pause, who) => write!(f, "SIGSTOP: {who}"),
            Self::Blow(Blow::NoDescriptors, who) => write!(f, "no descriptors: {who}"),
            Self::Blow(Blow::Ahead, who) => write!(f, "clock two hours ahead: {who}"),
            Self::Blow(Blow::Behind, who) => write!(f, "clock two hours behind: {who}"),
            Self::Blow(Blow::NoSpace, who) => write!(f, "disk full: {who}"),
            Self::Trouble(Trouble::Slow, link) => write!(f, "slow: {link}"),
            Self::Trouble(Trouble::Hang, link) => write!(f, "nothing passes: {link}"),
            Self::Trouble(Trouble::Shut, link) => write!(f, "no connections: {link}"),
            Self::Trouble(Trouble::LoseRequests, link) => write!(f, "requests lost: {link}"),
            Self::Trouble(Trouble::LoseAnswers, link) => write!(f, "answers lost: {link}"),
            Self::Trouble(Trouble::CutShort, link) => write!(f, "cut in mid-frame: {link}"),
            Self::Writing(Writing::Fences) => f.write_str("a stranger writes fences"),
            Self::Writing(Writing::Repeats) => f.write_str("a stranger writes old records again"),
            Self::Writing(Writing::Garbage) => f.write_str("a stranger writes garbage"),
        }
    }
}
