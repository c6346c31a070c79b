//! A page for every kind of problem, made from the table that servers answer from.

use std::fmt::Write;

use seckill_proto::{Outcome, ProblemKind};

/// The page of one kind.
pub(crate) fn page(kind: ProblemKind) -> String {
    let mut rows = String::new();
    let mut row = |what: &str, text: &str| {
        let _ = write!(rows, "<dt>{what}</dt><dd>{text}</dd>"); // a String takes everything
    };
    row("Type", &format!("<code>{}</code>", kind.urn()));
    row("Status", &kind.status().to_string());
    row("What it says of the request", outcome(kind.outcome()));
    row("What to do", remedy(kind));
    if let Some(seconds) = kind.retry_after_s() {
        row(
            "Try again",
            &format!("after {seconds} s, as the header <code>Retry-After</code> says"),
        );
    }
    frame(kind.title(), &format!("<h2>{}</h2><dl>{rows}</dl>", kind.title()))
}

/// All kinds.
pub(crate) fn index() -> String {
    let mut rows = String::new();
    for kind in ProblemKind::ALL {
        let (name, status, title) = (kind.name(), kind.status(), kind.title());
        let link = format!("<a href=\"/problems/{name}\">{name}</a>");
        let _ = write!(rows, "<tr><td>{status}</td><td>{link}</td><td>{title}</td></tr>");
    }
    let head =
        "<th scope=\"col\">Status</th><th scope=\"col\">Name</th><th scope=\"col\">Title</th>";
    let table = format!(
        "<h2>What can go wrong</h2>\
         <p>Errors are <code>application/problem+json</code> (RFC 9457). Their <code>type</code> is \
         <code>urn:seckill:problem:NAME</code>, which never changes; this page is about the names.</p>\
         <div class=\"wide\"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    );
    frame("What can go wrong", &table)
}

fn frame(title: &str, content: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>SecKill: {title}</title>\n\
         <link rel=\"icon\" href=\"/favicon.ico\" type=\"image/svg+xml\">\n\
         <link rel=\"stylesheet\" href=\"/assets/style.css\">\n</head>\n<body>\n<header>\n\
         <h1>SecKill: problems</h1>\n\
         <nav><a href=\"/problems\">All problems</a> <a href=\"/docs/api\">The API</a></nav>\n\
         </header>\n<main>{content}</main>\n</body>\n</html>\n"
    )
}

fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Invalid => "The request is wrong, and would be at any time. Nothing was decided.",
        Outcome::Refused => {
            "Refused, by state that is durable. The same request may fare better later, \
                             when that state is another one."
        }
        Outcome::NotAccepted => "Nothing was decided. The same request may be accepted later.",
        Outcome::Unknown => "It may have been accepted or not. The same request again tells.",
    }
}

/// What whoever meets it can do.
fn remedy(kind: ProblemKind) -> &'static str {
    let of_kind = REMEDIES.iter().find(|(of, _)| *of == kind);
    of_kind.map_or("", |(_, remedy)| remedy)
}

