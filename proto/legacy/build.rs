//! Compiles the `.proto` files of each dialect, which is a folder beside `src/lib.rs`, into a folder of its own; and says which dialects are
//! there, so that one goes with its folder.

use std::{env, fs, path::PathBuf};

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A folder that comes or goes counts, too.
    println!("cargo::rerun-if-changed=src");
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rustc-check-cfg=cfg(dialect, values(any()))");
    for entry in fs::read_dir("src")? {
        let folder = entry?.path();
        let proto = folder.join("proto");
        if !proto.is_dir() {
            continue;
        }
        let files = fs::read_dir(&proto)?.map(|entry| entry.map(|entry| entry.file_name().into()));
        let files: Vec<PathBuf> = files.collect::<Result<_, _>>()?;
        let descriptors = protox::compile(files, [&proto])?;
        let name = folder.file_name().unwrap_or_default();
        println!("cargo::rustc-cfg=dialect=\"{}\"", name.display());
        let out_dir = out_dir.join(name);
        fs::create_dir_all(&out_dir)?;
        fs::write(out_dir.join("descriptors.bin"), descriptors.encode_to_vec())?;
        tonic_prost_build::configure().bytes(".").out_dir(out_dir).compile_fds(descriptors)?;
    }
    Ok(())
}
