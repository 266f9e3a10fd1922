//! Migrations are embedded in the binary: a changed one has to rebuild it.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
