//! Friends: asked, agreed, listed, a message between them, and one who is blocked, over gRPC of business.

use gim_proto::{
    ResultCode,
    business::{
        AddFriendPush, AgreeAddFriendPush, FriendAddRequest, FriendAgreeRequest, FriendBlockRequest,
        FriendSendMessageRequest, SignInReply, friend_ext_service_client::FriendExtServiceClient,
    },
    connect::MessageCommand,
    logic::message_ext_service_client::MessageExtServiceClient,
    metadata,
};
use prost::Message as _;

use super::{Cast, Device, Stage, one_to_one::to_user, signed};
use crate::result::Checks;

pub fn play(stage: &Stage, cast: &mut Cast, carl: &SignInReply, checks: &mut Checks) -> anyhow::Result<()> {
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
    block(stage, cast, carl, checks)
}

/// Somebody who never wrote to Ada: logic remembers for a while who may write to whom, and business tells one node only that
/// it changed.
fn block(stage: &Stage, cast: &Cast, carl: &SignInReply, checks: &mut Checks) -> anyhow::Result<()> {
    let mut client = FriendExtServiceClient::new(stage.target.business());
    let request = FriendBlockRequest { user_id: carl.user_id };
    stage.target.call("FriendExtService/Block", client.block(signed(stage, &cast.ada_phone, request)))?;
    let mut client = MessageExtServiceClient::new(stage.target.logic());
    let mut send_to = |user_id| {
        let request = to_user(stage, user_id, "it is me, Carl");
        let request = metadata::signed(request, carl.user_id, carl.device_id, &carl.token);
        let sent = stage.target.runtime().block_on(client.send(stage.target.named(request)));
        sent.err().map(|status| ResultCode::of_status(&status))
    };
    checks.equal("Ada blocked Carl: code of what he sends to her", Some(ResultCode::NotAllowed), send_to(cast.ada()));
    checks.equal("Bob did not: code of what Carl sends to him", None, send_to(cast.bob()));
    Ok(())
}

fn friend_ids(
    stage: &Stage,
    client: &mut FriendExtServiceClient<tonic::transport::Channel>,
    device: &Device,
) -> anyhow::Result<Vec<u64>> {
    let reply = stage.target.call("FriendExtService/GetFriends", client.get_friends(signed(stage, device, ())))?;
    Ok(reply.friends.iter().map(|friend| friend.user_id).collect())
}
