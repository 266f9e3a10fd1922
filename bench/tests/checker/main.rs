//! What was acknowledged is there, once and in order, whatever dies on the way.
//!
//! Fifty users with three devices each write to each other and to groups and retry until they are answered, devices lose their connections
//! at random, and logic is killed at random moments, again and again. At the end every message is in the inbox of its
//! sender and of each receiver exactly once, all devices of a user saw the same, and no seq is missing.
//!
//! `GIM_CHECKER_SECONDS` makes a longer run, `GIM_CHECKER_SEED` another one.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests fail loudly, and what they say is shown then

mod device;
mod world;

use std::{
    collections::{BTreeMap, HashMap},
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use device::{Device, Group, Seen};
use world::{Backend, World};

const USERS: u64 = 50;
const DEVICES_PER_USER: u64 = 3;
const GROUPS: u64 = 5;
const SECONDS: u64 = 10;
const SEED: u64 = 20_261_121;

#[test]
fn on_sqlite_everything_acknowledged_is_there_once_and_in_order_after_kills() {
    check(Backend::Embedded);
}

#[test]
fn on_mariadb_and_redis_with_two_logic_nodes_everything_acknowledged_is_there_once_and_in_order_after_kills() {
    check(Backend::Servers);
}

fn check(backend: Backend) {
    let setting = |name: &str, default| env::var(name).map_or(default, |value| value.parse().expect("is a number"));
    let (seconds, seed) = (setting("GIM_CHECKER_SECONDS", SECONDS), setting("GIM_CHECKER_SEED", SEED));
    // Shown where the test fails, to run the same again.
    println!("seed {seed}, {seconds} s");
    let world = World::start(backend);
    let stop = Arc::new(AtomicBool::new(false));
    let groups: Vec<Arc<Group>> = (0..GROUPS)
        .map(|number| (1..=USERS).filter(|user_id| user_id % GROUPS == number).collect::<Vec<u64>>())
        .map(|user_ids| Arc::new(Group { id: world.create_group(&user_ids), user_ids }))
        .collect();
    let devices: Vec<_> = (1..=USERS)
        .flat_map(|user_id| (1..=DEVICES_PER_USER).map(move |number| (user_id, number)))
        .map(|(user_id, number)| {
            let group = groups[usize::try_from(user_id % GROUPS).unwrap()].clone();
            let mut device = Device::new(world.tcp_address(), (user_id, number), group, seed, stop.clone());
            thread::spawn(move || device.run())
        })
        .collect();

    let mut random = StdRng::seed_from_u64(seed);
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut kills = 0;
    while Instant::now() < end {
        thread::sleep(Duration::from_millis(random.random_range(200..1200)));
        world.kill_logic(random.random_range(0..world.logic_nodes()));
        kills += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let seen: Vec<Seen> = devices.into_iter().map(|device| device.join().unwrap()).collect();
    let messages = judge(&seen);
    println!("{messages} messages, {kills} kills");
    assert!(kills > 0 && messages > seconds * 10, "too little happened to say something");
}

/// Checks what all devices saw; returns how many messages there were.
fn judge(seen: &[Seen]) -> u64 {
    let mut inboxes: BTreeMap<u64, &Seen> = BTreeMap::new();
    for device in seen {
        let (user_id, inbox) = (device.user_id, &device.inbox);
        let first = inboxes.entry(user_id).or_insert(device);
        assert_eq!(first.inbox.len(), inbox.len(), "devices of user {user_id} know different numbers of messages");
        assert_eq!(first.inbox, *inbox, "devices of user {user_id} saw different messages");
    }
    // A device keeps what it has by seq without gaps: the n-th is seq n.
    let mut places: HashMap<&str, Vec<u64>> = HashMap::new();
    for (user_id, device) in &inboxes {
        for (_, text) in device.inbox.iter().filter(|(_, text)| !text.is_empty()) {
            places.entry(text).or_default().push(*user_id);
        }
    }
    let mut messages = 0;
    for acknowledged in seen.iter().flat_map(|device| &device.acknowledged) {
        messages += 1;
        let mut expected = acknowledged.to.clone();
        expected.push(acknowledged.from);
        expected.sort_unstable();
        let mut found = places.remove(acknowledged.text.as_str()).unwrap_or_default();
        found.sort_unstable();
        assert_eq!(found, expected, "the inboxes that hold {acknowledged:?}");
        let inbox = &inboxes[&acknowledged.from].inbox;
        let at_seq = inbox.get(usize::try_from(acknowledged.seq - 1).unwrap());
        assert_eq!(at_seq, Some(&(acknowledged.message_id, acknowledged.text.clone())), "{acknowledged:?}");
    }
    assert!(places.is_empty(), "in inboxes, but never acknowledged though retried until it was: {places:?}");
    messages
}
