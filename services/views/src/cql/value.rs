//! Numbers and times between rows and columns.

use jiff::Timestamp;
use scylla::value::CqlTimestamp;

/// Offsets and the like: the log counts them in 63 bits.
pub(crate) fn bigint(number: u64) -> i64 {
    i64::try_from(number).expect("log offsets and sequence numbers fit in 63 bits")
}

/// The write time of what the event at this offset changed: the offset that follows it.
pub(crate) fn write_time(offset: u64) -> i64 {
    bigint(offset) + 1
}

pub(crate) fn unsigned<T: TryFrom<i64>>(column: &str, number: i64) -> Result<T, String> {
    T::try_from(number).map_err(|_| format!("{column} is {number}, out of its range"))
}

pub(crate) fn timestamp(time: Timestamp) -> CqlTimestamp {
    CqlTimestamp(time.as_millisecond())
}

pub(crate) fn time(column: &str, value: CqlTimestamp) -> Result<Timestamp, String> {
    Timestamp::from_millisecond(value.0).map_err(|error| format!("{column}: {error}"))
}
