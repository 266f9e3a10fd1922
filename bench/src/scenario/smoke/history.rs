//! What two said to each other, read backwards; and a message that its sender takes back.

use gim_proto::{
    connect::{Message, MessageStatus},
    logic::{
        HistoryRequest, RecallRequest, history_request::Peer, message_ext_service_client::MessageExtServiceClient,
    },
};

use super::{Cast, Device, Stage, one_to_one::to_user, settle, signed};
use crate::result::Checks;

pub fn play(stage: &Stage, cast: &mut Cast, checks: &mut Checks) -> anyhow::Result<()> {
    let (ada, bob) = (cast.ada(), cast.bob());
    let slip = cast.ada_phone.send(&to_user(stage, bob, "a slip of the tongue"))?.message_id;
    settle([&mut cast.ada_laptop, &mut cast.bob], slip)?;
    let answer = cast.bob.send(&to_user(stage, ada, "what did you say?"))?.message_id;
    settle([&mut cast.ada_phone, &mut cast.ada_laptop], answer)?;
    for (device, peer) in [(&cast.ada_laptop, bob), (&cast.bob, ada)] {
        let what = format!("{}: the newest two of the conversation, newest first", device.name());
        let expected = vec![(answer, MessageStatus::MsNormal), (slip, MessageStatus::MsNormal)];
        checks.equal(what, expected, history(stage, device, peer)?);
    }

    let mut client = MessageExtServiceClient::new(stage.target.logic());
    let by_bob = signed(stage, &cast.bob, RecallRequest { message_id: slip });
    let refused = stage.target.call("MessageExtService/Recall", client.recall(by_bob)).is_err();
    checks.equal("Bob recalls what Ada said: refused", true, refused);
    let by_ada = signed(stage, &cast.ada_laptop, RecallRequest { message_id: slip });
    stage.target.call("MessageExtService/Recall", client.recall(by_ada))?;
    let is_recall = |message: &Message| message.message_id == slip && message.status() == MessageStatus::MsRecalled;
    for device in cast.all() {
        let is_empty = device.wait_for(is_recall)?.map(|message| message.content.is_empty());
        checks.arrives(format!("Ada recalls: {} gets it without content", device.name()), true, is_empty);
    }
    let expected = vec![(answer, MessageStatus::MsNormal), (slip, MessageStatus::MsRecalled)];
    checks.equal("Bob: the conversation after the recall", expected, history(stage, &cast.bob, ada)?);
    Ok(())
}

fn history(stage: &Stage, device: &Device, peer: u64) -> anyhow::Result<Vec<(u64, MessageStatus)>> {
    let request =
        HistoryRequest { peer: Some(Peer::UserId(peer)), before_seq: 0, limit: 2, ..HistoryRequest::default() };
    let mut client = MessageExtServiceClient::new(stage.target.logic());
    let reply = stage.target.call("MessageExtService/History", client.history(signed(stage, device, request)))?;
    Ok(reply.messages.iter().map(|message| (message.message_id, message.status())).collect())
}
