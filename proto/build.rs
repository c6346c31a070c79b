//! Compiles the .proto files in Rust: no protoc to install.

use std::error::Error;

const FILES: [&str; 5] = [
    "seckill/v1/log.proto",
    "seckill/v1/command.proto",
    "seckill/v1/snapshot.proto",
    "seckill/v1/feed.proto",
    "seckill/v1/grabs.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    tonic_prost_build::configure().build_transport(false).compile_fds(descriptors)?;
    Ok(())
}
