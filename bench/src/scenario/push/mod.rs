//! How soon is a device woken that is away, and is every other left alone?
//!
//! Messages are stored at a rate, by turns for devices that are away and for devices that are connected and acknowledge them, and a
//! receiver of offline pushes stands in this process. What counts is how long after it was meant to leave a message is handed out, whether each is, and
//! once, and that nothing is for who is there. Logic has to be set to tell this receiver (`[offline_push]`), as `scripts/push` does. The main
//! thread waits; everything is on the runtime of the target.

mod ledger;
mod online;
mod sending;

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use anyhow::ensure;
use gim_proto::logic::{Device, DeviceSaveRequest, device_int_service_client::DeviceIntServiceClient};
use serde_json::json;
use tokio::task::JoinSet;

use self::{ledger::PushLedger, online::Online, sending::Sending};
use crate::{
    load::ensure_rate,
    result::{Figures, Outcome},
    stats::Schedule,
    target::{Target, TargetArguments, refused},
    users::{self, TokenSource, User},
    webhook::{Take, WebhookListener},
};

/// Users who write.
const SENDERS: usize = 64;

/// Devices that are told logic at the same time.
const DEVICES_TOGETHER: usize = 64;

/// When nothing more was handed out for so long, nothing more comes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks.
const TURN: Duration = Duration::from_millis(100);

/// Arguments of `push`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// The code that lets a phone number sign in
    #[arg(long, value_name = "CODE", default_value = "123456")]
    code: String,
    /// Messages per second, half of them for devices that are away
    #[arg(long, value_name = "N", default_value_t = 1_000.0)]
    rate: f64,
    /// Seconds for which they are sent
    #[arg(long, value_name = "N", default_value_t = 20)]
    seconds: u64,
    /// Devices that are away
    #[arg(long, value_name = "N", default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    away: u32,
    /// Devices that are connected
    #[arg(long, value_name = "N", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    online: u32,
    /// Where logic hands pushes out: the address in its offline_push.webhook
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9191")]
    listen: SocketAddr,
    /// Seconds for which it is waited, at the end, for pushes to who is there: longer than logic's offline_push.unacknowledged_s
    #[arg(long, value_name = "N", default_value_t = 25)]
    settle: u64,
    /// Fails where more than one in a hundred takes longer
    #[arg(long, value_name = "MS")]
    within_ms: Option<u32>,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Outcome {
    let started = Instant::now();
    let mut figures = Figures::default();
    let ended = go(arguments, &mut figures);
    let mut config = arguments.target.to_json();
    for (key, value) in [
        ("rate", json!(arguments.rate)),
        ("seconds", json!(arguments.seconds)),
        ("away", json!(arguments.away)),
        ("online", json!(arguments.online)),
        ("settle", json!(arguments.settle)),
        ("within_ms", json!(arguments.within_ms)),
    ] {
        config[key] = value;
    }
    Outcome { figures, ..Outcome::of("push", config, started, ended) }
}

fn go(arguments: &Arguments, figures: &mut Figures) -> anyhow::Result<()> {
    arguments.target.ensure_tcp()?;
    ensure_rate("rate", Some(arguments.rate))?;
    let target = Target::reach(&arguments.target, &format!("{:08x}", rand::random::<u32>()))?;
    let (away, online) = (arguments.away as usize, arguments.online as usize);
    let users = users::sign_up(&target, TokenSource::Business, &arguments.code, SENDERS + away + online)?;
    let (senders, users) = users.split_at(SENDERS);
    let (absent, present) = users.split_at(away);
    let ledger =
        Arc::new(Mutex::new(PushLedger::new(absent.iter().map(|user| user.id), present.iter().map(|user| user.id))));
    let sending = Sending {
        channel: target.logic(),
        internal_token: target.internal_token().to_owned(),
        senders: senders.iter().map(|sender| sender.id).collect(),
        receivers: by_turns(absent, present),
    };
    let ended = target.runtime().clone().block_on(play(arguments, &target, users, away, sending, ledger.clone()));
    let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
    let sent = ended?;
    tell(&ledger, sent, arguments, figures);
    judge(&ledger, arguments)
}

/// One who is away, one who is there, and so on.
fn by_turns(absent: &[User], present: &[User]) -> Vec<u64> {
    let rounds = absent.len().max(present.len());
    let both = absent.iter().cycle().zip(present.iter().cycle()).take(rounds);
    both.flat_map(|(absent, present)| [absent.id, present.id]).collect()
}

