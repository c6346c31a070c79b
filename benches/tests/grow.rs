//! `grow` in small: what it prints is what was done.

use std::process::Command;

#[test]
fn growing_is_measured_with_and_without_a_snapshot() {
    let data = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_seckill-benches"))
        .args(["grow", "--coupons", "20000,60000", "--data"])
        .arg(data.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("| 20000 ") && said.contains("| 60000 "), "{said}");
    let left = std::fs::read_dir(data.path()).expect("a directory").count();
    assert_eq!(left, 0, "it leaves nothing behind");
}
