//! How does it stand when everything goes on at once: heartbeats, chats, rooms, people who come and go?
//!
//! A day in a minute. Most connections are idle and send heartbeats. Some users chat in pairs, some are in rooms that messages are pushed to,
//! and some of the idle ones drop their connection and come back, as phones do, and sync. All of it leaves on time whatever
//! the server does (an open loop), latencies count from the time it was meant to leave, and memory is recorded meanwhile. Whom a server
//! sends away because it drains comes back as clients do, so that a rolling restart can be judged.

mod day;
mod sent_away;

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use self::day::{Day, Room};
use super::{
    chats::{Conversations, Participants},
    idle,
    room::{Audience, Pusher, subscription},
};
use crate::{
    counts::Counts,
    load::{LoadArguments, Measurement, OwnCpu, Run, ensure_rate, random_id, tell_faults},
    paired_run::{Side, Slice},
    progress::Progress,
    result::Figures,
    swarm::Swarm,
};

/// The part of the time that is not measured.
const WARM_UP: f64 = 0.1;

/// What must not happen, in words.
const FAULTS: [(&str, &str); 6] = [
    ("still_away", "clients that were sent away and did not get back"),
    ("failed", "sign-ins that failed"),
    ("lost", "messages and deliveries lost"),
    ("duplicates", "messages that came twice"),
    ("reordered", "messages and deliveries out of order"),
    ("unanswered", "sends, heartbeats and returns that were never answered"),
];

/// Arguments of `mixed`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// So many signed-in connections
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    connections: u32,
    /// Connects that are on their way at the same time
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    in_flight: u32,
    /// Seconds between two heartbeats of a connection
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    heartbeat: u32,
    /// Of the connections, those of users who chat in pairs
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
    chatting: u32,
    /// Chat messages per second, of all together
    #[arg(long, value_name = "N", default_value_t = 200.0)]
    chat_rate: f64,
    /// Rooms
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=100))]
    rooms: u32,
    /// Of the connections, members of each room
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    members: u32,
    /// Messages per second in each room
    #[arg(long, value_name = "N", default_value_t = 10.0)]
    room_rate: f64,
    /// Of the others, how many per second drop their connection and come back
    #[arg(long, value_name = "N", default_value_t = 20.0)]
    reconnects: f64,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(20..=60_000))]
    size: u32,
}

