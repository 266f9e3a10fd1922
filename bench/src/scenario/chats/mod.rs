//! Clients who write to each other, in pairs or in groups: what each sender has sent and not yet heard of, what each member has
//! got of each sender, and when the next send is due. On the swarm's thread.
//!
//! Always holds: whatever was answered had been sent, and a copy that comes twice is received once.

mod got;
mod resuming;
mod sending;

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use anyhow::ensure;
use gim_proto::{
    connect::{MessageCommand, Packet as Envelope, PacketCommand, SendRequest, send_request::Target},
    content::Text,
};
use prost::Message as _;

pub use self::got::{Arrival, Got};
use self::resuming::Resumed;
pub use self::sending::{BASELINE_BATCH_MAX, SendingArguments};
use super::paired_with_database::PairedClients;
use crate::{
    counts::Counts,
    load::tell_faults,
    paired_run::Slice,
    result::Figures,
    score::Score,
    stats::{Latencies, Schedule, ratio},
    swarm::{
        Behaviour, Connection, Packet, Swarm,
        packet::{Message, Reply, bytes_of},
    },
};

const MESSAGE: i32 = PacketCommand::PcMessage as i32;
const SEND: i32 = PacketCommand::PcSend as i32;

/// Field `content` of `logic.UserMessagePush` and `logic.GroupMessagePush`.
const PUSHED_CONTENT: u64 = 3;

/// What a message carries in front: its number with its sender, the sender's number in the conversation, when it was meant to
/// leave. No message is shorter.
const HEAD_BYTES: usize = 20;

/// In front of what a message carries where it is a typed text: a field that `content.Text` does not have, of as many bytes.
const HEAD_FIELD: [u8; 2] = [15 << 3 | 2, HEAD_BYTES as u8];

/// What is sent on time and not answered may take so much memory, before an open loop ends: its server does not keep up.
const BEHIND_BYTES_MAX: u64 = 1 << 30;

/// What is kept of a message that is not answered, beside its content.
const BEHIND_BYTES: u64 = 200;

/// Who writes to whom. Clients are numbered conversation by conversation, and the first ones of each send.
pub enum Participants {
    /// Users in pairs: each sends to the other.
    Pairs { user_ids: Vec<u64> },
    /// Groups with so many members, of whom so many send.
    Groups { group_ids: Vec<u64>, members: usize, senders: usize },
}

impl Participants {
    /// How many conversations, members of each, and senders among these.
    fn shape(&self) -> (usize, usize, usize) {
        match self {
            Self::Pairs { user_ids } => (user_ids.len() / 2, 2, 2),
            Self::Groups { group_ids, members, senders } => (group_ids.len(), *members, *senders),
        }
    }

    fn command(&self) -> i32 {
        match self {
            Self::Pairs { .. } => MessageCommand::McUserMessage as i32,
            Self::Groups { .. } => MessageCommand::McGroupMessage as i32,
        }
    }

    fn target(&self, sender: usize) -> Target {
        match self {
            Self::Pairs { user_ids } => Target::UserId(user_ids[sender ^ 1]),
            Self::Groups { group_ids, senders, .. } => Target::GroupId(group_ids[sender / senders]),
        }
    }
}

/// One sender.
#[derive(Debug, Default)]
struct Sender {
    /// Messages sent, numbered from 1 on.
    sent: u64,
    /// When those that are not answered were meant to leave.
    unanswered: HashMap<u64, Instant>,
}

/// All conversations.
pub struct Conversations {
    participants: Participants,
    members: usize,
    senders: usize,
    size: usize,
    /// What a message says where it is a typed text.
    text: Option<Vec<u8>>,
    rate: Option<f64>,
    epoch: Instant,
    durable: Score,
    arrival: Score,
    /// What an open loop sent, and how much of it late through our fault.
    scheduled: (u32, u32),
    /// The senders of all conversations, one after the other.
    sending: Vec<Sender>,
    /// For each client what it has of each sender of its conversation.
    got: Vec<Got>,
    slice: Option<Slice>,
    schedule: Option<Schedule>,
    next_sender: usize,
    unanswered: u64,
    answered: u64,
    received: u64,
    duplicates: u64,
    reordered: u64,
    /// What clients that came back have of their inbox.
    resumed: HashMap<usize, Resumed>,
    /// The newest seq of each client.
    cursors: Vec<u64>,
}

