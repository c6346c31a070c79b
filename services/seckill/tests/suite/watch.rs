//! What those who watch a sale are told.

use crate::system::{Engines, System};

#[tokio::test]
async fn a_process_tells_what_its_clients_were_told_and_who_owns_what() {
    let sale = System::open(Engines::Embedded).await;
    sale.offer("spring", 1).await;
    for (customer, status) in [("ann", 201), ("ann", 200), ("bob", 409), ("cy", 409)] {
        assert_eq!(sale.grab("spring", customer).await.status, status);
    }
    let traffic = sale.get("/v1/promotions/spring/traffic").await;
    let seconds = traffic.json["seconds"].as_array().expect("seconds");
    assert!(seconds[0]["second"].as_str() <= traffic.json["now"].as_str(), "{traffic:?}");
    let sum = |of: &str| seconds.iter().filter_map(|second| second[of].as_u64()).sum::<u64>();
    let counted = ["granted", "repeated", "refused", "failed"].map(sum);
    assert_eq!(counted, [1, 1, 2, 0], "{traffic:?}");
    let fast = |second: &serde_json::Value| second["p99_ms"].as_f64().is_some_and(|ms| ms > 0.0);
    assert!(seconds.iter().all(fast), "{traffic:?}");
    let other = sale.get("/v1/promotions/other/traffic").await;
    assert_eq!(other.json["seconds"], serde_json::json!([]));
    assert_eq!(sale.get("/v1/promotions/spring/traffic?limit=1").await.status, 400);

    let owners = sale.get("/v1/owners").await;
    let nodes = owners.json.as_array().expect("owners");
    assert_eq!(nodes.len(), 4, "{owners:?}");
    for owner in nodes {
        assert_eq!(owner["term"], 0, "{owner}");
        assert_eq!(owner["url"], sale.url());
        assert!(owner["node"].as_str().is_some_and(|node| node.starts_with("up-")), "{owner}");
    }
}
