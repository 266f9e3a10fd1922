//! Devices that are connected first and sign in then, all of them, round after round: what sign-ins alone cost, without
//! the kernel's connects and closes. The time between the rounds does not count.

use std::time::{Duration, Instant};

use anyhow::ensure;
use gim_proto::connect::PacketCommand;

use super::TURN_MAX;
use crate::{
    load::{CONNECTS_IN_FLIGHT, Run},
    progress::Progress,
    stats::Latencies,
    swarm::{Behaviour, Connection, DEADLINE, Packet, Swarm, packet::Reply, transport::ServerEndpoint},
    users::User,
};

const SIGN_IN: i32 = PacketCommand::PcSignIn as i32;

/// The devices, by their numbers in the swarm.
pub struct Connected {
    endpoints: Vec<ServerEndpoint>,
    users: Vec<User>,
    in_flight: usize,
    /// When those asked to be let in that have done so in this round.
    asked_at: Vec<Instant>,
    answered: usize,
    newest: Instant,
    /// Whether connections are there for sign-ins, and not for coming or going.
    is_open: bool,
    /// How long sign-ins lasted, all rounds together.
    pub busy: Duration,
    /// How long each one lasted.
    pub latencies: Latencies,
}

impl Connected {
    /// Nobody is connected yet; so many sign-ins will be under way at the same time.
    pub fn new(endpoints: Vec<ServerEndpoint>, users: Vec<User>, in_flight: usize) -> Self {
        Self {
            endpoints,
            in_flight,
            asked_at: Vec::with_capacity(users.len()),
            users,
            answered: 0,
            newest: Instant::now(),
            is_open: false,
            busy: Duration::ZERO,
            latencies: Latencies::default(),
        }
    }

    /// Makes rounds until so much time has passed, at least one.
    pub fn play(&mut self, duration: Duration, run: &Run<'_>) -> anyhow::Result<()> {
        let started = Instant::now();
        let mut progress = Progress::new("signing in", duration.as_millis() as u64);
        while self.latencies.count() == 0 || started.elapsed() < duration {
            self.round(&mut run.swarm(self.users.len())?)?;
            progress.show(started.elapsed().as_millis() as u64, || format!("{} sign-ins", self.latencies.count()));
        }
        Ok(())
    }

    fn round(&mut self, swarm: &mut Swarm) -> anyhow::Result<()> {
        let endpoints = self.endpoints.clone();
        let nothing = vec![Box::default(); self.users.len()];
        swarm.gather(self, &endpoints, nothing.into_iter(), CONNECTS_IN_FLIGHT)?;
        self.asked_at.clear();
        (self.answered, self.newest, self.is_open) = (0, Instant::now(), true);
        let started = Instant::now();
        self.ask(swarm);
        while self.answered < self.users.len() {
            swarm.turn(self, TURN_MAX)?;
            let (answered, asked) = (self.answered, self.asked_at.len());
            ensure!(
                self.newest.elapsed() < DEADLINE,
                "{answered} of {asked} sign-ins were answered; none in {DEADLINE:?}"
            );
        }
        self.busy += started.elapsed();
        self.is_open = false;
        (0..swarm.len()).try_for_each(|id| swarm.hang_up(id))
    }

    fn ask(&mut self, swarm: &mut Swarm) {
        while self.asked_at.len() < self.users.len() && self.asked_at.len() - self.answered < self.in_flight {
            let id = self.asked_at.len();
            self.asked_at.push(Instant::now());
            swarm.connection(id).send(&self.users[id].greeting);
        }
    }
}

impl Behaviour for Connected {
    fn on_packet(&mut self, connection: &mut Connection, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        if packet.command == SIGN_IN {
            Reply::read(packet.content)?.accepted("a sign-in")?;
            self.latencies.record(now - self.asked_at[connection.id()]);
            self.answered += 1;
            self.newest = now;
        }
        Ok(())
    }

    fn on_tick(&mut self, swarm: &mut Swarm) -> anyhow::Result<()> {
        if self.is_open {
            self.ask(swarm);
        }
        Ok(())
    }
}