impl Measurement for Arguments {
    const NAME: &'static str = "mixed";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn watches(&self) -> bool {
        true
    }

    fn config(&self) -> Value {
        json!({
            "connections": self.connections,
            "in_flight": self.in_flight,
            "heartbeat_s": self.heartbeat,
            "chatting": self.chatting,
            "chat_rate": self.chat_rate,
            "rooms": self.rooms,
            "members": self.members,
            "room_rate": self.room_rate,
            "reconnects": self.reconnects,
            "size": self.size,
        })
    }

    fn spread(&self) -> Vec<(&'static str, u32)> {
        let others = self.connections.saturating_sub(self.chatting).saturating_sub(self.rooms * self.members);
        vec![
            ("--rooms", self.rooms),
            ("pairs of those --chatting", self.chatting / 2),
            ("--connections of others than those who chat or are in rooms", others),
        ]
    }

    fn check(&self) -> anyhow::Result<()> {
        let Self { chatting, rooms, members, connections, .. } = self;
        ensure!(chatting.is_multiple_of(2), "--chatting must be even, as they chat in pairs");
        let busy = u64::from(*chatting) + u64::from(*rooms) * u64::from(*members);
        ensure!(busy < u64::from(*connections), "{busy} chat or are in rooms: --connections must be more than that");
        for (option, rate) in
            [("chat-rate", self.chat_rate), ("room-rate", self.room_rate), ("reconnects", self.reconnects)]
        {
            ensure_rate(option, Some(rate))?;
        }
        Ok(())
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let (chatting, rooms) = (2 * run.share(self.chatting / 2), run.share(self.rooms));
        let busy = chatting + rooms * self.members as usize;
        let others = run.share(self.connections - self.chatting - self.rooms * self.members);
        let mut swarm = run.swarm(busy + others)?;
        let users = run.sign_up(busy + others)?;
        let greetings: Vec<_> = users.iter().map(|user| user.greeting.clone()).collect();
        let participants = Participants::Pairs { user_ids: users[..chatting].iter().map(|user| user.id).collect() };
        let parts = f64::from(self.load.processes());
        let pairs = Conversations::new(participants, self.size, Some(self.chat_rate / parts));
        let audiences = (0..rooms).map(|_| self.audience(run)).collect::<anyhow::Result<_>>()?;
        let mut day = Day::new(run.target.endpoints().to_vec(), greetings.clone(), pairs, audiences, self.heartbeat);
        run.meet("before", &mut swarm, &mut day)?;
        let in_flight = run.in_flight(self.in_flight as usize);
        let ended = swarm.gather(&mut day, run.target.endpoints(), greetings.into_iter(), in_flight);
        run.counts.add("connections", swarm.ready() as f64);
        ended?;
        let all_entered = swarm.settle(&mut day, Day::activity, Day::is_gathered)?;
        ensure!(all_entered, "not all members could enter their room");
        run.meet("standing", &mut swarm, &mut day)?;
        let duration = self.load.duration();
        let now = Instant::now();
        let slice = Slice { side: Side::Server, measure_from: now + duration.mul_f64(WARM_UP), end: now + duration };
        let rates = [self.room_rate, self.reconnects / parts];
        day.begin(slice, rates, &mut swarm);
        let ended = go_on(run, &mut swarm, &mut day, slice);
        day.end();
        day.count(&mut run.counts);
        run.note_schedule(day.scheduled());
        ended
    }

    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()> {
        idle::tell_costs(counts, figures);
        let rss = |point: &str| counts.get(&format!("{point}.server_rss_bytes"));
        let grown = rss("end").zip(rss("standing")).map(|(end, standing)| end - standing);
        figures.measure("server_rss_growth_bytes", grown, "bytes by which the server grew while it went on");
        let beats = f64::from(self.connections) / f64::from(self.heartbeat);
        figures.measure("heartbeats_offered_per_second", beats, "heartbeats per second that were offered");
        figures.measure("heartbeats_per_second", counts.get("heartbeats"), "heartbeats answered per second");
        let heartbeats = counts.latencies("heartbeats");
        figures.within("p50_us", &heartbeats, 0.5, "half of the heartbeats answered within (µs)");
        figures.within("p99_us", &heartbeats, 0.99, "99 % of the heartbeats within (µs)");
        figures.within("p999_us", &heartbeats, 0.999, "99.9 % of the heartbeats within (µs)");
        figures.measure("sign_ins_offered_per_second", self.reconnects, "people per second who were to come back");
        figures.measure("sign_ins_per_second", counts.get("sign_ins"), "people who came back per second");
        figures.within("sign_in_p99_ms", &counts.latencies("sign_ins"), 0.99, "99 % of them back within (ms)");
        let deliveries = self.room_rate * f64::from(self.rooms) * f64::from(self.members);
        figures.measure(
            "deliveries_offered_per_second",
            deliveries,
            "deliveries in rooms per second that were offered",
        );
        figures.measure("deliveries_per_second", counts.get("rooms"), "deliveries in rooms per second");
        figures.within("room_p99_ms", &counts.latencies("rooms"), 0.99, "99 % of the deliveries within (ms)");
        figures.measure("sent_away", counts.get("sent_away"), "connections that the server sent away, as it drained");
        figures.within("reconnect_p99_ms", &counts.latencies("reconnects"), 0.99, "99 % of them back within (ms)");
        figures.measure("missed", counts.get("missed"), "deliveries in rooms to members who were on their way back");
        let (sends, durable) = (counts.get("durable"), counts.latencies("durable"));
        figures.measure("offered_per_second", self.chat_rate, "chat messages per second that were offered");
        figures.measure("achieved_per_second", sends, "chat messages per second that were achieved");
        figures.measure("sends_per_second", sends, "durable chat messages per second");
        figures.measure("inbox_rows_per_second", sends.map(|sends| 2.0 * sends), "rows of inboxes per second");
        figures.within("p50_ms", &durable, 0.5, "half of the chat messages durable within (ms)");
        figures.within("p99_ms", &durable, 0.99, "99 % of the chat messages durable within (ms)");
        let arrival = counts.latencies("arrival");
        figures.within("arrival_p99_ms", &arrival, 0.99, "99 % of them with the receiver within (ms)");
        tell_faults(counts, figures, &FAULTS)
    }
}

impl Arguments {
    fn audience(&self, run: &Run<'_>) -> anyhow::Result<Room> {
        let room_id = random_id();
        let pusher = Pusher::to_room(&run.target, room_id, self.size as usize)?;
        let audience = Audience::new(self.members as usize, 1, pusher).with_attendance();
        Ok(Room { subscription: subscription(room_id), audience })
    }
}

/// Turns until the end, and then until everything has arrived.
fn go_on(run: &mut Run<'_>, swarm: &mut Swarm, day: &mut Day, slice: Slice) -> anyhow::Result<()> {
    let own_cpu = OwnCpu::start();
    let (started, total) = (Instant::now(), slice.end.saturating_duration_since(Instant::now()));
    let mut progress = Progress::new("mixed", total.as_millis() as u64);
    while Instant::now() < slice.end {
        swarm.run_until(day, (Instant::now() + Duration::from_millis(100)).min(slice.end))?;
        progress.show(started.elapsed().as_millis() as u64, || day.summary(swarm.ready()));
    }
    own_cpu.check(run);
    run.meet("end", swarm, day)?;
    // What never arrives is counted.
    swarm.settle(day, Day::activity, Day::is_settled).map(drop)
}