impl Conversations {
    /// Of messages with `size` bytes; `rate` sends per second of all together, or as many as fit.
    pub fn new(participants: Participants, size: u32, rate: Option<f64>) -> Self {
        let (count, members, senders) = participants.shape();
        Self {
            participants,
            members,
            senders,
            size: size as usize,
            text: None,
            rate,
            epoch: Instant::now(),
            durable: Score::default(),
            arrival: Score::default(),
            scheduled: (0, 0),
            sending: (0..count * senders).map(|_| Sender::default()).collect(),
            got: (0..count * members * senders).map(|_| Got::default()).collect(),
            slice: None,
            schedule: None,
            next_sender: 0,
            unanswered: 0,
            answered: 0,
            received: 0,
            duplicates: 0,
            reordered: 0,
            resumed: HashMap::new(),
            cursors: vec![0; count * members],
        }
    }

    /// Of typed texts with as many bytes.
    pub fn of_texts(mut self) -> Self {
        self.text = Some(Text { text: words(self.size), ..Text::default() }.encode_to_vec());
        self
    }

    /// How many clients they are.
    pub fn clients(&self) -> usize {
        self.sending.len() / self.senders * self.members
    }

    /// Sends whose durability was told in time.
    pub fn done(&self) -> u64 {
        self.durable.done()
    }

    /// How long sends took until they were durable, since this was last taken.
    pub fn take_latencies(&mut self) -> Latencies {
        self.durable.take_latencies()
    }

    /// What an open loop sent, and how much of it late through our fault.
    pub fn scheduled(&self) -> (u32, u32) {
        self.scheduled
    }

    /// Adds what they have seen.
    pub fn count(&self, counts: &mut Counts) {
        counts.add_score("durable", &self.durable);
        counts.add_latencies("arrival", self.arrival.latencies());
        for (key, count) in [
            ("lost", self.lost()),
            ("duplicates", self.duplicates),
            ("reordered", self.reordered),
            ("unanswered", self.unanswered),
        ] {
            counts.add(key, count as f64);
        }
    }

    /// Copies of acknowledged messages that nobody has seen; a sender's own device needs none.
    fn lost(&self) -> u64 {
        (self.answered * (self.members as u64 - 1)).saturating_sub(self.received)
    }

    fn command(&self) -> i32 {
        if self.text.is_some() { MessageCommand::McText as i32 } else { self.participants.command() }
    }

    /// The sender that a client is.
    fn sender(&self, client: usize) -> usize {
        client / self.members * self.senders + client % self.members
    }

    fn send(&mut self, swarm: &mut Swarm, sender: usize, intended: Instant) {
        let client = sender / self.senders * self.members + sender % self.senders;
        let number = self.note(sender, intended);
        // Who is on the way back says it there.
        if swarm.is_ready(client) {
            self.say(swarm.connection(client), sender, number, intended);
        }
    }

    fn send_on(&mut self, connection: &mut Connection, sender: usize, intended: Instant) {
        let number = self.note(sender, intended);
        self.say(connection, sender, number, intended);
    }

    /// One more message, and its number.
    fn note(&mut self, sender: usize, intended: Instant) -> u64 {
        let sending = &mut self.sending[sender];
        sending.sent += 1;
        sending.unanswered.insert(sending.sent, intended);
        self.unanswered += 1;
        sending.sent
    }

    fn say(&self, connection: &mut Connection, sender: usize, number: u64, intended: Instant) {
        let since_epoch = u64::try_from((intended - self.epoch).as_nanos()).unwrap_or(u64::MAX);
        let number_of_sender = ((sender % self.senders) as u32).to_le_bytes();
        let head = [&number.to_le_bytes()[..], &number_of_sender, &since_epoch.to_le_bytes()].concat();
        let content = match &self.text {
            Some(text) => [&HEAD_FIELD[..], &head, text].concat(),
            None => [head, vec![b'.'; self.size - HEAD_BYTES]].concat(),
        };
        let request = SendRequest {
            target: Some(self.participants.target(sender)),
            command: self.command(),
            content: content.into(),
            client_msg_id: format!("{number:016x}"),
        };
        let content = request.encode_to_vec().into();
        let packet = Envelope { request_id: number.to_string(), command: SEND, content, seq: 0 };
        connection.send(&packet.encode_length_delimited_to_vec());
    }

    fn take_reply(&mut self, client: usize, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        Reply::read(packet.content)?.accepted("a send")?;
        let sender = self.sender(client);
        let number = str::from_utf8(packet.request_id).ok().and_then(|number| number.parse().ok());
        let Some(intended) = number.and_then(|number: u64| self.sending[sender].unanswered.remove(&number)) else {
            return Ok(());
        };
        self.unanswered -= 1;
        self.answered += 1;
        if let Some(slice) = &self.slice {
            self.durable.record(slice, intended, now);
        }
        Ok(())
    }

