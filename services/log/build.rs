//! Compiles what takes the place of a function of the C library; `src/kafka/clockwait.c` says why.

fn main() {
    println!("cargo:rerun-if-changed=src/kafka/clockwait.c");
    let set = |name| std::env::var(name).unwrap_or_default();
    // Other C libraries have no wait by a clock of one's choice, or none of this name.
    if (set("CARGO_CFG_TARGET_OS"), set("CARGO_CFG_TARGET_ENV")) == ("linux".into(), "gnu".into()) {
        cc::Build::new()
            .file("src/kafka/clockwait.c")
            .warnings_into_errors(true)
            .link_lib_modifier("+whole-archive") // nothing of Rust calls it
            .compile("seckill_clockwait");
    }
}
