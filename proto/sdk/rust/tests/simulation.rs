//! The core against a model of the server and of a bad network, in virtual time: packets are lost, doubled, late and out of order,
//! connections break, requests are put off, tokens run out, the app falls behind and is restarted. Afterwards nothing is lost, doubled or out
//! of order for the app, and every send was stored once.
//!
//! `GIM_SIMULATION_SEED` runs one seed again.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod simulation {
    pub mod app;
    #[allow(dead_code, reason = "the tests of the client use the rest")]
    pub mod server;
    pub mod world;
}

use std::env;

use simulation::world::World;

const SEEDS: u64 = 300;

#[test]
fn whatever_the_network_does_each_message_comes_once_and_in_order() {
    let one = env::var("GIM_SIMULATION_SEED").ok().map(|seed| seed.parse().expect("is a number"));
    let seeds = one.map_or(0..SEEDS, |seed| seed..seed + 1);
    let mut messages = 0;
    for seed in seeds {
        let mut world = World::new(seed);
        world.run();
        messages += world.check();
    }
    assert!(messages > 100, "too little happened to say something: {messages} messages");
}
