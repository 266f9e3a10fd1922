//! How does it stand when everything goes on at once: a day in a minute?
//!
//! Most connections are idle and send heartbeats. Some users chat in pairs, some are in rooms that messages are pushed to,
//! and some of the idle ones drop their connection and come back, as phones do, and sync. All of it leaves on time whatever
//! the server does (an open loop), latencies count from the time it was meant to leave, and memory is recorded meanwhile.

mod day;

use std::time::{Duration, Instant};

use anyhow::ensure;
use serde_json::{Value, json};

use self::day::Day;
use super::{
    idle,
    room::{Audience, Pusher, subscription},
    send::Pairs,
};
use crate::{
    duel::{Side, Slice},
    load::{LoadArguments, Measurement, OwnCpu, Run, ensure_none, random_id},
    progress::Progress,
    report::Figures,
    swarm::Swarm,
    tally::Tally,
    target::DEADLINE,
};

/// The part of the time that is not measured.
const WARM_UP: f64 = 0.1;

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
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(8..=60_000))]
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

    fn check(&self) -> anyhow::Result<()> {
        let Self { chatting, rooms, members, connections, .. } = self;
        ensure!(chatting.is_multiple_of(2), "--chatting must be even, as they chat in pairs");
        let busy = u64::from(*chatting) + u64::from(*rooms) * u64::from(*members);
        ensure!(busy < u64::from(*connections), "{busy} chat or are in rooms: --connections must be more than that");
        for (option, rate) in
            [("chat-rate", self.chat_rate), ("room-rate", self.room_rate), ("reconnects", self.reconnects)]
        {
            ensure!(rate > 0.0 && rate <= 1e6, "--{option} must be above 0 and at most 1000000");
        }
        let processes = self.load.processes();
        ensure!(
            processes <= *rooms && processes <= chatting / 2,
            "--processes {processes} need as many --rooms and pairs"
        );
        Ok(())
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let (chatting, rooms) = (2 * run.share(self.chatting / 2), run.share(self.rooms));
        let busy = chatting + rooms * self.members as usize;
        let others = run.share(self.connections - self.chatting - self.rooms * self.members);
        let mut swarm = run.swarm(busy + others)?;
        let users = run.sign_up(busy + others)?;
        let greetings: Vec<_> = users.iter().map(|user| user.greeting.clone()).collect();
        let ids = users[..chatting].iter().map(|user| user.id).collect();
        let parts = f64::from(self.load.processes());
        let numbers = [chatting, self.members as usize];
        let mut day = Day::new(run.target.gates().to_vec(), greetings.clone(), numbers, self.heartbeat);
        day.pairs = Pairs::new(ids, self.size as usize, Some(self.chat_rate / parts));
        day.audiences = (0..rooms).map(|_| self.audience(run)).collect::<anyhow::Result<_>>()?;
        run.meet("before", &mut swarm, &mut day)?;
        let in_flight = run.in_flight(self.in_flight as usize);
        let ended = swarm.gather(&mut day, run.target.gates(), greetings.into_iter(), in_flight);
        run.tally.add("connections", swarm.ready() as f64);
        ended?;
        await_entries(&mut swarm, &mut day)?;
        run.meet("standing", &mut swarm, &mut day)?;
        let duration = self.load.duration();
        let now = Instant::now();
        let slice = Slice { side: Side::Server, measure_from: now + duration.mul_f64(WARM_UP), end: now + duration };
        let rates = [self.room_rate, self.reconnects / parts];
        let ended = day.begin(slice, rates, &mut swarm).and_then(|()| go_on(run, &mut swarm, &mut day, slice));
        day.count(&mut run.tally);
        run.note_schedule(day.scheduled);
        ended
    }

    fn tell(&self, tally: &Tally, figures: &mut Figures) -> anyhow::Result<()> {
        idle::tell_costs(tally, figures);
        let grown = tally.sum("end.server_rss_bytes") - tally.sum("standing.server_rss_bytes");
        figures.measure("server_rss_growth_bytes", grown, "bytes by which the server grew while it went on");
        let heartbeats = tally.latencies("heartbeats");
        figures.measure("heartbeats_per_second", tally.sum("heartbeats"), "heartbeats answered per second");
        figures.measure("heartbeat_p50_us", heartbeats.us(0.5), "half of them within (µs)");
        figures.measure("heartbeat_p99_us", heartbeats.us(0.99), "99 % within (µs)");
        figures.measure("sign_ins_per_second", tally.sum("sign_ins"), "people who came back per second");
        figures.measure("sign_in_p99_ms", tally.latencies("sign_ins").ms(0.99), "99 % within (ms)");
        figures.measure("deliveries_per_second", tally.sum("rooms"), "deliveries in rooms per second");
        figures.measure("room_p99_ms", tally.latencies("rooms").ms(0.99), "99 % within (ms)");
        let (sends, durable) = (tally.sum("durable"), tally.latencies("durable"));
        figures.measure("sends_per_second", sends, "durable chat messages per second");
        figures.measure("inbox_rows_per_second", 2.0 * sends, "rows of inboxes per second");
        figures.measure("p50_ms", durable.ms(0.5), "half of them durable within (ms)");
        figures.measure("p99_ms", durable.ms(0.99), "99 % durable within (ms)");
        figures.measure("arrival_p99_ms", tally.latencies("arrival").ms(0.99), "99 % with the receiver within (ms)");
        let [lost, duplicates, reordered] = ["lost", "duplicates", "reordered"].map(|key| tally.count(key));
        figures.count("lost", lost, "messages and deliveries lost");
        figures.count("duplicates", duplicates, "messages that came twice");
        figures.count("reordered", reordered, "messages and deliveries out of order");
        figures.measure("offered_per_second", self.chat_rate, "chat messages per second that were offered");
        figures.measure("achieved_per_second", sends, "chat messages per second that were achieved");
        ensure_none(&[(lost, "were lost"), (duplicates, "came twice"), (reordered, "came out of order")])
    }
}

