//! `seckill drill`, as anybody runs it.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::alone;
use crate::system::{binary, eventually, run, signal, text};

/// Runs a drill to its end, and reads its report.
fn drill(flags: &[&str]) -> Value {
    let folder = tempfile::tempdir().expect("a folder");
    let out = out(&folder);
    let flags = [flags, &["--out", out.to_str().expect("a path")]].concat();
    let drilled = run("drill", &owned(&flags));
    let said = text(&drilled);
    assert!(drilled.status.success() && said.contains("drill passed"), "{said}");
    let page = std::fs::read_to_string(out.join("report.html")).expect("a page");
    assert!(page.contains("polyline") && !page.contains("src="), "{page}");
    let report = std::fs::read(out.join("report.json")).expect("a report");
    serde_json::from_slice(&report).expect("JSON")
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

/// Processes that have a word in their arguments.
fn processes_with(word: &str) -> Vec<String> {
    let all = std::fs::read_dir("/proc").expect("/proc");
    let arguments = all.filter_map(|entry| {
        let arguments = std::fs::read(entry.ok()?.path().join("cmdline")).ok()?;
        Some(String::from_utf8_lossy(&arguments).replace('\0', " "))
    });
    arguments.filter(|arguments| arguments.contains(word)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_on_embedded_engines_keeps_every_promise() {
    let _alone = alone().await;
    let report = tokio::task::block_in_place(|| drill(&["--seed", "1", "--duration", "20s"]));
    assert!(number(&report, "/of_log/coupons") > 500, "{report}");
    assert!(report["faults"].as_array().is_some_and(|faults| faults.len() > 3), "{report}");
}

/// Three command nodes, two projectors, a gateway and an operator's process on three brokers, for a minute.
#[cfg(feature = "real-engines")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_every_promise() {
    let _alone = alone().await;
    let engines = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/local/engines");
    let engines = engines.to_str().expect("a path");
    let flags = ["--seed", "7", "--duration", "60s", "--brokers", "3", "--engines", engines];
    let report = tokio::task::block_in_place(|| drill(&flags));
    assert!(number(&report, "/of_log/coupons") > 1_000, "{report}");
    // Eight partitions have an owner at the beginning, and get others.
    let takeovers = report["takeovers_at_seconds"].as_array().expect("a list").len();
    assert!(takeovers > 16, "{report}");
    assert!(report["faults"].as_array().is_some_and(|faults| faults.len() > 20), "{report}");
}

/// Begins a drill, and waits until its faults come.
async fn begin(out: &Path) -> Child {
    let drill = Command::new(binary())
        .args(["drill", "--duration", "60s", "--out"])
        .arg(out)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let data = out.display().to_string();
    eventually("it has begun", Duration::from_secs(30), async || {
        processes_with(&data).iter().any(|arguments| arguments.contains(" up "))
    })
    .await;
    drill
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_to_stop_it_leaves_nothing_behind() {
    let _alone = alone().await;
    for how in ["INT", "TERM"] {
        let folder = tempfile::tempdir().expect("a folder");
        let drill = begin(&out(&folder)).await;
        signal(how, drill.id());
        let ended = drill.wait_with_output().expect("it ends");
        let said = text(&ended);
        assert!(!ended.status.success() && said.contains("told to stop"), "{said}");
        let left = processes_with(&folder.path().display().to_string());
        assert_eq!(left, Vec::<String>::new());
    }
}

#[test]
fn what_it_cannot_do_is_refused_before_anything_is_made() {
    let folder = tempfile::tempdir().expect("a folder");
    let out = out(&folder).display().to_string();
    for (flags, word) in [
        (&["--duration", "1s"][..], "from 10s to 24h"),
        (&["--only", "an earthquake"], "no fault is described so"),
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
    let taken = folder.path().display().to_string();
    let refused = run("drill", &["--out".to_owned(), taken]);
    assert!(text(&refused).contains("exists"), "{}", text(&refused));
}
