//! What serde says of a body or of parameters, in the words of the API.

/// What is wrong with a body; `path` is where.
pub(crate) fn of(path: &str, error: &serde_json::Error) -> String {
    let text = error.to_string();
    let text = text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text);
    let place = if matches!(path, "" | "." | "?") { "The body" } else { path };
    say(place, text)
}

/// What is wrong with the parameters in a URL; the error names the place itself.
pub(crate) fn of_query(text: &str) -> String {
    let (place, text) = match text.split_once(": ") {
        Some((place, text)) if !place.contains(' ') => (place, text),
        Some(_) | None => ("The query", text),
    };
    match unknown_field(text) {
        Some((name, None)) => format!("{name} is no parameter here; there are none."),
        Some((name, Some(names))) => {
            format!("{name} is no parameter here; the parameters are {names}.")
        }
        None => say(place, text),
    }
}

/// A field that is not known, and those that are, where there are any.
fn unknown_field(text: &str) -> Option<(String, Option<String>)> {
    if let Some((field, fields)) = after(text, "unknown field ", ", expected ") {
        return Some((plain(field), Some(plain(fields.trim_start_matches("one of ")))));
    }
    let field = text.strip_prefix("unknown field ")?.strip_suffix(", there are no fields")?;
    Some((plain(field), None))
}

fn say(place: &str, text: &str) -> String {
    if let Some(rest) = text.strip_prefix("missing field ") {
        return format!("{} is missing.", plain(rest));
    }
    if let Some(rest) = text.strip_prefix("duplicate field ") {
        return format!("{} is there twice.", plain(rest));
    }
    if let Some((field, fields)) = unknown_field(text) {
        let fields =
            fields.map_or("there are none".to_owned(), |of| format!("the fields are {of}"));
        return format!("{field} is no field here; {fields}.");
    }
    if text.starts_with("provided string was not `true` or `false`") {
        return format!("{place} must be true or false.");
    }
    if let Some((value, values)) = after(text, "unknown variant ", ", expected ") {
        let values = plain(values.trim_start_matches("one of "));
        return format!("{place} must be one of {values}, not {}.", plain(value));
    }
    if text.starts_with("invalid digit")
        || text.starts_with("cannot parse integer")
        || text.contains("number too large")
    {
        return format!("{place} must be a whole number, not below 0 and not too large.");
    }
    for prefix in ["invalid type: ", "invalid value: "] {
        if let Some((found, expected)) = after(text, prefix, ", expected ") {
            return format!("{place} must be {}, not {}.", wanted(expected), given(found));
        }
    }
    format!("{place}: {text}.")
}

fn after<'a>(text: &'a str, prefix: &str, between: &str) -> Option<(&'a str, &'a str)> {
    text.strip_prefix(prefix)?.rsplit_once(between)
}

fn plain(text: &str) -> String {
    text.replace('`', "")
}

/// A type as a person would name it.
fn wanted(expected: &str) -> String {
    match expected {
        // All that are taken are counts, of which none may be 0.
        "u32" => format!("a whole number from 1 to {}", u32::MAX),
        "u8" | "u16" | "u64" | "usize" => "a whole number, not below 0".to_owned(),
        "i32" | "i64" => "a whole number".to_owned(),
        "f32" | "f64" => "a number".to_owned(),
        "a string" | "a borrowed string" => "text".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        object if object.starts_with("struct ") => "a JSON object".to_owned(),
        other => plain(other),
    }
}

/// A value as it was sent.
fn given(found: &str) -> String {
    match found {
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        _ => {
            let value = found.strip_prefix("integer ").or(found.strip_prefix("floating point "));
            let value = value.or(found.strip_prefix("boolean "));
            let value = value.map_or_else(|| found.replacen("string ", "", 1), str::to_owned);
            plain(&value)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::of_query;
    use crate::parse_json;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its errors are of interest")]
    struct NewPromotion {
        coupons: u32,
        discount: Option<f64>,
        names: Option<Vec<String>>,
    }

    #[test]
    fn a_person_can_read_it() {
        let cases = [
            ("{}", "coupons is missing."),
            (r#"{"coupons":1.5}"#, "coupons must be a whole number from 1 to 4294967295, not 1.5."),
            (
                r#"{"coupons":"5"}"#,
                "coupons must be a whole number from 1 to 4294967295, not \"5\".",
            ),
            (r#"{"coupons":-5}"#, "coupons must be a whole number from 1 to 4294967295, not -5."),
            (
                r#"{"coupons":null}"#,
                "coupons must be a whole number from 1 to 4294967295, not null.",
            ),
            (r#"{"coupons":5,"discount":{}}"#, "discount must be a number, not an object."),
            (r#"{"coupons":5,"names":["a",2]}"#, "names[1] must be text, not 2."),
            (r#"{"coupons":5,"coupons":6}"#, "coupons is there twice."),
            (
                r#"{"coupon":5}"#,
                "coupon is no field here; the fields are coupons, discount, names.",
            ),
            ("5", "The body must be a JSON object, not 5."),
        ];
        for (json, expected) in cases {
            let problem = parse_json::<NewPromotion>(json.as_bytes()).expect_err(json);
            assert_eq!(problem.detail(), expected, "{json}");
        }
    }

    #[test]
    fn parameters_too() {
        let cases = [
            (
                "state: unknown variant `x`, expected one of `scheduled`, `active`, `finished`",
                "state must be one of scheduled, active, finished, not x.",
            ),
            (
                "limit: invalid digit found in string",
                "limit must be a whole number, not below 0 and not too large.",
            ),
            (
                "unknown field `x`, expected one of `after`, `limit`",
                "x is no parameter here; the parameters are after, limit.",
            ),
            (
                "x: unknown field `x`, there are no fields",
                "x is no parameter here; there are none.",
            ),
            ("follow: provided string was not `true` or `false`", "follow must be true or false."),
        ];
        for (text, expected) in cases {
            assert_eq!(of_query(text), expected);
        }
    }
}
