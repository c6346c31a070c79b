"""What the description of the API cannot say to schemathesis: what its formats are made of, and how parameters depend on
each other."""

import json
from datetime import datetime

import jsonschema_rs
import schemathesis
from hypothesis import strategies as st

# At most 128 bytes of UTF-8, no control characters, neither of the two names that paths know.
IDENTIFIERS = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="%"), min_size=1, max_size=32
).filter(lambda text: text not in (".", ".."))
# Every partition has a record at 0.
POSITIONS = st.builds("{}:0".format, st.integers(0, 3))
TIMES = st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(9999, 12, 30)).map(
    lambda time: time.isoformat(timespec="seconds") + "Z"
)
PAST = st.datetimes(min_value=datetime(1971, 1, 1), max_value=datetime(2026, 11, 1)).map(
    lambda time: time.isoformat(timespec="seconds") + "Z"
)

schemathesis.openapi.format("identifier", IDENTIFIERS)
schemathesis.openapi.format("idempotency-key", st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=128))
schemathesis.openapi.format("position", POSITIONS)
schemathesis.openapi.format("bound", PAST)
schemathesis.openapi.format("date-time", TIMES)
schemathesis.openapi.format("coupon", st.builds("{}-{}".format, IDENTIFIERS, st.integers(1, 2**32 - 1)))


@schemathesis.hook
def before_call(context, case, kwargs):
    # Schemathesis takes a percent sign in an id that it was given for an escape, in the path of what follows.
    if isinstance(case.body, dict) and isinstance(case.body.get("id"), str):
        case.body["id"] = case.body["id"].replace("%", "")
    # Only the server can make a cursor, and what is followed has no end.
    if case.meta is None or case.meta.generation.mode.is_positive:
        for name in ("cursor", "follow"):
            (case.query or {}).pop(name, None)


@schemathesis.check
def lines_conform(ctx, response, case):
    """Every line of JSON is what the description says of a line."""
    if not response.headers.get("content-type", [""])[0].startswith("application/x-ndjson"):
        return
    raw = case.operation.schema.raw_schema
    path = raw["paths"][case.operation.path][case.operation.method.lower()]
    schema = path["responses"]["200"]["content"]["application/x-ndjson"]["schema"]
    for line in response.content.splitlines():
        jsonschema_rs.validate({**schema, "components": raw["components"]}, json.loads(line))
