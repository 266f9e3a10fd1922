//! What the source itself promises: each module knows only those below it.

use std::path::Path;

use gim_config::testing::layers::assert_layers;

/// The layers, the lowest first. Nobody names a module of the same layer, or of one above.
const ORDER: [&[&str]; 3] = [
    &["answer", "manifest", "progress", "remote", "report", "service_files", "shell"],
    &["databases", "nodes", "status"],
    &[
        "backup",
        "config_check",
        "config_show",
        "db",
        "drain",
        "events",
        "groups",
        "import_gim",
        "push",
        "reload",
        "restore",
        "rooms",
        "top",
        "users",
        "words",
    ],
];

/// The same for the files of the import.
const ORDER_IN_THE_IMPORT: [&[&str]; 4] =
    [&["progress", "report"], &["source", "tokens"], &["context", "places"], &["look", "messages", "users"]];

fn source_folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

#[test]
fn modules_name_only_those_below_them() {
    assert_layers(source_folder(), &ORDER);
}

#[test]
fn files_of_the_import_name_only_those_below_them() {
    assert_layers(&source_folder().join("import_gim"), &ORDER_IN_THE_IMPORT);
}
