//! The pages, as people use them: in a real browser.

mod browser;

use std::time::Duration;

use serde_json::json;

use browser::{Browser, Screen};

use crate::system::{Engines, System, eventually, signal};

const SOON: Duration = Duration::from_secs(20);

async fn page(sale: &System, path: &str, screen: Screen) -> Browser {
    let browser = Browser::open(screen).await;
    browser.goto(&format!("{}{path}", sale.url())).await;
    browser
}

/// From the first form to the end, one browser for the operator and a phone for the shopper.
#[tokio::test]
async fn a_sale_from_its_creation_to_its_end_in_two_browsers() {
    let sale = System::open(Engines::Embedded).await;
    let operator = page(&sale, "/operator", Screen::Desk).await;
    let shopper = page(&sale, "/", Screen::Phone).await;
    assert_eq!(
        shopper.script("return matchMedia('(prefers-color-scheme: dark)').matches").await,
        true
    );
    shopper.sees("#none", "Nothing is on sale").await;
    opens_a_sale(&operator).await;
    grabs(&operator, &shopper).await;
    sells_out(&operator, &shopper).await;
    ends(&operator, &shopper).await;
    operator.close().await;
    shopper.close().await;
}

/// What is wrong is said beside its field, and nothing that was typed is lost.
async fn opens_a_sale(operator: &Browser) {
    operator.write("#offer-id", "spring").await;
    operator.write("#offer-name", "Spring sale").await;
    operator.write("#offer-coupons", "many").await;
    operator.write("#offer-discount", "70").await;
    operator.press("#offer button").await;
    operator.sees("#offer-coupons-said", "A whole number from 1 to 4294967295").await;
    operator.is_accessible("the console, with an error").await;
    operator.screenshot("operator-error").await;
    assert_eq!(operator.value("#offer-name").await, "Spring sale");
    assert_eq!(operator.script("return document.activeElement.id").await, "offer-coupons");
    operator.write("#offer-coupons", "1.000").await;
    operator.press("#offer button").await;
    operator.sees("#offer-coupons-said", "in digits alone").await;
    operator.write("#offer-coupons", "5").await;
    // Two fields are named; the one that is wrong comes first.
    let ends = "document.getElementById('offer-finishes_at').value";
    operator.script(&format!("{ends} = '2001-01-01T00:00:00'")).await;
    operator.press("#offer button").await;
    operator.sees("#offer-finishes_at-said", "Ends must").await;
    operator.script(&format!("{ends} = ''")).await;
    operator.press("#offer button").await;
    operator.sees("#offer [role=status]", "“Spring sale”: It is open").await;
    // Pressing once more opens no second one like it.
    operator.press("#offer button").await;
    operator.sees("#offer-name-said", "Give it a name").await;
    operator.sees("#promotions", "5 of 5").await;
    // Only the server can tell that there is one.
    operator.write("#offer-id", "spring").await;
    operator.write("#offer-name", "Spring sale").await;
    operator.write("#offer-coupons", "6").await;
    operator.press("#offer button").await;
    operator.sees("#offer-id-said", "A sale has this id already.").await;
    operator.write("#offer-id", "").await;
}

async fn grabs(operator: &Browser, shopper: &Browser) {
    shopper.sees("#promotions", "Spring sale").await;
    shopper.sees("#promotions", "70 % off").await;
    shopper.write("#customer", "alice").await;
    shopper.press("[aria-label='Grab one of Spring sale']").await;
    shopper.sees("#promotions .good", "Yours for ever: coupon spring-1.").await;
    shopper.sees("#coupons tbody", "spring-1").await;
    let provenance = shopper.script("return document.querySelector('#coupons tbody a').href").await;
    assert!(
        provenance.as_str().is_some_and(|link| link.contains("/v1/events?from=")),
        "{provenance}"
    );
    operator.sees("#promotions", "4 of 5").await;
    operator.press("[aria-label='holders spring']").await;
    operator.sees("#holders", "alice").await;
    shopper.press("[aria-label='Grab one of Spring sale']").await;
    shopper.sees("#promotions .good", "You had it already").await;
    shopper.is_accessible("the shop").await;
    shopper.fits("the shop on a phone").await;
    shopper.screenshot("shop").await;
}

