//! `GET /v1/days/{day}/coupons`: what was granted on a day of UTC.

use axum::extract::State;
use axum::response::Response;
use jiff::civil::Date;
use seckill_edge::{PathId, Problem, problems};
use seckill_proto::ProblemKind;
use seckill_views::{CouponRow, Page};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Gateway;
use crate::page::{Asked, FreshnessParameters, PageParameters};

pub(crate) fn routes() -> OpenApiRouter<Gateway> {
    OpenApiRouter::new().routes(routes!(coupons))
}

problems!(DayProblems: READ; InvalidIdentifier, InvalidPosition, InvalidCursor, NotYetVisible);

/// The coupons of a day of UTC
///
/// In no order that means anything.
#[utoipa::path(
    get,
    path = "/v1/days/{day}/coupons",
    operation_id = "listCouponsOfDay",
    tag = "Readers",
    params(
        ("day" = String, Path, format = Date, description = "A day of UTC", example = "2026-11-26"),
        PageParameters,
        FreshnessParameters,
    ),
    responses((status = 200, description = "A page", body = Page<CouponRow>), DayProblems),
)]
async fn coupons(
    State(gateway): State<Gateway>,
    PathId(day): PathId,
    asked: Asked,
) -> Result<Response, Problem> {
    let wrong = || Problem::new(ProblemKind::InvalidParameter, "A day is written as 2026-11-26.");
    let day: Date = day.parse().map_err(|_| wrong())?;
    let asked = asked.takes(&["limit", "cursor"])?;
    let (cursor, limit) = (asked.cursor.as_deref(), asked.limit);
    gateway.answer(&asked, gateway.views.coupons_of_day(day, cursor, limit)).await
}
