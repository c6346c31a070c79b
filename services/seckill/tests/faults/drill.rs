//! `seckill drill`, as anybody runs it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::system::{binary, eventually, run, text};
use crate::{Started, alone};

#[cfg(feature = "real-engines")]
const ENGINES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/local/engines");

/// Runs a drill to its end, and reads its report and what the first node has said.
fn drill(flags: &[&str]) -> (Value, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let out = out(&folder);
    let flags = [flags, &["--out", out.to_str().expect("a path")]].concat();
    let drilled = run("drill", &owned(&flags));
    let said = text(&drilled);
    assert!(drilled.status.success() && said.contains("drill passed"), "{said}");
    let page = std::fs::read_to_string(out.join("report.html")).expect("a page");
    assert!(page.contains("polyline") && !page.contains("src="), "{page}");
    let report = std::fs::read(out.join("report.json")).expect("a report");
    let said = std::fs::read_to_string(out.join("node-0.log")).expect("a log");
    (serde_json::from_slice(&report).expect("JSON"), said)
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

fn out(folder: &TempDir) -> PathBuf {
    folder.path().join("drill")
}

fn number(report: &Value, pointer: &str) -> u64 {
    report.pointer(pointer).and_then(Value::as_u64).expect("a number")
}

/// Processes that have a folder in their arguments, or write what they say into it.
fn processes_of(folder: &Path) -> Vec<String> {
    let folder = folder.display().to_string();
    let all = std::fs::read_dir("/proc").expect("/proc");
    let described = all.filter_map(|entry| {
        let process = entry.ok()?.path();
        let arguments = std::fs::read(process.join("cmdline")).ok()?;
        let said = std::fs::read_link(process.join("fd/1")).unwrap_or_default();
        let arguments = String::from_utf8_lossy(&arguments).replace('\0', " ");
        Some(format!("{arguments}> {}", said.display()))
    });
    described.filter(|process| process.contains(&folder)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_on_embedded_engines_keeps_every_promise() {
    let _alone = alone().await;
    let flags = ["--seed", "1", "--duration", "20s"];
    let (report, _) = tokio::task::block_in_place(|| drill(&flags));
    assert!(number(&report, "/of_log/coupons") > 500, "{report}");
    assert!(report["faults"].as_array().is_some_and(|faults| faults.len() > 3), "{report}");
}

/// Three command nodes, two projectors, a gateway and an operator's process on three brokers, for a minute.
#[cfg(feature = "real-engines")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_every_promise() {
    let _alone = alone().await;
    let flags = ["--seed", "7", "--duration", "60s", "--brokers", "3", "--engines", ENGINES];
    let (report, _) = tokio::task::block_in_place(|| drill(&flags));
    assert!(number(&report, "/of_log/coupons") > 1_000, "{report}");
    assert!(number(&report, "/requests/refused") > 100, "{report}");
    // Eight partitions have an owner at the beginning, and get others.
    let takeovers = report["first_events_of_owners_at_seconds"].as_array().expect("a list").len();
    assert!(takeovers > 16, "{report}");
    assert!(report["faults"].as_array().is_some_and(|faults| faults.len() > 20), "{report}");
}

/// The Kafka client of a process slept for as long as its clock was set back once, and a broker refused what was dated ahead.
#[cfg(all(feature = "real-engines", feature = "tools"))]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clocks_that_leap_by_hours_disturb_nobody() {
    let _alone = alone().await;
    let flags = ["--seed", "3", "--duration", "30s", "--only", "clock", "--engines", ENGINES];
    let (report, said) = tokio::task::block_in_place(|| drill(&flags));
    assert!(report["faults"].as_array().is_some_and(|faults| faults.len() > 5), "{report}");
    assert!(said.contains("the wall clock has jumped by 7"), "{said}");
    let turned_away = number(&report, "/requests/turned_away");
    assert!(turned_away * 10 < number(&report, "/requests/sent"), "{report}");
}

/// Begins a drill, and waits until it has started a process of some role.
async fn begin(out: &Path, role: &str, flags: &[&str]) -> Started {
    let drill = Command::new(binary())
        .args(["drill", "--duration", "60s", "--out"])
        .arg(out)
        .args(flags)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let drill = Started::new(drill);
    eventually("it has begun", Duration::from_secs(240), async || {
        processes_of(out).iter().any(|process| process.contains(&format!(" {role} ")))
    })
    .await;
    drill
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_leaves_nothing_behind() {
    let _alone = alone().await;
    for how in ["INT", "TERM"] {
        stop(how, "up", &[]).await;
    }
}

/// Begins a drill, tells it to stop, and looks for what it leaves behind.
async fn stop(how: &str, role: &str, flags: &[&str]) {
    let before = clocks();
    let folder = tempfile::tempdir().expect("a folder");
    let ended = begin(&out(&folder), role, flags).await.stop(how);
    let said = text(&ended);
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("nothing was judged: told to stop"), "{said}");
    assert_eq!(processes_of(folder.path()), Vec::<String>::new());
    let left = clocks().difference(&before).filter(|clock| !is_in_use(clock)).count();
    assert_eq!(left, 0, "{:?}", clocks());
}

/// Its name ends with the number of a process.
fn is_in_use(clock: &Path) -> bool {
    let process = clock.to_str().and_then(|name| name.rsplit_once('_'));
    process.is_some_and(|(_, id)| Path::new("/proc").join(id).exists())
}

/// What libfaketime keeps of running processes.
fn clocks() -> BTreeSet<PathBuf> {
    let shared = std::fs::read_dir("/dev/shm").into_iter().flatten().flatten();
    let paths = shared.map(|entry| entry.path());
    paths.filter(|path| path.display().to_string().contains("faketime")).collect()
}

#[cfg(feature = "real-engines")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_ends_its_engines_too() {
    let _alone = alone().await;
    stop("INT", "command", &["--engines", ENGINES]).await;
}

#[test]
fn what_it_cannot_do_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = out(&folder).display().to_string();
    for (flags, word) in [
        (&["--duration", "1s"][..], "from 10s to 24h"),
        (&["--only", "an earthquake"], "SIGTERM: node 0"),
        (&["--nodes", "2"], "--engines"),
        (&["--brokers", "3"], "--engines"),
        (&["--engines", "/nowhere"], "no such script"),
    ] {
        let flags = [flags, &["--out", &out]].concat();
        let refused = run("drill", &owned(&flags));
        let said = text(&refused);
        assert!(!refused.status.success() && said.contains(word), "{flags:?}: {said}");
        assert!(!Path::new(&out).exists(), "{flags:?}");
    }
    // An engine that does not come is told of at once.
    let refused = run("drill", &owned(&["--engines", "/bin/false", "--out", &out]));
    let said = text(&refused);
    assert!(refused.status.code() == Some(2) && said.contains("/bin/false up"), "{said}");
    let taken = folder.path().display().to_string();
    let refused = run("drill", &["--out".to_owned(), taken]);
    assert!(text(&refused).contains("exists"), "{}", text(&refused));
}
