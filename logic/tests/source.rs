//! What the source itself promises: modules name those below them alone, and what is of one layer stays in it.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::path::Path;

use gim_config::testing::layers::{assert_layers, sources, upwards, words};

/// The layers, the lowest first. Nobody names a module of the same layer, or of one above.
///
/// The shared state stands above the store, because it reserves the seqs of rooms there. Errors stand below the use cases: they
/// gather what all of the lower layers may answer.
const ORDER: [&[&str]; 11] = [
    &["domain", "metrics"],
    &["settings"],
    &["store", "clients"],
    &["shared_state", "walk"],
    &["delivery", "events"],
    &["error"],
    &["usecase"],
    &["offline_push"],
    &["dispatch"],
    &["link", "rpc", "http", "legacy"],
    &["service"],
];

/// The same for the files of the store, above what the whole of it may name.
const ORDER_IN_THE_STORE: [&[&str]; 12] = [
    &["domain", "metrics", "settings"],
    &["error", "columns", "id_floor", "plans", "statement"],
    &["script", "dialect", "others"],
    &["opening"],
    &[
        "device",
        "floors",
        "inbox",
        "left_member",
        "logic_nodes",
        "push_claims",
        "push_targets",
        "read_position",
        "retention",
        "revocation",
        "room",
        "seqs",
        "unread",
        "user_reads",
        "walks",
        "word_list",
    ],
    &["conversation", "conversation_heads", "conversation_places", "group", "import", "sign_in", "stored_events"],
    &["work", "transaction_interval", "turns"],
    &["fair_queue", "send_key"],
    &["queue", "held_group", "upgrade"],
    &["held_groups", "acks", "device_saves", "recall", "repeats"],
    &["transaction"],
    &["writer"],
];

/// The same for the files of delivery.
const ORDER_IN_DELIVERY: [&[&str]; 7] = [
    &["domain", "metrics", "settings", "store", "shared_state"],
    &["item_batch", "node_report"],
    &["owed_news"],
    &["node_queue"],
    &["nodes"],
    &["fanout", "rooms"],
    &["catch_up"],
];

/// The same for the use cases.
const ORDER_OF_THE_USE_CASES: [&[&str]; 5] = [
    &["clients", "delivery", "domain", "error", "events", "metrics", "settings", "shared_state", "store"],
    &[
        "additions",
        "connections",
        "devices",
        "directory",
        "device_news",
        "envelope",
        "listed_words",
        "operators",
        "room_counts",
        "room_sends",
        "room_shares",
        "syncs",
        "under_way",
        "words",
    ],
    &["conversations", "group_pages", "histories", "read_marks", "rooms", "sign_ins"],
    &["access", "commands", "groups", "pushes", "reads", "recalls"],
    &["messages"],
];

/// The same for the link.
const ORDER_IN_THE_LINK: [&[&str]; 7] = [
    &["delivery", "dispatch", "domain", "error", "metrics", "settings", "usecase"],
    &["calls", "room_queue", "user_queues"],
    &["context"],
    &["packet"],
    &["items"],
    &["up_stream"],
    &["service"],
];

/// Words, and the modules that they belong to: no other says them.
const WORDS: [(&str, &[&str]); 8] = [
    ("sqlx", &["store"]),
    ("jsonwebtoken", &["clients"]),
    ("axum", &["http"]),
    ("hyper", &["http"]),
    ("Status", &["clients", "dispatch", "error", "legacy", "link", "rpc"]),
    ("Streaming", &["link"]),
    ("up_item", &["link"]),
    ("down_item", &["delivery", "link"]),
];

/// Without them, the domain is what it says: no IO, and no waiting.
const NOT_IN_THE_DOMAIN: [&str; 5] = ["tokio", "tonic", "await", "fs", "net"];

fn source_folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
}

#[test]
fn modules_name_only_those_below_them() {
    assert_layers(source_folder(), &ORDER);
}

#[test]
fn files_of_the_store_name_only_those_below_them() {
    assert_layers(&source_folder().join("store"), &ORDER_IN_THE_STORE);
}

#[test]
fn files_of_the_other_layers_name_only_those_below_them() {
    assert_layers(&source_folder().join("delivery"), &ORDER_IN_DELIVERY);
    assert_layers(&source_folder().join("usecase"), &ORDER_OF_THE_USE_CASES);
    assert_layers(&source_folder().join("link"), &ORDER_IN_THE_LINK);
}

#[test]
fn what_belongs_to_one_layer_stays_in_it() {
    for (place, source) in sources(source_folder()) {
        let found = strays(&place, &source);
        assert!(found.is_empty(), "{} says {found:?}", place.join("::"));
    }
}

fn strays(place: &[String], source: &str) -> Vec<String> {
    let own = place.first().map_or("", String::as_str);
    let words = words(source);
    let strays = WORDS.iter().filter(|(_, owners)| !owners.contains(&own)).map(|(word, _)| *word);
    let domain = NOT_IN_THE_DOMAIN.iter().filter(|_| own == "domain").copied();
    strays.chain(domain).filter(|stray| words.iter().any(|word| word == stray)).map(str::to_owned).collect()
}

/// Edges that were there once, or would come first.
#[test]
fn a_source_that_breaks_the_order_is_found() {
    for (place, source) in [
        ("store", "use crate::usecase::Caller;"),
        ("store::sign_in", "use crate::{domain::caller::Caller, usecase::sign_in::SignIns};"),
        ("clients::business", "use crate::{error::Error, metrics as names};"),
        ("domain::kick", "use crate::settings::{KickPolicy, KickSettings};"),
        ("settings::nodes", "use crate::shared_state::redis;"),
        ("settings::nodes", "fn f() { super::super::shared_state::redis::parse() }"),
        ("delivery::fanout", "fn f(x: &crate::link::service::LinkEndpoint) {}"),
        ("delivery", "use super::usecase::Rooms;"),
        ("usecase::rooms", "use crate::link::up_stream::UpStream;"),
        ("rpc", "use crate::link::service::LinkEndpoint;"),
        ("shared_state::local", "use crate::delivery::nodes::Nodes;"),
        ("store", "use crate::clients::business::Business;"),
        ("helpers", "fn f() {}"),
    ] {
        let place: Vec<String> = place.split("::").map(str::to_owned).collect();
        assert!(!upwards(&place, source, &ORDER).is_empty(), "not found: {source}");
    }
    for (place, source) in [
        ("domain", "use tonic::Status;"),
        ("domain", "async fn f() { g().await }"),
        ("usecase", "use gim_proto::logic::down_item::Item;"),
        ("usecase", "fn f() -> Result<(), tonic::Status> { a }"),
        ("shared_state", "fn f(x: sqlx::Error) {}"),
        ("service", "use axum::Router;"),
    ] {
        assert!(!strays(&[place.to_owned()], source).is_empty(), "not found: {source}");
    }
}
