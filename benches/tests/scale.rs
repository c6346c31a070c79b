//! `scale` in small: what it prints is what was done.

use std::process::Command;

#[test]
fn growth_is_measured() {
    let data = tempfile::tempdir().expect("a directory");
    let few = ["--partitions", "1,3", "--promotions", "1,30", "--coupons", "500,2000"];
    let output = Command::new(env!("CARGO_BIN_EXE_seckill-benches"))
        .arg("scale")
        .args(few)
        .args(["--clients", "16", "--rounds", "1", "--seconds", "1", "--data"])
        .arg(data.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for row in ["Growth: partitions", "│ 3 ", "│ 30 ", "│ 2000 "] {
        assert!(said.contains(row), "{row}: {said}");
    }
    let left = std::fs::read_dir(data.path()).expect("a directory").count();
    assert_eq!(left, 0, "it leaves nothing behind");
}
