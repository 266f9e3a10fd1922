//! A new migration file has to be embedded anew, and cargo does not see that by itself.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