impl Arguments {
    fn audience(&self, run: &Run<'_>) -> anyhow::Result<(Vec<u8>, Audience)> {
        let room_id = random_id();
        let pusher = Pusher::to_room(&run.target, room_id, self.size as usize)?;
        Ok((subscription(room_id), Audience::new(self.members as usize, 1, pusher)))
    }
}

/// Turns until all members are in their rooms.
fn await_entries(swarm: &mut Swarm, day: &mut Day) -> anyhow::Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while day.entered < day.audiences.len() * day.members {
        ensure!(Instant::now() < deadline, "not all members could enter their room");
        swarm.turn(day, DEADLINE)?;
    }
    Ok(())
}

/// Turns until the end, and then until everything has arrived.
fn go_on(run: &mut Run<'_>, swarm: &mut Swarm, day: &mut Day, slice: Slice) -> anyhow::Result<()> {
    let own_cpu = OwnCpu::start()?;
    let (started, total) = (Instant::now(), slice.end.saturating_duration_since(Instant::now()));
    let mut progress = Progress::new("mixed", total.as_millis() as u64);
    while Instant::now() < slice.end {
        swarm.run_until(day, (Instant::now() + Duration::from_millis(100)).min(slice.end))?;
        progress.show(started.elapsed().as_millis() as u64, || day.summary(swarm.ready()));
    }
    own_cpu.check(run)?;
    run.meet("end", swarm, day)?;
    day.end();
    let mut newest = (day.activity(), Instant::now());
    while !day.is_settled() && newest.1.elapsed() < DEADLINE {
        swarm.turn(day, DEADLINE)?;
        if day.activity() != newest.0 {
            newest = (day.activity(), Instant::now());
        }
    }
    Ok(())
}
