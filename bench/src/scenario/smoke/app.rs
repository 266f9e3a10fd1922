//! What an app sees: a new device of each user, whose client is the SDK, shows all that the other devices have, and talks to them.

use anyhow::Context as _;
use gim_client::{Client, Event, Events, Message, Options, Sent, StartAt, text_of};
use gim_proto::business::SignInReply;
use tokio::time::timeout;

use super::{Cast, Device, Stage, order::ranges};
use crate::{result::Checks, swarm::DEADLINE, target::Target};

/// A device whose client is the SDK.
struct App<'a> {
    target: &'a Target,
    client: Client,
    events: Events,
    /// Of the inbox, in the order in which it was shown.
    shown: Vec<Message>,
}

pub fn play(stage: &Stage, cast: &mut Cast, checks: &mut Checks) -> anyhow::Result<()> {
    let mut of_ada = App::start(stage.target, &cast.ada_tablet)?;
    let mut of_bob = App::start(stage.target, &cast.bob_tablet)?;
    for (name, app, device) in
        [("Ada's tablet", &mut of_ada, &mut cast.ada_phone), ("Bob's tablet", &mut of_bob, &mut cast.bob)]
    {
        app.until("everything that was there", |event| matches!(event, Event::Synced).then_some(()))?;
        let newest = device.heartbeat()?;
        check_inbox(checks, name, &app.shown, device, newest);
    }

    let content = stage.content("from an app");
    let id =
        of_ada.target.runtime().block_on(of_ada.client.send(gim_client::Target::User(cast.bob()), content.clone()))?;
    let sent = of_ada.until("its send", |event| match event {
        Event::Sent(sent) if sent.client_msg_id == id => Some(sent.clone()),
        _ => None,
    })?;
    for (name, app) in [("Ada's tablet", &mut of_ada), ("Bob's tablet", &mut of_bob)] {
        let text = app.until_message(&sent).map(|message| text_of(&message));
        checks.arrives(format!("from an app: {name} shows"), content.clone(), text);
    }
    for device in cast.all() {
        let message_id = device.wait_for_id(sent.message_id)?.map(|message| message.message_id);
        checks.arrives(format!("from an app: {} gets message", device.name()), sent.message_id, message_id);
    }
    let listed = of_bob.target.runtime().block_on(of_bob.client.conversations().list())?;
    let newest = listed.into_iter().find(|one| one.target == gim_client::Target::User(cast.ada()));
    let newest = newest.and_then(|one| one.newest).map(|message| message.message_id);
    checks.arrives("from an app: newest of the conversation in Bob's list", sent.message_id, newest);
    Ok(())
}

fn check_inbox(checks: &mut Checks, name: &str, shown: &[Message], device: &Device, newest: u64) {
    // An inbox that was there may begin anywhere, and has gaps where seqs were raised.
    let seqs: Vec<u64> = shown.iter().map(|message| message.seq).filter(|seq| *seq > device.before()).collect();
    let expected: Vec<u64> = (device.before() + 1..=newest).collect();
    let what = format!("{name}: an app is shown every seq once, in order");
    checks.holds(what, ranges(&expected), ranges(&seqs), seqs == expected);
    let mut arrived = device.arrived().iter().filter(|message| message.seq > 0);
    let is_same =
        arrived.all(|one| shown.iter().any(|other| (other.seq, other.message_id) == (one.seq, one.message_id)));
    checks.equal(format!("{name}: what {} got has the same ids", device.name()), true, is_same);
}

impl<'a> App<'a> {
    fn start(target: &'a Target, identity: &SignInReply) -> anyhow::Result<Self> {
        let token = identity.token.clone();
        let options = Options::new(identity.user_id, identity.device_id)
            .url(target.tcp_url())
            .app_id(target.app_id())
            .start_at(StartAt::First)
            .get_token(move |_| {
                let token = token.clone();
                async { Ok(Some(token)) }
            });
        let (client, events) = target.runtime().block_on(async {
            let (client, events) = Client::new(options)?;
            client.start().await;
            anyhow::Ok((client, events))
        })?;
        Ok(Self { target, client, events, shown: Vec::new() })
    }

    /// The first event of which this is something, within the deadline.
    fn until<T>(&mut self, what: &str, mut find: impl FnMut(&Event) -> Option<T>) -> anyhow::Result<T> {
        let (events, shown) = (&mut self.events, &mut self.shown);
        let search = async {
            loop {
                let event = events.next().await.context("the client is gone")?;
                if let Event::Message(message) = &event
                    && message.seq > 0
                {
                    shown.push(message.clone());
                }
                if let Some(found) = find(&event) {
                    return Ok(found);
                }
            }
        };
        let found = self.target.runtime().block_on(async { timeout(DEADLINE, search).await });
        found.with_context(|| format!("an app did not get {what} within {DEADLINE:?}"))?
    }

    fn until_message(&mut self, sent: &Sent) -> Option<Message> {
        let is_it = |message: &Message| message.message_id == sent.message_id;
        if let Some(message) = self.shown.iter().find(|message| is_it(message)) {
            return Some(message.clone());
        }
        let found = self.until("a message", |event| match event {
            Event::Message(message) if is_it(message) => Some(message.clone()),
            _ => None,
        });
        found.ok()
    }
}
