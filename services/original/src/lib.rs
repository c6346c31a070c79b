//! The HTTP contract of the system before this one, the ServiceComb SecKill demo: its paths, bodies, texts
//! and codes, so that its clients keep working. Where it had no answer, ours is a problem.
//!
//! Deliberately absent: anything that decides or stores. Its requests become the same commands and
//! the same reads as those of the native routes.

mod coupon;
mod coupons;
mod date;
mod promotions;
mod queries;
mod sync;

use seckill_command::Dispatcher;
use seckill_feed::Shop;
use seckill_query::Gateway;
use utoipa_axum::router::OpenApiRouter;

/// What shoppers ask: `POST /command/coupons/`.
pub fn shopper_routes(dispatcher: Dispatcher) -> OpenApiRouter {
    coupons::routes().with_state(dispatcher)
}

/// What operators ask: `POST` and `PUT /admin/promotions/`.
pub fn operator_routes(dispatcher: Dispatcher) -> OpenApiRouter {
    promotions::routes().with_state(dispatcher)
}

/// What readers ask: `GET /query/promotions` and `GET /query/coupons/{customerId}`.
pub fn reader_routes() -> OpenApiRouter<Gateway> {
    queries::routes()
}

/// What a shop of others asks: `GET /sync/{latestId}`.
pub fn shop_routes(shop: Shop) -> OpenApiRouter {
    sync::routes(shop)
}
