//! Friends: asked, agreed, listed, a message between them, and one who is blocked, over gRPC of business.

use std::{
    thread,
    time::{Duration, Instant},
};

use gim_proto::{
    ResultCode,
    business::{
        AddFriendPush, AgreeAddFriendPush, FriendAddRequest, FriendAgreeRequest, FriendBlockRequest,
        FriendSendMessageRequest, friend_ext_service_client::FriendExtServiceClient,
    },
    connect::MessageCommand,
};
use prost::Message as _;

use super::{Cast, Device, Stage, one_to_one::to_user, signed};
use crate::{report::Checks, target::DEADLINE};

/// Between two tries whether a block is known everywhere.
const POLL_INTERVAL: Duration = Duration::from_millis(200);

pub fn play(stage: &Stage, cast: &mut Cast, checks: &mut Checks) -> anyhow::Result<()> {
    let mut client = FriendExtServiceClient::new(stage.target.business());
    let target = stage.target;

    let request = FriendAddRequest { friend_id: cast.ada(), remarks: "Ada".into(), description: stage.content("hi") };
    target.call("FriendExtService/Add", client.add(signed(stage, &cast.bob, request)))?;
    let expected = (cast.bob(), stage.content("hi"));
    for device in [&mut cast.ada_phone, &mut cast.ada_laptop] {
        let message = device.wait_for(|message| message.command == MessageCommand::McAddFriend as i32)?;
        let push = message.map(|message| AddFriendPush::decode(message.content)).transpose()?;
        let got = push.map(|push| (push.friend_id, push.description));
        checks.arrives(format!("Bob asks Ada to be a friend: {} gets", device.name()), expected.clone(), got);
    }

    let request = FriendAgreeRequest { user_id: cast.bob(), remarks: "Bob".into() };
    target.call("FriendExtService/Agree", client.agree(signed(stage, &cast.ada_phone, request)))?;
    let message = cast.bob.wait_for(|message| message.command == MessageCommand::McAgreeAddFriend as i32)?;
    let push = message.map(|message| AgreeAddFriendPush::decode(message.content)).transpose()?;
    checks.arrives("Ada agrees: Bob gets", cast.ada(), push.map(|push| push.friend_id));

    for (device, friend) in [(&cast.ada_phone, cast.bob()), (&cast.bob, cast.ada())] {
        let what = format!("{}: GetFriends", device.name());
        checks.equal(what, vec![friend], friend_ids(stage, &mut client, device)?);
    }

    let request = FriendSendMessageRequest {
        user_id: cast.ada(),
        content: stage.content("to a friend").into(),
        ..FriendSendMessageRequest::default()
    };
    let reply = target.call("FriendExtService/SendMessage", client.send_message(signed(stage, &cast.bob, request)))?;
    for device in [&mut cast.ada_phone, &mut cast.ada_laptop] {
        let command = device.wait_for_id(reply.message_id)?.map(|message| message.command);
        checks.arrives(format!("message to a friend: {} gets command", device.name()), 1, command);
    }
    block(stage, cast, checks)
}

fn block(stage: &Stage, cast: &mut Cast, checks: &mut Checks) -> anyhow::Result<()> {
    let mut client = FriendExtServiceClient::new(stage.target.business());
    let request = FriendBlockRequest { user_id: cast.bob() };
    stage.target.call("FriendExtService/Block", client.block(signed(stage, &cast.ada_phone, request)))?;
    let not_allowed = ResultCode::NotAllowed.number();
    checks.equal("Ada blocks Bob: code of what he sends", not_allowed, await_code(stage, cast, not_allowed)?);
    stage.target.call("FriendExtService/Unblock", client.unblock(signed(stage, &cast.ada_phone, request)))?;
    checks.equal("Ada lets Bob write again: code of what he sends", 0, await_code(stage, cast, 0)?);
    let answer = cast.ada_phone.send(&to_user(stage, cast.bob(), "you may"))?;
    let command = cast.bob.wait_for_id(answer.message_id)?.map(|message| message.command);
    checks.arrives("Ada answers: Bob gets command", 1, command);
    Ok(())
}

/// Bob sends to Ada until he is answered with this code. A logic node that business did not tell goes by what it knew for a
/// while.
fn await_code(stage: &Stage, cast: &mut Cast, expected: i32) -> anyhow::Result<i32> {
    let deadline = Instant::now() + 2 * DEADLINE;
    loop {
        let code = cast.bob.try_send(&to_user(stage, cast.ada(), "may I?"))?;
        if code == expected || Instant::now() > deadline {
            return Ok(code);
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn friend_ids(
    stage: &Stage,
    client: &mut FriendExtServiceClient<tonic::transport::Channel>,
    device: &Device,
) -> anyhow::Result<Vec<u64>> {
    let reply = stage.target.call("FriendExtService/GetFriends", client.get_friends(signed(stage, device, ())))?;
    Ok(reply.friends.iter().map(|friend| friend.user_id).collect())
}
