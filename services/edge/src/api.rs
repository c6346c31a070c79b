//! What the description of the API (OpenAPI) says on every route alike: problems, ids, and where in the
//! log something is.

use std::borrow::Cow;
use std::collections::BTreeMap;

use seckill_proto::ProblemKind;
use serde::Serialize;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{ObjectBuilder, OpenApi, Ref, RefOr, Type};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use crate::PROBLEM_JSON;

/// What can be wrong with any request, or with the server.
const ALWAYS: &[ProblemKind] = &[
    ProblemKind::InvalidHost,
    ProblemKind::Internal,
    ProblemKind::Starting,
    ProblemKind::TooManyConnections,
];

/// What can be wrong with a body, or with parameters in its URL: there are none.
pub const BODY: &[ProblemKind] = &[
    ProblemKind::InvalidParameter,
    ProblemKind::MalformedJson,
    ProblemKind::InvalidBody,
    ProblemKind::IncompleteBody,
    ProblemKind::BodyTooSlow,
    ProblemKind::BodyTooLarge,
    ProblemKind::UnsupportedMediaType,
    ProblemKind::UnsupportedContentEncoding,
];

/// What keeps a command from being decided.
pub const COMMAND: &[ProblemKind] =
    &[ProblemKind::Overloaded, ProblemKind::Unavailable, ProblemKind::OutcomeUnknown];

/// What keeps a view from being read.
pub const READ: &[ProblemKind] = &[
    ProblemKind::InvalidParameter,
    ProblemKind::ViewsUnavailable,
    ProblemKind::ViewNotBuilt,
    ProblemKind::TooManyReaders,
];

/// Makes a type that names the problems of a route, for the `responses` of `utoipa::path`: those of some
/// groups, and more kinds.
#[macro_export]
macro_rules! problems {
    ($name:ident: $($group:ident),*; $($kind:ident),*) => {
        struct $name;

        impl utoipa::IntoResponses for $name {
            fn responses() -> std::collections::BTreeMap<
                String,
                utoipa::openapi::RefOr<utoipa::openapi::response::Response>,
            > {
                $crate::problem_responses(&[
                    $($crate::$group,)*
                    &[$(seckill_proto::ProblemKind::$kind,)*],
                ])
            }
        }
    };
}

/// An error, as RFC 9457 has it.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// The kind of problem: `urn:seckill:problem:NAME`, described at `/problems/NAME`.
    #[schema(example = "urn:seckill:problem:sold-out")]
    pub(crate) r#type: String,
    /// The same for every problem of this kind.
    pub(crate) title: &'static str,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What is wrong this time.
    #[schema(value_type = String)]
    pub(crate) detail: Cow<'static, str>,
    /// Where in the log this was decided, as PARTITION:OFFSET; only where it was.
    #[schema(nullable = false, example = "3:1042")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<String>,
    /// The promotion, where the client cannot know its id otherwise.
    #[schema(nullable = false)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) promotion_id: Option<String>,
    /// Of `not-owner`: the node to ask instead, where that is known.
    #[schema(nullable = false, example = "http://10.0.0.7:8082")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) url: Option<String>,
}

/// Adds to a description what routes refer to.
pub fn describe_problems(api: &mut OpenApi) {
    let components = api.components.get_or_insert_default();
    components.schemas.insert(ProblemBody::name().into_owned(), ProblemBody::schema());
}

/// The answers of problems of some kinds, and of those that every route may answer, by status.
#[must_use]
pub fn problem_responses(groups: &[&[ProblemKind]]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<ProblemKind>> = BTreeMap::new();
    for kind in groups.iter().copied().flatten().chain(ALWAYS) {
        let kinds = by_status.entry(kind.status()).or_default();
        if !kinds.contains(kind) {
            kinds.push(*kind);
        }
    }
    let answer = |(status, kinds): (u16, Vec<ProblemKind>)| (status.to_string(), of(&kinds).into());
    by_status.into_iter().map(answer).collect()
}

fn of(kinds: &[ProblemKind]) -> Response {
    let said = kinds.iter().map(|kind| format!("`{}`: {}", kind.name(), kind.title()));
    let said = said.collect::<Vec<_>>().join("; ") + ".";
    let schema = Ref::from_schema_name(ProblemBody::name());
    let mut response = ResponseBuilder::new()
        .description(said)
        .content(PROBLEM_JSON, ContentBuilder::new().schema(Some(schema)).build());
    if kinds.iter().any(|kind| kind.retry_after_s().is_some()) {
        let seconds = ObjectBuilder::new().schema_type(Type::Integer).build();
        let header = HeaderBuilder::new()
            .schema(Some(seconds))
            .description(Some("After how many seconds to try again"));
        response = response.header("Retry-After", header.build());
    }
    response.build()
}

/// The id of a promotion or a customer in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "its description is what is wanted")]
pub struct IdParameter {
    /// 1 to 128 bytes of UTF-8 without control characters, neither `.` nor `..`.
    #[param(format = "identifier", min_length = 1, max_length = 128, example = "spring")]
    id: String,
}

/// Whether another node may be asked.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "its description is what is wanted")]
pub struct Forward {
    /// `never`: only the node that is asked may decide. Where another one would have to, it answers 421 with that one's `url`.
    #[param(rename = "Seckill-Forward", inline, nullable = false)]
    forward: Option<Forwarding>,
}

#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "its description is what is wanted")]
enum Forwarding {
    Never,
}

/// What tells a repeated request from another wish.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "its description is what is wanted")]
pub struct IdempotencyKey {
    /// The same key is the same wish: 1 to 128 bytes of UTF-8 without control characters.
    #[param(
        rename = "Idempotency-Key",
        format = "idempotency-key",
        min_length = 1,
        max_length = 128,
        nullable = false
    )]
    key: Option<String>,
}