async fn sells_out(operator: &Browser, shopper: &Browser) {
    operator.write("[aria-label='Customers who want a coupon of spring']", "0").await;
    operator.press("[aria-label='crowd spring']").await;
    operator.sees("[data-action=crowd] .bad", "A whole number of customers").await;
    operator.write("[aria-label='Customers who want a coupon of spring']", "20").await;
    operator.press("[aria-label='crowd spring']").await;
    operator.sees("#promotions", "20 customers in").await;
    operator.sees("#promotions", "4 granted, 16 refused, 0 failed").await;
    operator.sees("#promotions", "sold out").await;
    shopper.sees("#promotions", "Sold out; it may be restocked").await;
    assert_eq!(
        shopper.script("return document.querySelector('.card button').disabled").await,
        true
    );
    // Fewer than were given is refused beside the field; more is on sale again.
    operator.write("[aria-label='New total of coupons of spring']", "many").await;
    operator.press("[aria-label='restock spring']").await;
    operator.sees("[data-action=restock] .bad", "A whole number from 1").await;
    operator.write("[aria-label='New total of coupons of spring']", "1").await;
    operator.press("[aria-label='restock spring']").await;
    operator.sees("[data-action=restock] .bad", "coupons").await;
    operator.write("[aria-label='New total of coupons of spring']", "6").await;
    operator.press("[aria-label='restock spring']").await;
    operator.sees("#promotions", "1 of 6").await;
    shopper.sees("#promotions", "On sale").await;
}

async fn ends(operator: &Browser, shopper: &Browser) {
    operator.press("[aria-label='pause spring']").await;
    shopper.sees("#promotions", "Paused by the operator").await;
    operator.press("[aria-label='resume spring']").await;
    shopper.sees("#promotions", "On sale").await;
    operator.press("[aria-label='change spring']").await;
    operator
        .script("document.querySelector('form[aria-label] input').value = '2001-01-01T00:00:00'")
        .await;
    operator.press("[aria-label='Change spring'] button").await;
    operator
        .waits("[aria-label='Change spring'] [role=alert]", "why not", |text| !text.is_empty())
        .await;
    operator
        .script("document.querySelector('form[aria-label] input').value = '2999-01-01T00:00:00'")
        .await;
    operator.press("[aria-label='Change spring'] button").await;
    operator.sees("[aria-label='Change spring'] [role=status]", "Done.").await;
    shopper.sees("#promotions", "On sale, ends").await;
    // Asked for twice, as there is no way back.
    operator.press("[aria-label='finish spring']").await;
    operator.sees("dialog", "It is over for good").await;
    operator.is_accessible("the question").await;
    operator.press("dialog button[value='']").await;
    operator.sees_nothing("dialog").await;
    assert_eq!(
        shopper.script("return document.querySelector('.card button').disabled").await,
        false
    );
    operator.press("[aria-label='finish spring']").await;
    operator.press("dialog button[value=yes]").await;
    operator.sees("#none", "No sale is going on").await;
    shopper.sees("#promotions", "Over").await;
    operator.press("#finished summary").await;
    operator.sees("#finished tbody", "5 of 6").await;
}

/// Refused and granted grabs are drawn as they come, and what happened stands in the log below.
#[tokio::test]
async fn a_chart_moves_and_the_log_is_browsed() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("spring", 2_000).await;
    let operator = page(&sale, "/operator", Screen::Desk).await;
    operator.sees("#watched", "spring").await;
    let drawn =
        "return [...document.querySelectorAll('canvas')].map((canvas) => canvas.toDataURL())";
    let before = operator.script(drawn).await;
    operator.write("[aria-label='Customers who want a coupon of spring']", "3000").await;
    operator.press("[aria-label='crowd spring']").await;
    operator
        .waits("#now", "grabs", |text| text.contains(" granted, ") && !text.starts_with('0'))
        .await;
    operator
        .waits("#now", "refusals", |text| {
            text.contains("0 granted, ") && !text.contains(" 0 refused")
        })
        .await;
    operator.sees("#promotions", "2000 granted, 1000 refused, 0 failed").await;
    operator.screenshot("operator").await;
    let after = operator.script(drawn).await;
    let charts = after.as_array().expect("charts").len();
    assert_eq!(charts, 3);
    (0..charts).for_each(|chart| assert_ne!(before[chart], after[chart], "chart {chart} moves"));

    operator.write("#log-from", "99:0").await;
    operator.press("#log button").await;
    operator.sees("#log-from-said", "no such partition").await;
    operator.write("#log-from", "").await;
    operator.write("#log-promotion", "spring").await;
    operator.press("#log button").await;
    operator.sees("#records", "promotion-scheduled").await;
    operator.sees("#records", "fence").await;
    operator.sees("#records", "serial: 1, customer_id: crowd-").await;
    operator.press("#log-next").await;
    operator.sees("#records", "serial: 60,").await;
    operator.sees("#partitions", "up-").await;
    operator.is_accessible("the console").await;
    operator.long_screenshot("log").await;
    operator.close().await;
}

