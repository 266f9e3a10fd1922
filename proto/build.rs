//! Compiles `proto/*.proto` with protox, so that no protoc has to be installed.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=proto");
    let files = [
        "connect.proto",
        "content.proto",
        "logic.proto",
        "conversation.proto",
        "event.proto",
        "link.proto",
        "operator.proto",
        "business.proto",
    ];
    let descriptors = protox::compile(files, ["proto"])?;
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let mut of_clients = descriptors.clone();
    for file in &mut of_clients.file {
        file.service.retain(|service| service.name().ends_with("ExtService"));
    }
    fs::write(out_dir.join("client_descriptors.bin"), of_clients.encode_to_vec())?;
    // Contents are kept as `Bytes`: a message that passes through is a slice of the buffer it came in.
    tonic_prost_build::configure().bytes(".").compile_fds(descriptors)?;
    Ok(())
}
