//! `views` in small: what it prints is what was done.

use std::process::Command;

#[test]
fn replay_projection_and_freshness_are_measured() {
    let data = tempfile::tempdir().expect("a directory");
    let output = Command::new(env!("CARGO_BIN_EXE_seckill-benches"))
        .args([
            "views",
            "--coupons",
            "4000",
            "--rounds",
            "2",
            "--seconds",
            "1",
            "--fresh-rate",
            "200",
        ])
        .arg("--data")
        .arg(data.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for row in
        ["raw consumer ", "replay ", "raw inserts ", "projector ", "rate: replay / raw consumer"]
    {
        assert!(said.contains(row), "{row}: {said}");
    }
    assert!(said.contains("its coupon readable, at 200 grabs/s: p50"), "{said}");
    let left = std::fs::read_dir(data.path()).expect("a directory").count();
    assert_eq!(left, 0, "it leaves nothing behind");
}
