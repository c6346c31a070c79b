//! `seckill load` against a running system: both models, and the audit.

use crate::system::{Engines, System, run, text};

fn load(sale: &System, more: &[&str]) -> std::process::Output {
    let url = sale.url();
    let mut flags = vec!["--target", &url, "--quiet"];
    flags.extend(more);
    run("load", &flags.into_iter().map(str::to_owned).collect::<Vec<_>>())
}

async fn both_models(engines: Engines) {
    let mut sale = System::open(engines).await;
    let closed = load(&sale, &["--clients", "200", "--coupons", "1000", "--customers", "5000"]);
    assert!(closed.status.success(), "{}", text(&closed));
    assert!(text(&closed).contains("audit passed"), "{}", text(&closed));

    let open = load(&sale, &["--rate", "1000", "--duration", "3s", "--promotions", "3"]);
    assert!(open.status.success(), "{}", text(&open));

    let original =
        ["--model", "original", "--clients", "50", "--duration", "5s", "--open-every", "2s"];
    let original = load(&sale, &original);
    assert!(original.status.success(), "{}", text(&original));
    sale.stop();
    sale.assert_verified();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_is_audited_on_the_embedded_engines() {
    both_models(Engines::Embedded).await;
}

#[cfg(feature = "real-engines")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn load_is_audited_on_kafka_and_cassandra() {
    both_models(Engines::real()).await;
}
