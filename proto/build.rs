//! Compiles the .proto files in Rust: no protoc to install.

use std::error::Error;

const FILES: [&str; 3] =
    ["seckill/v1/log.proto", "seckill/v1/command.proto", "seckill/v1/snapshot.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    prost_build::Config::new().compile_fds(descriptors)?;
    Ok(())
}
