//! Times: RFC 3339 on the wire, milliseconds since the Unix epoch inside.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, de};
use utoipa::openapi::schema::SchemaFormat;
use utoipa::openapi::{KnownFormat, ObjectBuilder, OneOfBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// A time as a client gives it: RFC 3339 text, or milliseconds since the Unix epoch as a number.
/// Always after the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// Milliseconds since the Unix epoch, at least 1.
    pub ms: i64,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Given {
    Milliseconds(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        const EXPECTED: &str = "a time must be RFC 3339 text such as 2026-12-24T20:00:00Z, or \
             milliseconds since 1970-01-01T00:00:00Z as a number, and lie between 1970 and 9999";
        let wrong = || de::Error::custom(EXPECTED);
        let ms = match Given::deserialize(deserializer).map_err(|_| wrong())? {
            Given::Milliseconds(ms) => ms,
            Given::Text(text) => text.parse::<Timestamp>().map_err(|_| wrong())?.as_millisecond(),
        };
        let possible = ms > 0 && Timestamp::from_millisecond(ms).is_ok();
        if possible { Ok(Self { ms }) } else { Err(wrong()) }
    }
}

impl PartialSchema for Moment {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
            .examples(["2026-12-24T20:00:00Z"]);
        let number = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .description(Some("Milliseconds since 1970-01-01T00:00:00Z"))
            .minimum(Some(1_i64))
            .maximum(Some(Timestamp::MAX.as_second() * 1_000));
        OneOfBuilder::new()
            .item(text)
            .item(number)
            .description(Some("RFC 3339 text, or milliseconds since 1970; between 1970 and 9999"))
            .into()
    }
}

impl ToSchema for Moment {}

/// The time now, in milliseconds since the Unix epoch. Read once per command, by the shell.
#[must_use]
pub fn now_ms() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "this is the place")]
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// Milliseconds since the epoch as a timestamp; what lies outside of all calendars is brought in.
#[must_use]
pub fn timestamp(ms: i64) -> Timestamp {
    let limit = if ms < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_millisecond(ms).unwrap_or(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Option<i64> {
        serde_json::from_str::<Moment>(json).ok().map(|moment| moment.ms)
    }

    #[test]
    fn text_and_milliseconds_are_taken() {
        assert_eq!(parse("1700000000123"), Some(1_700_000_000_123));
        assert_eq!(parse(r#""2023-11-14T22:13:20.123Z""#), Some(1_700_000_000_123));
        assert_eq!(parse(r#""2023-11-14T23:13:20.123+01:00""#), Some(1_700_000_000_123));
    }

    #[test]
    fn nonsense_is_not() {
        let cases = [
            "0",
            "-5",
            "1e30",
            "9223372036854775807",
            "true",
            r#""tomorrow""#,
            "{}",
            r#""2023-11-14""#,
        ];
        for json in cases {
            assert_eq!(parse(json), None, "{json}");
        }
    }
}
