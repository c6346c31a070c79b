//! What is measured of the program in processes of its own, in small: what is printed is what was done.

use std::path::Path;
use std::process::Command;

/// Runs a command of the benches; what it prints. It leaves nothing behind.
fn measured(words: &[&str]) -> String {
    let benches = Path::new(env!("CARGO_BIN_EXE_seckill-benches"));
    let program = benches.with_file_name("seckill");
    assert!(program.is_file(), "`cargo build -p seckill` makes {}", program.display());
    let data = tempfile::tempdir().expect("a directory");
    let mut command = Command::new(benches);
    command.args(words).arg("--program").arg(program).arg("--data").arg(data.path());
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(std::fs::read_dir(data.path()).expect("a directory").count(), 0, "nothing is left");
    said
}

fn assert_rows(said: &str, rows: &[&str]) {
    rows.iter().for_each(|row| assert!(said.contains(row), "{row}: {said}"));
}

#[test]
fn crowds_that_come_regardless_are_measured() {
    let said = measured(&["crowd", "--clients", "16", "--rounds", "1", "--seconds", "1"]);
    let turns = ["│ peak ", "│ sold out ", "│ half of the peak ", "│ 70 % of the peak "];
    assert_rows(&said, &turns);
    let ratios =
        ["CPU µs: peak ", "p99 ms: 70 % of the peak ", "rate: three times the peak / peak "];
    assert_rows(&said, &ratios);
}

#[test]
fn queries_are_measured() {
    let few = ["--coupons", "200", "--connections", "4", "--rounds", "1", "--seconds", "1"];
    let said = measured(&[&["queries"], &few[..]].concat());
    assert_rows(&said, &["│ gateway ", "│ /healthz ", "rate: gateway / /healthz "]);
}

#[test]
fn starts_are_measured() {
    let said = measured(&["start", "--coupons", "0,500", "--rounds", "2"]);
    let rows = ["until ready, 0 coupons, told to stop", "until ready, 500 coupons, killed"];
    assert_rows(&said, &rows);
}
