//! Compiles the .proto files in Rust: no protoc to install.

use std::error::Error;

const FILES: [&str; 4] = [
    "seckill/v1/log.proto",
    "seckill/v1/command.proto",
    "seckill/v1/snapshot.proto",
    "seckill/v1/feed.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
