//! Each role in a process of its own, on Kafka and CQL.

use crate::alone;
use crate::system::role::{READY_TIMEOUT, Role};
use crate::system::{Engines, System, eventually, run, text};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sale_over_four_processes_and_a_projector_more() {
    let _alone = alone().await;
    let system = System::closed(Engines::real());
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

/// Who does not write makes nothing: neither topics nor tables.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_waited_for_or_named_and_never_made() {
    let _alone = alone().await;
    let system = System::closed(Engines::real());
    let readers = ["admin", "projector", "query"].map(|role| Role::start(role, &system));
    for reader in &readers {
        eventually("it says what is missing", READY_TIMEOUT, async || {
            let answer = reqwest::get(format!("{}/readyz", reader.url())).await;
            let Ok(answer) = answer else { return false };
            answer.text().await.is_ok_and(|text| text.contains(".events"))
        })
        .await;
    }
    for _ in 0..2 {
        let verified = system.verify();
        let said = text(&verified);
        assert_eq!(verified.status.code(), Some(2), "{said}");
        assert!(said.contains("has no topic") && said.contains(".events"), "{said}");
    }
    let command = Role::start("command", &system);
    command.ready().await;
    for reader in &readers {
        reader.ready().await;
    }
    for role in readers.into_iter().chain([command]) {
        role.stop();
    }
    system.assert_verified();
}
