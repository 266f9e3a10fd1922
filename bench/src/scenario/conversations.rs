//! How long does a list of conversations take of a user who has very many?
//!
//! A user gets messages from very many others, who write by turns, and then asks for the first page of the list, again and again, one
//! page after the other, by turns with a bare query for the same of a database of the same kind that was filled alike.

use std::time::{Duration, Instant};

use anyhow::ensure;
use gim_proto::{
    logic::{
        ConversationListRequest, SendAsRequest, SendManyAsItem, SendManyAsRequest,
        conversation_ext_service_client::ConversationExtServiceClient,
        message_int_service_client::MessageIntServiceClient,
    },
    metadata,
};
use serde_json::{Value, json};

use crate::{
    baseline::database::{Database, DatabaseArguments, Shape},
    counts::Counts,
    load::{LoadArguments, Measurement, Run, random_id},
    progress::Progress,
    result::Figures,
    stats::{Latencies, ratio},
    target::Target,
    users::User,
};

/// The part of the time that is not measured.
const WARM_UP: f64 = 0.1;

/// Messages in one call of the filling.
const SENT_TOGETHER: u32 = 256;

/// Arguments of `conversations`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    load: LoadArguments,
    /// Messages that the user gets
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    messages: u32,
    /// Others who write them, by turns
    #[arg(long, value_name = "N", default_value_t = 2_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    conversations: u32,
    /// Conversations in a page
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100))]
    limit: u32,
    /// Bytes of a message
    #[arg(long, value_name = "BYTES", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    size: u32,
    #[command(flatten)]
    database: DatabaseArguments,
}

impl Measurement for Arguments {
    const NAME: &'static str = "conversations";

    fn load(&self) -> &LoadArguments {
        &self.load
    }

    fn config(&self) -> Value {
        let Self { messages, conversations, limit, size, .. } = self;
        let database = self.database.kind();
        json!({ "messages": messages, "conversations": conversations, "limit": limit, "size": size, "database": database })
    }

    fn spread(&self) -> Vec<(&'static str, u32)> {
        vec![("users", 1)]
    }

    fn check(&self) -> anyhow::Result<()> {
        self.load.ensure_tcp()?;
        ensure!(self.conversations <= self.messages, "each of --conversations takes one of --messages at least");
        Ok(())
    }

    fn measure(&self, run: &mut Run<'_>) -> anyhow::Result<()> {
        let users = run.sign_up(1)?;
        self.fill(&run.target, &users[0])?;
        let shape = Shape { batch: 1, groups: 1, members: 1, size: self.size, is_keyed: false };
        let bare = Database::create(&self.database, shape)?;
        let mut bare = bare.fill_conversations(self.messages, self.conversations, self.size)?;
        let (mut lists, mut bare_lists) = (Latencies::default(), Latencies::default());
        let expected = self.limit.min(self.conversations) as usize;
        let (start, duration) = (Instant::now(), self.load.duration());
        let mut progress = Progress::new("listing", duration.as_millis() as u64);
        while start.elapsed() < duration {
            let server = self.list(&run.target, &users[0], expected)?;
            let began = Instant::now();
            let found = bare.read(self.limit)?;
            let of_bare = began.elapsed();
            ensure!(found == expected, "the bare list has {found} conversations, {expected} were expected");
            if start.elapsed() > duration.mul_f64(WARM_UP) {
                lists.record(server);
                bare_lists.record(of_bare);
            }
            progress.show(start.elapsed().as_millis() as u64, || format!("{} lists", lists.count()));
        }
        run.counts.add_latencies("lists", &lists);
        run.counts.add_latencies("bare", &bare_lists);
        Ok(())
    }

    fn tell(&self, counts: &Counts, figures: &mut Figures) -> anyhow::Result<()> {
        let (lists, bare) = (counts.latencies("lists"), counts.latencies("bare"));
        ensure!(lists.count() > 0, "no list was answered");
        figures.count("lists", lists.count(), "lists");
        figures.within("p50_ms", &lists, 0.5, "half of them within (ms)");
        figures.within("p99_ms", &lists, 0.99, "99 % within (ms)");
        figures.within("bare_p50_ms", &bare, 0.5, "half of the bare queries within (ms)");
        figures.within("bare_p99_ms", &bare, 0.99, "99 % of the bare queries within (ms)");
        figures.measure("ratio", ratio(lists.ms(0.5), bare.ms(0.5)), "half of them, against half of the bare ones");
        Ok(())
    }
}

impl Arguments {
    /// Has the others write, by turns.
    fn fill(&self, target: &Target, user: &User) -> anyhow::Result<()> {
        let mut client = MessageIntServiceClient::new(target.logic());
        let first_id = random_id() % (1 << 52);
        let mut progress = Progress::new("filling", self.messages.into());
        for first in (0..self.messages).step_by(SENT_TOGETHER as usize) {
            let numbers = first..self.messages.min(first + SENT_TOGETHER);
            let item = |number: u32| SendManyAsItem {
                message: Some(SendAsRequest {
                    user_id: first_id + u64::from(number % self.conversations),
                    device_id: 1,
                    to_user_id: user.id,
                    command: 0,
                    content: vec![b'.'; self.size as usize].into(),
                    client_msg_id: number.to_string(),
                }),
                request_id: String::new(),
            };
            let request = SendManyAsRequest { items: numbers.map(item).collect() };
            let reply = target.call("MessageIntService/SendManyAs", client.send_many_as(request))?;
            let refused = reply.results.iter().find(|result| result.code != 0);
            ensure!(refused.is_none(), "a message was refused: {refused:?}");
            progress.show((first + SENT_TOGETHER).into(), || format!("{first} messages"));
        }
        Ok(())
    }

    /// Asks for the first page, and how long that took.
    fn list(&self, target: &Target, user: &User, expected: usize) -> anyhow::Result<Duration> {
        let mut client = ConversationExtServiceClient::new(target.logic());
        let request = ConversationListRequest { limit: self.limit, ..ConversationListRequest::default() };
        let request = metadata::signed(request, user.id, user.device_id, &user.token);
        let began = Instant::now();
        let page = target.call("ConversationExtService/List", client.list(request))?;
        let took = began.elapsed();
        let found = page.conversations.len();
        ensure!(found == expected, "the list has {found} conversations, {expected} were expected");
        Ok(took)
    }
}
