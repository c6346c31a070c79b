//! For those who watch: `GET /v1/promotions/{id}/traffic`, how this process answered grabs;
//! `GET /v1/owners`, who decides.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use jiff::Timestamp;
use seckill_edge::{IdParameter, PathId, Problem, check_no_query, now_ms, problems, timestamp};
use seckill_proto::v1::OwnerHint;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Dispatcher;

pub(crate) fn routes() -> OpenApiRouter<Dispatcher> {
    OpenApiRouter::new().routes(routes!(traffic)).routes(routes!(owners))
}

/// How a process answered a promotion's grabs.
#[derive(Serialize, ToSchema)]
struct PromotionTraffic {
    /// The second that it is, which is still being counted.
    #[schema(value_type = String, format = DateTime)]
    now: Timestamp,
    /// Seconds with grabs, the oldest first.
    seconds: Vec<TrafficSecond>,
}

/// Grabs of a promotion that were answered within a second.
#[derive(Serialize, ToSchema)]
struct TrafficSecond {
    /// Its beginning.
    #[schema(value_type = String, format = DateTime)]
    second: Timestamp,
    /// A coupon was granted.
    granted: u32,
    /// The customer had it already.
    repeated: u32,
    /// Refused, such as sold out.
    refused: u32,
    /// Not decided, or nobody knows.
    failed: u32,
    /// Half of the answers took at most so many milliseconds, to half as much again.
    p50_ms: f64,
    /// 99 of 100.
    p99_ms: f64,
}

problems!(TrafficProblems: ; InvalidParameter, InvalidIdentifier);
problems!(OwnersProblems: ; InvalidParameter, Unavailable);

/// How the grabs of a sale are answered
///
/// Of the last two minutes, every second with grabs that this process answered, those that it passed on to
/// another node included. In memory only: a process that was started anew knows nothing of before.
/// Of a promotion that nobody asked it for, or that does not exist, there is none.
#[utoipa::path(
    get,
    path = "/v1/promotions/{id}/traffic",
    operation_id = "promotionTraffic",
    tag = "Operators",
    params(IdParameter),
    responses((status = 200, description = "The last two minutes", body = PromotionTraffic), TrafficProblems),
)]
async fn traffic(
    State(dispatcher): State<Dispatcher>,
    PathId(id): PathId,
    uri: Uri,
) -> Result<Json<PromotionTraffic>, Problem> {
    check_no_query(&uri)?;
    let (now_ms, seconds) = dispatcher.traffic(&id, now_ms());
    let seconds = seconds.into_iter().map(|(at_ms, second)| TrafficSecond {
        second: timestamp(at_ms),
        granted: second.granted,
        repeated: second.repeated,
        refused: second.refused,
        failed: second.failed,
        p50_ms: second.latency_ms(0.5),
        p99_ms: second.latency_ms(0.99),
    });
    Ok(Json(PromotionTraffic { now: timestamp(now_ms), seconds: seconds.collect() }))
}

/// Who decides the grabs of a partition.
#[derive(Serialize, ToSchema)]
struct OwnerOfPartition {
    /// Partition of the event log.
    partition: u32,
    /// Name of the node; none before the first one.
    node: Option<String>,
    /// The offset of the fence by which it took the partition over; none before the first one.
    term: Option<u64>,
    /// Where clients reach it; none where that is not known.
    url: Option<String>,
}

/// Who owns which partition
///
/// As the table of owners said within the last five seconds; the log decides, and may be ahead of it.
#[utoipa::path(
    get,
    path = "/v1/owners",
    operation_id = "listOwners",
    tag = "Operators",
    responses((status = 200, description = "All partitions", body = Vec<OwnerOfPartition>), OwnersProblems),
)]
async fn owners(
    State(dispatcher): State<Dispatcher>,
    uri: Uri,
) -> Result<Json<Vec<OwnerOfPartition>>, Problem> {
    check_no_query(&uri)?;
    let owners = dispatcher.owners().await?.into_iter().zip(0..);
    let listed = owners.map(|(owner, partition)| {
        let url = owner.as_ref().map(|hint| hint.url.clone()).filter(|url| !url.is_empty());
        let (term, node) = owner.map(|OwnerHint { term, node, .. }| (term, node)).unzip();
        OwnerOfPartition { partition, node, term, url }
    });
    Ok(Json(listed.collect()))
}