/// Returns how many messages left, and how many of them late through our fault.
async fn play(
    arguments: &Arguments,
    target: &Target,
    users: &[User],
    away: usize,
    sending: Sending,
    ledger: Arc<Mutex<PushLedger>>,
) -> anyhow::Result<(u32, u32)> {
    let noting = ledger.clone();
    let take: Take = Arc::new(move |body| {
        noting.lock().unwrap_or_else(PoisonError::into_inner).note(body, Instant::now());
        true
    });
    let _receiver = WebhookListener::start(arguments.listen, take).await?;
    give_push_ids(&sending, users).await?;
    let online = Online::connect(target, &users[away..]).await?;
    // Of devices that never acknowledged anything, nothing can be told by that they do not: each gets a first message.
    sending.greet(&users[away..]).await?;
    online.await_messages(1).await?;
    let schedule = Schedule::new(Instant::now(), arguments.rate);
    let schedule = schedule.until(Instant::now() + Duration::from_secs(arguments.seconds));
    let sent = sending.send_on_time(schedule, &ledger).await?;
    let (mut settled, mut handed_out, mut changed_at) = (Duration::from_secs(arguments.settle), 0, Instant::now());
    loop {
        let (now_handed_out, is_whole) = {
            let ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            (ledger.handed_out(), ledger.waiting() == 0)
        };
        if now_handed_out > handed_out {
            (handed_out, changed_at) = (now_handed_out, Instant::now());
        }
        if is_whole || changed_at.elapsed() > PATIENCE {
            settled = settled.saturating_sub(TURN);
        }
        if settled.is_zero() {
            return Ok(sent);
        }
        tokio::time::sleep(TURN).await;
    }
}

/// Says where each device is reached.
async fn give_push_ids(sending: &Sending, users: &[User]) -> anyhow::Result<()> {
    for some in users.chunks(DEVICES_TOGETHER) {
        let mut calls = JoinSet::new();
        for user in some {
            let device = Device {
                id: user.device_id,
                r#type: 2,
                branch_push_id: format!("bench-{}", user.device_id),
                ..Device::default()
            };
            let request = sending.internal(DeviceSaveRequest { device: Some(device), user_id: user.id });
            let mut client = DeviceIntServiceClient::new(sending.channel.clone());
            calls.spawn(async move { client.save(request).await });
        }
        while let Some(ended) = calls.join_next().await {
            ended?.map_err(|status| refused("logic.DeviceIntService/Save", &status))?;
        }
    }
    Ok(())
}

fn tell(ledger: &PushLedger, (sent, late): (u32, u32), arguments: &Arguments, figures: &mut Figures) {
    figures.measure("offered_per_second", arguments.rate, "messages per second");
    let achieved = f64::from(sent) / Duration::from_secs(arguments.seconds).as_secs_f64();
    figures.measure("achieved_per_second", achieved, "of them that left");
    figures.count("late", late.into(), "messages that left late through our fault");
    figures.count("stored_for_away", ledger.stored(), "messages stored for devices that are away");
    figures.count("handed_out", ledger.handed_out(), "of them that were handed out");
    figures.count("lost", ledger.waiting(), "of them that never were");
    figures.count("pushes", ledger.pushes, "pushes, which may stand for several of a conversation");
    figures.count("repeated", ledger.repeated, "pushes that came again");
    figures.count("online", ledger.online, "pushes to devices that are connected");
    for (key, share) in [("handed_out_p50_ms", 0.5), ("handed_out_p99_ms", 0.99), ("handed_out_max_ms", 1.0)] {
        let words = format!("{} % of them are handed out within so long (ms)", share * 100.0);
        figures.within(key, &ledger.latencies, share, words);
    }
}

fn judge(ledger: &PushLedger, arguments: &Arguments) -> anyhow::Result<()> {
    ensure!(ledger.stored() > 0, "nothing was stored for anybody who is away");
    ensure!(ledger.waiting() == 0, "{} messages were never handed out", ledger.waiting());
    ensure!(ledger.repeated == 0, "{} pushes came again", ledger.repeated);
    ensure!(ledger.online == 0, "{} pushes were for devices that are connected", ledger.online);
    if let Some(bound) = arguments.within_ms {
        let took = ledger.latencies.ms(0.99);
        ensure!(
            took <= f64::from(bound),
            "one message in a hundred took more than {took:.0} ms, and {bound} are allowed"
        );
    }
    Ok(())
}
