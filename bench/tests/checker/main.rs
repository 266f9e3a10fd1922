//! What was acknowledged is there, once and in order, whatever goes wrong on the way; and afterwards everybody is reached.
//!
//! Fifty users with three devices each write to each other, to groups and to a large group, and retry until they are answered;
//! devices lose their connections at random, or sign in twice, on any conn node. One device of each user is an app on the SDK in Rust, which is
//! killed and starts again with what it stored; the others speak the wire themselves. Meanwhile everything goes wrong that can:
//! each process is killed, restarted in order and frozen, conn and logic nodes are cut off from each other, Redis forgets
//! everything, the database goes away ([`plan`]). At the end every message is in the inbox of its sender and of each receiver exactly once (or in the
//! timeline of the large group), all devices of a user saw the same, in the order in which it was sent, and no seq is missing
//! ([`judge`]); the list of each user's conversations says what an app was shown and has read ([`conversations`]). Every device that is connected is reached by pushes, and nobody else is listed as online ([`afterwards`]).
//!
//! `GIM_CHECKER_SECONDS` makes a longer run, which shows its progress; `GIM_CHECKER_SEED` another one.

#![allow(clippy::unwrap_used, clippy::print_stdout)] // helpers of tests fail loudly, and what they say is shown then

mod afterwards;
mod board;
mod cluster;
mod conversations;
mod device;
mod judge;
mod people;
mod plan;
mod program;
mod sdk_device;

use std::{
    env,
    io::{self, Write as _},
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use board::{Board, Phase};
use cluster::Cluster;
use device::Device;
use judge::Seen;
use people::People;
use plan::{Fault, Node, Plan, Shape};
use sdk_device::SdkDevice;

const USERS: usize = 50;
const DEVICES_PER_USER: usize = 3;
const GROUPS: usize = 5;
const SEED: u64 = 20_261_121;
/// Of conn and logic nodes.
const LEASE: Duration = Duration::from_secs(1);

#[test]
fn one_of_each_on_sqlite_loses_doubles_and_reorders_nothing() {
    check(Shape { conn_nodes: 1, logic_nodes: 1, has_databases: false });
}

#[test]
fn two_of_each_on_servers_lose_double_and_reorder_nothing() {
    check(Shape { conn_nodes: 2, logic_nodes: 2, has_databases: true });
}

fn check(shape: Shape) {
    let setting = |name: &str| env::var(name).ok().map(|value| value.parse::<u64>().expect("is a number"));
    let (seconds, seed) = (setting("GIM_CHECKER_SECONDS"), setting("GIM_CHECKER_SEED").unwrap_or(SEED));
    let say = |line: String| {
        // In a long run at once; else where the test fails.
        match seconds {
            Some(_) => io::stderr().write_all(format!("{line}\n").as_bytes()).unwrap(),
            None => println!("{line}"),
        }
    };
    say(format!("seed {seed}, {shape:?}"));
    let mut cluster = Cluster::start(shape);
    let people = Arc::new(People::sign_up(&cluster));
    let board = Arc::new(Board::default());
    let devices = start_devices(&cluster, &people, &board, seed);

    // Every fault once at least.
    let mut plan = Plan::new(seed, shape);
    let least = plan.round_steps();
    let (started, lasts) = (Instant::now(), Duration::from_secs(seconds.unwrap_or(0)));
    let mut faults = 0;
    while faults < least || started.elapsed() < lasts {
        let step = plan.next().expect("it is endless");
        thread::sleep(step.pause);
        say(format!("{:6.1} s: {:?} for {:?}", started.elapsed().as_secs_f32(), step.fault, step.lasts));
        cluster.harm(step.fault);
        thread::sleep(step.lasts);
        cluster.mend(step.fault);
        faults += 1;
    }
    say(format!("{:6.1} s: {faults} faults are over", started.elapsed().as_secs_f32()));

    cluster.await_ready();
    board.begin(Phase::Quiet);
    board.await_everything_sent(devices.len());
    board.begin(Phase::CatchUp);
    board.await_caught_up(devices.len());
    say(format!("{:6.1} s: all sends are acknowledged, all devices have synced", started.elapsed().as_secs_f32()));
    check_presence(&mut cluster, &people, &board);
    let seen: Vec<Seen> = devices.into_iter().map(|device| device.join().unwrap()).collect();
    afterwards::assert_online(&mut cluster, &people, false);
    let messages = judge::judge(&seen);
    let by_apps: usize = seen.iter().step_by(DEVICES_PER_USER).map(|app| app.acknowledged.len()).sum();
    let longest_s = seen.iter().map(|device| device.longest_send).max().unwrap_or_default().as_secs_f32();
    let elapsed_s = started.elapsed().as_secs_f32();
    say(format!("{elapsed_s:6.1} s: {messages} messages, {by_apps} of apps, {faults} faults, nothing lost"));
    say(format!("the longest send of an app took {longest_s:.1} s"));
    assert!(messages > 100, "too little happened to say something");
}

fn start_devices(cluster: &Cluster, people: &Arc<People>, board: &Arc<Board>, seed: u64) -> Vec<JoinHandle<Seen>> {
    let start = |(index, identity): (usize, &people::Identity)| {
        let (identity, people, board) = (identity.clone(), people.clone(), board.clone());
        if index % DEVICES_PER_USER == 0 {
            let (runtime, urls) = (cluster.runtime.handle().clone(), cluster.locate_urls());
            let mut device = SdkDevice::new(runtime, urls, identity, people, board, seed);
            return thread::spawn(move || device.run());
        }
        let mut device = Device::new(cluster.tcp_addresses(), identity, people, board, seed);
        thread::spawn(move || device.run())
    };
    people.identities.iter().enumerate().map(start).collect()
}

fn check_presence(cluster: &mut Cluster, people: &People, board: &Board) {
    afterwards::assert_online(cluster, people, true);
    afterwards::assert_everybody_is_reachable(cluster, people, board);
    let last = cluster.shape().conn_nodes - 1;
    if last > 0 {
        cluster.harm(Fault::Kill(Node::Conn(last)));
        afterwards::assert_nobody_is_on(cluster, people, &format!("conn-{last}"));
        afterwards::assert_online(cluster, people, true);
    }
    board.begin(Phase::Leave);
}
