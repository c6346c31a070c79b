//! Dates as the original took them.

use jiff::Timestamp;
use jiff::fmt::strtime;
use jiff::tz::Offset;
use serde_json::Value;

/// Forms beside RFC 3339: digits may be missing, and so may the offset, which then is UTC.
const FORMS: [&str; 4] =
    ["%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%dT%H:%M:%S%.f%:z", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d"];
const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

/// Reads a date: epoch milliseconds as a number or as text, ISO 8601, and ISO with single digits
/// (`2017-9-1T12:00:00Z`). Milliseconds since the Unix epoch; an error for anything else.
pub(crate) fn parse(value: &Value) -> Result<i64, ()> {
    let ms = milliseconds(value)?;
    Timestamp::from_millisecond(ms).map(|_| ms).map_err(|_| ())
}

/// Reads an end. One past all calendars is none: for "open end" clients of that system sent the
/// last date of their language.
pub(crate) fn parse_end(value: &Value) -> Result<Option<i64>, ()> {
    if milliseconds(value)? > Timestamp::MAX.as_millisecond() {
        return Ok(None);
    }
    parse(value).map(Some)
}

fn milliseconds(value: &Value) -> Result<i64, ()> {
    match value {
        Value::Number(number) => number.as_i64().ok_or(()),
        Value::String(text) => parse_text(text.trim()).ok_or(()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => Err(()),
    }
}

fn parse_text(text: &str) -> Option<i64> {
    text.parse()
        .ok()
        .or_else(|| text.parse::<Timestamp>().ok().map(Timestamp::as_millisecond))
        .or_else(|| lenient(text.trim_end_matches('Z')))
}

/// A day past the end of its month runs over into the next, as in the load script of that system.
fn lenient(text: &str) -> Option<i64> {
    let mut given = FORMS.iter().find_map(|form| strtime::parse(form, text).ok())?;
    let days = i64::from(given.day()?) - 1;
    given.set_day(Some(1)).ok()?;
    given.set_offset(Some(given.offset().unwrap_or(Offset::UTC)));
    let first = given.to_timestamp().ok()?;
    Some(first.as_millisecond() + days * DAY_MS)
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
    fn a_day_that_its_month_does_not_have_is_one_of_the_next() {
        let october = parse(&json!("2017-10-1T12:00:00Z"));
        assert_eq!(parse(&json!("2017-9-31T12:00:00Z")), october);
        assert_eq!(parse(&json!("2017-09-31T14:00:00+02:00")), october);
        assert_eq!(parse(&json!("2017-2-31")), parse(&json!("2017-3-3")));
    }

    #[test]
    fn an_end_past_all_calendars_is_none() {
        assert_eq!(parse_end(&json!(i64::MAX)), Ok(None));
        assert_eq!(parse_end(&json!(i64::MAX.to_string())), Ok(None));
        assert_eq!(parse_end(&json!("2017-9-1")), Ok(Some(1_504_224_000_000)));
        assert_eq!(parse_end(&json!(i64::MIN)), Err(()));
        assert_eq!(parse_end(&json!("never")), Err(()));
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