    fn take_message(
        &mut self,
        client: usize,
        message: &Message<'_>,
        is_synced: bool,
        now: Instant,
    ) -> anyhow::Result<()> {
        if message.command != self.command() || !self.is_new(client, message.seq) {
            return Ok(());
        }
        let content = bytes_of(message.content, PUSHED_CONTENT)?;
        let head = if self.text.is_some() { content.get(HEAD_FIELD.len()..).unwrap_or_default() } else { content };
        let Some((number, sender, since_epoch)) = read_head(head) else { return Ok(()) };
        if is_synced && sender == client % self.members {
            // Its own ones are in its inbox, too.
            return Ok(());
        }
        let Some(got) = self.got.get_mut(client * self.senders + sender) else { return Ok(()) };
        match got.take(number) {
            Arrival::Next => {}
            // A client shows what it synced in the order of the seqs.
            Arrival::Late => self.reordered += u64::from(!is_synced),
            Arrival::Again => {
                self.duplicates += 1;
                return Ok(());
            }
        }
        self.received += 1;
        if let Some(slice) = &self.slice {
            self.arrival.record(slice, self.epoch + since_epoch, now);
        }
        Ok(())
    }
}

/// So many bytes of words that differ, in letters that any list of words may have.
fn words(bytes: usize) -> String {
    let syllable = |number: usize| ["ka", "lo", "mi", "ren", "su", "ta", "vel", "no"][number % 8];
    let word = |number: usize| [number, number / 3, number / 7].map(syllable).concat();
    let mut text = (0..bytes).map(word).take(bytes / 6 + 1).collect::<Vec<_>>().join(" ");
    text.truncate(bytes);
    text
}

fn read_head(content: &[u8]) -> Option<(u64, usize, Duration)> {
    let head: &[u8; HEAD_BYTES] = content.first_chunk()?;
    let number = u64::from_le_bytes(head[..8].try_into().ok()?);
    let sender = u32::from_le_bytes(head[8..12].try_into().ok()?);
    let since_epoch = u64::from_le_bytes(head[12..].try_into().ok()?);
    Some((number, sender as usize, Duration::from_nanos(since_epoch)))
}

impl PairedClients for Conversations {
    const UNIT: &'static str = "sends";

    fn begin(&mut self, slice: Slice, swarm: &mut Swarm) {
        self.slice = Some(slice);
        let now = Instant::now();
        self.schedule = self.rate.map(|rate| Schedule::new(now, rate).until(slice.end));
        if self.schedule.is_none() {
            for sender in 0..self.sending.len() {
                self.send(swarm, sender, now);
            }
        }
    }

    fn end(&mut self) {
        if let Some(slice) = self.slice.take() {
            self.durable.end(&slice);
        }
        if let Some((sent, late)) = self.schedule.take().map(|schedule| schedule.sent()) {
            self.scheduled.0 += sent;
            self.scheduled.1 += late;
        }
    }

    fn operations(&self) -> u64 {
        self.answered
    }

    fn activity(&self) -> u64 {
        self.answered + self.received
    }

    fn is_settled(&self) -> bool {
        self.next_due().is_none() && self.unanswered == 0 && self.lost() == 0
    }

    fn per_second(&self) -> Option<f64> {
        self.durable.per_second()
    }
}

impl Behaviour for Conversations {
    fn on_packet(&mut self, connection: &mut Connection, packet: &Packet<'_>, now: Instant) -> anyhow::Result<()> {
        match packet.command {
            SEND => {
                self.take_reply(connection.id(), packet, now)?;
                if self.slice.is_some_and(|slice| now < slice.end) && self.schedule.is_none() {
                    self.send_on(connection, self.sender(connection.id()), now);
                }
                Ok(())
            }
            MESSAGE => self.take_message(connection.id(), &Message::read(packet.content)?, false, now),
            _ => Ok(()),
        }
    }

    fn next_due(&self) -> Option<Instant> {
        self.schedule.as_ref().and_then(Schedule::next)
    }

    fn on_tick(&mut self, swarm: &mut Swarm) -> anyhow::Result<()> {
        let now = Instant::now();
        while let Some(intended) = self.schedule.as_mut().and_then(|schedule| schedule.due(now)) {
            let behind = self.unanswered * (self.size as u64 + BEHIND_BYTES);
            ensure!(behind < BEHIND_BYTES_MAX, "{} messages that were sent on time are not answered", self.unanswered);
            self.send(swarm, self.next_sender, intended);
            self.next_sender = (self.next_sender + 1) % self.sending.len();
        }
        Ok(())
    }
}

