//! Each role in a process of its own, on Kafka and CQL.
#![cfg(feature = "real-engines")]

mod sale;

use sale::role::Role;
use sale::{Engines, Sale, run, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_over_four_processes_and_a_projector_more() {
    let system = Sale::closed(Engines::real());
    let command = Role::start("command", &system);
    let admin = Role::start("admin", &system);
    let projector = Role::start("projector", &system);
    let query = Role::start("query", &system);
    for role in [&command, &admin, &projector, &query] {
        role.ready().await;
    }
    let second = Role::start("projector", &system); // scaled out: they share the partitions
    second.ready().await;

    let (to, ask, open) = (command.url(), query.url(), admin.url());
    let load = ["--target", &to, "--query", &ask, "--admin", &open, "--quiet", "--clients", "50"]
        .into_iter()
        .chain(["--coupons", "500", "--customers", "2000", "--promotions", "4"]);
    let load = run("load", &load.map(str::to_owned).collect::<Vec<_>>());
    assert!(load.status.success(), "{}", text(&load));

    for role in [command, admin, query, projector, second] {
        role.stop();
    }
    system.assert_verified();
}
