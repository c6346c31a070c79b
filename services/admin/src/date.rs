//! Dates as the system before this one took them.

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::fmt::strtime;
use jiff::tz::TimeZone;
use serde_json::Value;

/// Reads a date: epoch milliseconds as a number or as text, ISO 8601, and ISO with single digits
/// (`2017-9-1T12:00:00Z`). Milliseconds since the Unix epoch; an error for anything else.
pub(crate) fn parse(value: &Value) -> Result<i64, ()> {
    let ms = match value {
        Value::Number(number) => number.as_i64().ok_or(())?,
        Value::String(text) => parse_text(text.trim()).ok_or(())?,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => return Err(()),
    };
    Timestamp::from_millisecond(ms).map(|_| ms).map_err(|_| ())
}

fn parse_text(text: &str) -> Option<i64> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond))
        .or_else(|| zoned(text))
        .or_else(|| in_utc(text))
}

fn zoned(text: &str) -> Option<i64> {
    let broken_down = ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%dT%H:%M:%S%.f%:z"]
        .iter()
        .find_map(|format| strtime::parse(format, text).ok())?;
    broken_down.to_timestamp().ok().map(Timestamp::as_millisecond)
}

fn in_utc(text: &str) -> Option<i64> {
    let text = text.trim_end_matches('Z');
    let time = DateTime::strptime("%Y-%m-%dT%H:%M:%S%.f", text).ok();
    let date = || Date::strptime("%Y-%m-%d", text).ok().map(|date| date.at(0, 0, 0, 0));
    let timestamp = TimeZone::UTC.to_timestamp(time.or_else(date)?).ok()?;
    Some(timestamp.as_millisecond())
}

/// A date as its error texts have it.
pub(crate) fn text(ms: Option<i64>) -> String {
    let timestamp = ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
    timestamp.map_or_else(
        || "null".to_owned(),
        |timestamp| timestamp.strftime("%a %b %d %H:%M:%S UTC %Y").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_form_that_was_taken_is_taken() {
        let noon = 1_504_267_200_000;
        let forms = [
            json!(noon),
            json!("1504267200000"),
            json!("2017-09-01T12:00:00Z"),
            json!("2017-09-01T12:00:00.000Z"),
            json!("2017-09-01T12:00:00.000+0000"),
            json!("2017-09-01T14:00:00+02:00"),
            json!("2017-9-1T12:00:00Z"),
            json!("2017-9-1T12:00:00"),
        ];
        for form in forms {
            assert_eq!(parse(&form), Ok(noon), "{form}");
        }
        assert_eq!(parse(&json!("2017-9-1")), Ok(1_504_224_000_000));
    }

    #[test]
    fn anything_else_is_not() {
        for form in [json!("soon"), json!(true), json!({}), json!(1.5), json!(""), json!(i64::MAX)]
        {
            assert_eq!(parse(&form), Err(()), "{form}");
        }
    }

    #[test]
    fn in_words() {
        assert_eq!(text(Some(1_504_267_200_000)), "Fri Sep 01 12:00:00 UTC 2017");
        assert_eq!(text(None), "null");
    }
}