/// Says how fast messages were durable and arrived, each in so many inboxes, and fails where one did not.
pub fn tell(counts: &Counts, figures: &mut Figures, inboxes: u32, rate: Option<f64>) -> anyhow::Result<()> {
    let (sends, bare) = (counts.get("durable"), counts.get("baseline_rows"));
    let rows = sends.map(|sends| sends * f64::from(inboxes));
    figures.measure("sends_per_second", sends, "durable sends per second");
    figures.measure("inbox_rows_per_second", rows, "rows of inboxes per second");
    figures.measure("baseline_rows_per_second", bare, "a bare multi-row insert, rows per second");
    figures.measure("ratio", ratio(rows, bare), "rows, against the bare one");
    let (durable, arrival) = (counts.latencies("durable"), counts.latencies("arrival"));
    figures.within("p50_ms", &durable, 0.5, "half of them durable within (ms)");
    figures.within("p99_ms", &durable, 0.99, "99 % durable within (ms)");
    figures.within("arrival_p50_ms", &arrival, 0.5, "half of the copies with a receiver within (ms)");
    figures.within("arrival_p99_ms", &arrival, 0.99, "99 % of the copies with a receiver within (ms)");
    figures.measure("offered_per_second", rate, "sends per second that were offered");
    figures.measure("achieved_per_second", rate.and(sends), "sends per second that were achieved");
    tell_faults(counts, figures, &FAULTS)
}

/// What must not happen, in words.
pub const FAULTS: [(&str, &str); 4] = [
    ("lost", "copies lost"),
    ("duplicates", "copies that came twice"),
    ("reordered", "copies out of order"),
    ("unanswered", "sends that were never answered"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::paired_run::Side;

    fn pair() -> Conversations {
        Conversations::new(Participants::Pairs { user_ids: vec![1, 2] }, HEAD_BYTES as u32, None)
    }

    /// The first of a pair gets a message of the second.
    fn arrives(pair: &mut Conversations, number: u64) {
        let head = [&number.to_le_bytes()[..], &1u32.to_le_bytes(), &0u64.to_le_bytes()].concat();
        let content = gim_proto::logic::UserMessagePush { content: head.into(), ..Default::default() };
        let (content, command) = (content.encode_to_vec().into(), MessageCommand::McUserMessage as i32);
        let message = gim_proto::connect::Message { command, content, ..Default::default() }.encode_to_vec();
        let packet = Packet { command: MESSAGE, content: &message, ..Packet::default() };
        pair.take_message(0, &Message::read(packet.content).unwrap(), false, Instant::now()).unwrap();
    }

    fn counts(pair: &Conversations) -> Counts {
        let mut counts = Counts::default();
        pair.count(&mut counts);
        counts
    }

    #[test]
    fn what_comes_late_twice_or_never_is_told_apart() {
        let mut pair = pair();
        pair.answered = 5;
        [1, 2, 4, 3, 4].into_iter().for_each(|number| arrives(&mut pair, number));
        let seen = ["reordered", "duplicates", "lost"].map(|key| counts(&pair).count(key));
        assert_eq!((pair.received, seen), (4, [1, 1, 1]));
        assert!(!pair.is_settled());
        arrives(&mut pair, 5);
        assert!(pair.is_settled());
    }

    #[test]
    fn a_send_that_is_never_answered_is_no_success() {
        let mut pair = pair();
        tell(&counts(&pair), &mut Figures::default(), 2, None).unwrap();
        pair.unanswered = 3;
        assert!(!pair.is_settled());
        let error = tell(&counts(&pair), &mut Figures::default(), 2, None).unwrap_err();
        assert_eq!(error.to_string(), "sends that were never answered: 3");
    }

    #[test]
    fn an_answer_after_the_slice_counts_as_late_as_it_comes() {
        let mut pair = pair();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        pair.slice = Some(Slice { side: Side::Server, measure_from: start, end: at(1) });
        pair.sending[0].unanswered.insert(7, start);
        pair.unanswered = 1;
        let packet = Packet { command: SEND, request_id: b"7", ..Packet::default() };
        pair.take_reply(0, &packet, at(3)).unwrap();
        let durable = counts(&pair).latencies("durable");
        assert_eq!((durable.count(), pair.done(), pair.unanswered), (1, 0, 0));
        assert!(durable.ms(0.5) > 2900.0);
    }

    #[test]
    fn an_open_loop_ends_where_nothing_is_answered() {
        let participants = Participants::Pairs { user_ids: vec![1, 2] };
        let mut pair = Conversations::new(participants, 60_000, Some(1000.0));
        pair.schedule = Some(Schedule::new(Instant::now(), 1000.0));
        pair.unanswered = BEHIND_BYTES_MAX / 60_000;
        let error = pair.on_tick(&mut Swarm::new().unwrap()).unwrap_err().to_string();
        assert!(error.ends_with("messages that were sent on time are not answered"), "{error}");
    }
}
