//! What the source itself promises: each module knows only those below it.

use std::path::Path;

use gim_config::testing::layers::assert_layers;

/// The layers, the lowest first. Nobody names a module of the same layer, or of one above.
const ORDER: [&[&str]; 10] = [
    &["wire"],
    &["message"],
    &["changes", "content", "notices"],
    &["core"],
    &["storage", "transport", "error"],
    &["locate", "options"],
    &["teller", "files"],
    &["engine"],
    &["client"],
    &["services"],
];

#[test]
fn modules_name_only_those_below_them() {
    assert_layers(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), &ORDER);
}