/// A sale is run from a phone: nothing that it takes lies beside the screen.
#[tokio::test]
async fn an_operator_has_only_a_phone() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("spring", 5).await;
    let operator = page(&sale, "/operator", Screen::Phone).await;
    operator.sees("#promotions", "5 of 5").await;
    operator.fits("the console on a phone").await;
    let beside = "return [...document.querySelectorAll('#promotions button')].filter((button) => \
        button.getBoundingClientRect().right > innerWidth).map((button) => button.textContent)";
    assert_eq!(operator.script(beside).await, json!([]));
    operator.press("[aria-label='pause spring']").await;
    operator.sees("#promotions", "paused").await;
    operator.is_accessible("the console on a phone").await;
    operator.screenshot("operator-phone").await;
    operator.close().await;
}

/// A server that is gone is told of, on both pages, which go on by themselves once it is back.
#[tokio::test]
async fn an_outage_is_shown_as_one_and_ends() {
    let mut sale = System::open(Engines::Embedded).await;
    sale.offer("spring", 5).await;
    let operator = page(&sale, "/operator", Screen::Desk).await;
    let shopper = page(&sale, "/", Screen::Phone).await;
    shopper.sees("#promotions", "5 of 5 left").await;
    operator.write("#offer-name", "Summer sale").await;
    sale.kill();
    for browser in [&operator, &shopper] {
        browser.sees("#outage", "The server does not answer.").await;
    }
    shopper.press("[aria-label='Grab one of spring']").await;
    shopper.sees("#promotions .bad", "Nothing is known; try again.").await;
    shopper.is_accessible("the shop in an outage").await;
    shopper.screenshot("outage").await;
    sale.start().await;
    for browser in [&operator, &shopper] {
        browser.sees_nothing("#outage").await;
    }
    shopper.sees("#promotions .bad", "The server answers again.").await;
    assert_eq!(operator.value("#offer-name").await, "Summer sale");
    assert_eq!(sale.grab("spring", "somebody").await.status, 201);
    shopper.sees("#promotions", "4 of 5 left").await;
    operator.sees("#promotions", "4 of 5").await;
    operator.close().await;
    shopper.close().await;
}

/// A server that stands still refuses nobody: that is told of too, and nothing looks done meanwhile.
#[tokio::test]
async fn a_server_that_stands_still_is_told_of() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("spring", 5).await;
    let operator = page(&sale, "/operator", Screen::Desk).await;
    operator.sees("#promotions", "5 of 5").await;
    operator.write("#offer-name", "Summer sale").await;
    signal("STOP", sale.pid());
    operator.press("#offer button").await;
    operator.sees("#offer [role=status]", "Asking").await;
    operator.sees("#outage", "The server does not answer.").await;
    signal("CONT", sale.pid());
    operator.sees("#offer [role=status]", "“Summer sale”: It is open").await;
    operator.sees_nothing("#outage").await;
    operator.close().await;
}

/// New tables are built, read, and put back by buttons.
#[tokio::test]
async fn a_rebuild_is_switched_and_undone() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("spring", 5).await;
    assert_eq!(sale.grab("spring", "alice").await.status, 201);
    let manual = json!({"switch": "manual"});
    assert_eq!(sale.post("/v1/rebuild", manual).await.status, 202);
    let operator = page(&sale, "/operator", Screen::Desk).await;
    operator.sees("#rebuild", "is built").await;
    operator.sees("#rebuild", "0 differences").await;
    operator.press("[aria-label='switch the rebuild']").await;
    operator.sees("#rebuild", "is switched").await;
    operator.long_screenshot("rebuild").await;
    operator.press("[aria-label='undo the rebuild']").await;
    operator.sees("#rebuild", "is undone").await;
    operator.press("[aria-label='drop the rebuild']").await;
    operator.sees("dialog", "no way back to them").await;
    operator.press("dialog button[value=yes]").await;
    operator.sees("#rebuild", "There is no rebuild.").await;
    operator.press("[aria-label='start the rebuild']").await;
    operator.sees("#rebuild", "is switched").await;
    assert_eq!(sale.get("/v1/coupons/spring-1").await.status, 200);
    operator.close().await;
}

/// The API can be read and tried; a problem is explained where its name leads.
#[tokio::test]
async fn the_api_is_read_and_tried() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("spring", 5).await;
    let reader = page(&sale, "/docs/api#grabCoupon", Screen::Phone).await;
    reader.sees("#grabCoupon", "Who wants it").await;
    reader.press("#grabCoupon form button").await;
    reader.sees("#grabCoupon pre", "\"coupon_id\": \"spring-1\"").await;
    reader.is_accessible("the API").await;
    reader.fits("the API on a phone").await;
    let granted = async || sale.get("/v1/customers/alice/coupons").await.text.contains("spring-1");
    eventually("the example's customer holds the coupon", SOON, granted).await;
    reader.goto(&format!("{}/problems/sold-out", sale.url())).await;
    reader.sees("main", "An operator may restock it.").await;
    reader.is_accessible("a problem").await;
    reader.close().await;
}
