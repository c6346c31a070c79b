//! The whole, as users meet it: the real binary on engines of its own. These tests run beside each
//! other; those that stop engines, fill disks or measure time stand in `tests/faults`.

mod api;
mod batch;
mod clock;
mod documents;
mod feed;
mod house;
mod http;
mod live;
mod load;
mod lost_end;
#[cfg(feature = "tools")]
mod monitoring;
#[cfg(feature = "real-engines")]
mod offsets;
mod original;
#[cfg(feature = "tools")]
mod pages;
mod quarantine;
mod rebuild;
mod recovery;
mod replay;
mod shell;
mod source;
mod streams;
mod system;
mod traces;
mod watch;
