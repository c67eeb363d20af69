//! Generates the wire types and their canonical JSON from the .proto files; no `protoc` is needed.

use std::path::PathBuf;

use prost::Message;

const FILES: [&str; 6] = [
    "secretscan/v1/requests.proto",
    "secretscan/v1/pushes.proto",
    "secretscan/v1/events.proto",
    "secretscan/v1/ledger.proto",
    "secretscan/v1/schedules.proto",
    "secretscan/v1/audit.proto",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    for file in FILES {
        println!("cargo::rerun-if-changed={file}");
    }
    let descriptors = protox::compile(FILES, ["."])?;
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    prost_build::Config::new().enable_type_names().compile_fds(descriptors.clone())?;
    pbjson_build::Builder::new()
        .register_descriptors(&descriptors.encode_to_vec())?
        .out_dir(out)
        // Those of a later version, which runs beside this one during an upgrade. What people write is read strictly.
        .ignore_unknown_fields()
        .build(&[".secretscan.v1"])?;
    Ok(())
}