const REMEDIES: [(ProblemKind, &str); 38] = [
    (ProblemKind::MalformedJson, "Send JSON, as UTF-8. The detail says where it stops being JSON."),
    (
        ProblemKind::InvalidBody,
        "Send the fields that the route takes; the detail names the one that is wrong.",
    ),
    (
        ProblemKind::InvalidTerms,
        "Change the offer: the detail says which terms do not go together.",
    ),
    (
        ProblemKind::InvalidIdentifier,
        "Use 1 to 128 bytes of UTF-8 without control characters, and neither . nor .. alone.",
    ),
    (
        ProblemKind::InvalidParameter,
        "Correct the parameter that the detail names, or leave it out.",
    ),
    (
        ProblemKind::InvalidPosition,
        "Send a position as an answer gave it: PARTITION:OFFSET, such as 3:1042.",
    ),
    (
        ProblemKind::InvalidCursor,
        "Send the next of the page before as it is, to the same list; or begin again without.",
    ),
    (ProblemKind::InvalidHost, "Send exactly one Host header."),
    (ProblemKind::IncompleteBody, "Send as many bytes as Content-Length says."),
    (ProblemKind::MalformedCommand, "Let all nodes run versions that know each other."),
    (
        ProblemKind::NotFound,
        "Check the id. What was created a moment ago is there for whoever sends its position as after.",
    ),
    (
        ProblemKind::NoSuchRecord,
        "Check the position: partitions begin at 0, and the log may be shorter.",
    ),
    (
        ProblemKind::NoSuchRoute,
        "Check the path; /docs/api lists all of them. A role serves its own routes only.",
    ),
    (ProblemKind::MethodNotAllowed, "Use one of the methods in the header Allow."),
    (ProblemKind::BodyTooSlow, "Send the body within 30 s."),
    (ProblemKind::AlreadyExists, "Choose another id, or look at the promotion that has it."),
    (
        ProblemKind::AlreadyStarted,
        "After the start only finishes_at may change; restock changes the total.",
    ),
    (ProblemKind::NotStarted, "Wait for starts_at of the promotion."),
    (ProblemKind::Finished, "It is over for good: open another promotion."),
    (ProblemKind::Paused, "Wait until an operator resumes it."),
    (ProblemKind::SoldOut, "Nothing is left. An operator may restock it."),
    (
        ProblemKind::LimitReached,
        "The customer holds as many as one may: GET /v1/customers/ID/coupons shows them.",
    ),
    (
        ProblemKind::WrongPhase,
        "Look at GET /v1/rebuild: the step is possible in another phase only.",
    ),
    (
        ProblemKind::NotSkippable,
        "The detail says why the record stays: it can be read, was read, or another one comes first.",
    ),
    (ProblemKind::BodyTooLarge, "Send at most 64 KB."),
    (ProblemKind::UnsupportedMediaType, "Send Content-Type: application/json."),
    (ProblemKind::UnsupportedContentEncoding, "Send the body without a Content-Encoding."),
    (
        ProblemKind::NotOwner,
        "Send it to the url that the answer names, or to any node without Seckill-Forward.",
    ),
    (ProblemKind::Overloaded, "Try again after the time given. More at once makes it later."),
    (
        ProblemKind::Internal,
        "Report it: this is a defect. Ask again to see what came of the request.",
    ),
    (
        ProblemKind::Unavailable,
        "Try again after the time given: the partition is moving to another node, or its log does not answer. /readyz says which.",
    ),
    (ProblemKind::Starting, "Try again after the time given; /readyz says what it is doing."),
    (ProblemKind::TooManyConnections, "Use fewer connections, or raise --connections."),
    (
        ProblemKind::NotYetVisible,
        "Ask again: what was answered stands, and the views come to it. GET /v1/progress says how far they are.",
    ),
    (
        ProblemKind::ViewsUnavailable,
        "Try again after the time given. Grabs are decided all the same.",
    ),
    (
        ProblemKind::ViewNotBuilt,
        "Wait for the view to be built from the log; GET /v1/progress says how far it is.",
    ),
    (
        ProblemKind::TooManyReaders,
        "Try again after the time given, or ask less often: /v1/live tells of changes by itself.",
    ),
    (
        ProblemKind::OutcomeUnknown,
        "Send the same request again. That is safe where it names an id or an Idempotency-Key, and for grabs \
             where the limit per customer is 1.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_need_no_escapes() {
        for kind in ProblemKind::ALL {
            assert!(!remedy(*kind).is_empty(), "{}", kind.name());
            for text in [kind.name(), kind.title(), remedy(*kind), outcome(kind.outcome())] {
                assert!(!text.contains(['<', '>', '&', '"']), "{text}");
            }
            assert!(index().contains(kind.name()) && page(*kind).contains(remedy(*kind)));
        }
    }
}
