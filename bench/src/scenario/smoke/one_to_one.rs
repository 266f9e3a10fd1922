//! One-to-one: sends over the long connection, a retried one, a burst, and pushes of a backend.

use std::fmt;

use gim_proto::{
    connect::{Message, MessageCommand, SendReply, SendRequest, send_request::Target},
    logic::UserMessagePush,
};
use prost::Message as _;

use super::{APP_COMMAND, Cast, Stage, settle};
use crate::result::Checks;

/// Sends that are on the wire before the first reply is read.
const BURST: usize = 20;

pub fn play(stage: &Stage, cast: &mut Cast, checks: &mut Checks) -> anyhow::Result<()> {
    there(stage, cast, checks)?;
    back(stage, cast, checks)?;
    burst(stage, cast, checks)?;
    pushes(stage, cast, checks)
}

fn there(stage: &Stage, cast: &mut Cast, checks: &mut Checks) -> anyhow::Result<()> {
    let request = to_user(stage, cast.bob(), "hello Bob");
    let reply = cast.ada_phone.send(&request)?;
    let before = cast.ada_phone.before();
    checks.equal("Ada → Bob: reply seq, duplicate", (before + 1, false), (reply.seq, reply.duplicate));
    let (from, to) = (cast.ada(), cast.bob());
    for device in [&mut cast.bob, &mut cast.ada_laptop] {
        let (content, prev_seq) = (text(&request), device.before());
        let expected = Seen { command: 1, from, to, content, seq: prev_seq + 1, prev_seq };
        let message = device.wait_for_id(reply.message_id)?;
        checks.arrives(format!("Ada → Bob: {} gets", device.name()), expected, seen(message)?);
    }
    let again = cast.ada_phone.send(&request)?;
    let retried = SendReply { duplicate: true, ..reply };
    checks.equal("Ada → Bob retried: the same reply, duplicate", true, again == retried);
    Ok(())
}

fn back(stage: &Stage, cast: &mut Cast, checks: &mut Checks) -> anyhow::Result<()> {
    let request = to_user(stage, cast.ada(), "hello Ada");
    let reply = cast.bob.send(&request)?;
    let prev_seq = cast.ada_phone.before() + 1;
    let (from, to, content) = (cast.bob(), cast.ada(), text(&request));
    let expected = Seen { command: 1, from, to, content, seq: prev_seq + 1, prev_seq };
    for device in [&mut cast.ada_phone, &mut cast.ada_laptop] {
        let message = device.wait_for_id(reply.message_id)?;
        checks.arrives(format!("Bob → Ada: {} gets", device.name()), expected.clone(), seen(message)?);
    }
    Ok(())
}

fn burst(stage: &Stage, cast: &mut Cast, checks: &mut Checks) -> anyhow::Result<()> {
    let requests: Vec<_> = (0..BURST).map(|number| to_user(stage, cast.bob(), &format!("burst {number}"))).collect();
    let before = cast.bob.arrived().len();
    let replies = cast.ada_phone.send_burst(&requests)?;
    if let Some(last) = replies.iter().max_by_key(|reply| reply.seq) {
        settle([&mut cast.bob, &mut cast.ada_laptop], last.message_id)?;
    }
    let wrapped = cast.bob.arrived()[before..].iter().filter(|message| message.command == 1);
    let contents: Vec<_> = wrapped.map(content_of).collect::<Result<_, _>>()?;
    let expected: Vec<_> = requests.iter().map(text).collect();
    let words = if contents == expected { "as sent" } else { "another order, or not all" };
    checks.holds(format!("{BURST} sends at once: order at Bob"), "as sent", words, contents == expected);
    Ok(())
}

fn pushes(stage: &Stage, cast: &mut Cast, checks: &mut Checks) -> anyhow::Result<()> {
    let everybody = [cast.ada(), cast.bob()];
    for (content, is_persist) in [("persisted push", true), ("fleeting push", false)] {
        let content = stage.content(content);
        let message_id = stage.push_to_users(&everybody, &content, is_persist)?;
        for device in cast.all() {
            let message = device.wait_for_id(message_id)?;
            let got = message.map(|message| (message.command, message.seq > 0, message.content == content.as_bytes()));
            let what = format!("{} push: {} gets (command, has seq, content)", kind(is_persist), device.name());
            checks.arrives(what, (APP_COMMAND, is_persist, true), got);
        }
    }
    Ok(())
}

fn kind(is_persist: bool) -> &'static str {
    if is_persist { "persisted" } else { "fleeting" }
}

/// What a receiver sees of a one-to-one message.
#[derive(Clone, PartialEq)]
struct Seen {
    seq: u64,
    prev_seq: u64,
    command: i32,
    from: u64,
    to: u64,
    content: String,
}

impl fmt::Debug for Seen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seq, prev_seq, command, from, to, content } = self;
        write!(formatter, "seq {seq} after {prev_seq}, command {command}, {from} → {to}: {content}")
    }
}

fn seen(message: Option<Message>) -> anyhow::Result<Option<Seen>> {
    let Some(message) = message else { return Ok(None) };
    let push = UserMessagePush::decode(message.content)?;
    Ok(Some(Seen {
        seq: message.seq,
        prev_seq: message.prev_seq,
        command: message.command,
        from: push.from_user.unwrap_or_default().user_id,
        to: push.to_user_id,
        content: String::from_utf8_lossy(&push.content).into_owned(),
    }))
}

fn content_of(message: &Message) -> anyhow::Result<String> {
    let push = UserMessagePush::decode(message.content.clone())?;
    Ok(String::from_utf8_lossy(&push.content).into_owned())
}

/// A send that can be repeated.
pub fn to_user(stage: &Stage, user_id: u64, words: &str) -> SendRequest {
    SendRequest {
        target: Some(Target::UserId(user_id)),
        command: MessageCommand::McUserMessage as i32,
        content: stage.content(words).into(),
        client_msg_id: format!("{:016x}", rand::random::<u64>()),
    }
}

fn text(request: &SendRequest) -> String {
    String::from_utf8_lossy(&request.content).into_owned()
}
