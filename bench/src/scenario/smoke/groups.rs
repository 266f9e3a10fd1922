//! Groups: a normal one, whose messages are in the inboxes, and how it becomes a large one with a timeline of its own.
//!
//! The last act, after the books of the inboxes are closed: what comes from the timeline has the group's seqs.

use gim_proto::{
    connect::{MessageCommand, SendRequest, send_request::Target},
    logic::{
        Group, GroupCreateRequest, GroupKind, GroupMember, GroupRemoveMemberRequest, GroupUpdateRequest, SyncRequest,
        group_ext_service_client::GroupExtServiceClient, group_int_service_client::GroupIntServiceClient,
        message_ext_service_client::MessageExtServiceClient,
    },
};

use super::{Cast, Stage, signed};
use crate::result::Checks;

pub fn play(stage: &Stage, cast: &mut Cast, checks: &mut Checks) -> anyhow::Result<()> {
    let mut client = GroupExtServiceClient::new(stage.target.logic());
    let members = vec![GroupMember { user_id: cast.bob(), ..GroupMember::default() }];
    let request = GroupCreateRequest { group: Some(described(stage, 0, GroupKind::GkNormal)), members };
    let request = signed(stage, &cast.ada_phone, request);
    let group_id = stage.target.call("GroupExtService/Create", client.create(request))?.group_id;

    let in_inbox = cast.ada_phone.send(&to_group(stage, group_id, "to the group"))?;
    for device in [&mut cast.ada_laptop, &mut cast.bob] {
        let got = device.wait_for_id(in_inbox.message_id)?.map(|message| message.group_id);
        checks.arrives(format!("normal group: {} gets a message of group", device.name()), group_id, got);
    }

    let update = GroupUpdateRequest { group: Some(described(stage, group_id, GroupKind::GkLarge)) };
    let mut service = GroupIntServiceClient::new(stage.target.logic());
    stage.target.call("GroupIntService/Update", service.update(stage.target.internal(update)))?;
    // Whoever has the notice of it is in the large group, wherever the next message comes through.
    for device in cast.all() {
        device.wait_for(|message| message.command == MessageCommand::McUpdateGroup as i32)?;
    }
    let in_timeline = cast.bob.send(&to_group(stage, group_id, "to the large group"))?;
    for device in [&mut cast.ada_phone, &mut cast.ada_laptop] {
        let got = device.wait_for_id(in_timeline.message_id)?;
        let got = got.map(|message| (message.seq, message.group_seq, message.prev_group_seq));
        let expected = (0, in_timeline.seq, in_timeline.seq - 1);
        checks.arrives(format!("large group: {} gets (seq, group_seq, prev_group_seq)", device.name()), expected, got);
    }
    catch_up(stage, cast, checks, group_id, in_timeline.message_id)?;

    let leave = GroupRemoveMemberRequest { group_id, user_ids: vec![cast.bob()] };
    stage.target.call("GroupExtService/RemoveMember", client.remove_member(signed(stage, &cast.bob, leave)))?;
    let refused = cast.bob.send(&to_group(stage, group_id, "from outside"));
    checks.equal("who left a group sends to it: refused", true, refused.is_err());
    Ok(())
}

fn catch_up(stage: &Stage, cast: &Cast, checks: &mut Checks, group_id: u64, expected: u64) -> anyhow::Result<()> {
    let mut client = MessageExtServiceClient::new(stage.target.logic());
    let request = SyncRequest { large_groups: true, ..SyncRequest::default() };
    let request = signed(stage, &cast.bob, request);
    let reply = stage.target.call("MessageExtService/Sync", client.sync(request))?;
    let page = reply.groups.iter().find(|page| page.group_id == group_id);
    let found: Vec<u64> = page.into_iter().flat_map(|page| &page.messages).map(|message| message.message_id).collect();
    checks.equal("large group: a sync finds what was sent since it is one", vec![expected], found);
    Ok(())
}

fn described(stage: &Stage, id: u64, kind: GroupKind) -> Group {
    Group { id, name: stage.content("smoke"), kind: kind as i32, ..Group::default() }
}

fn to_group(stage: &Stage, group_id: u64, words: &str) -> SendRequest {
    SendRequest {
        target: Some(Target::GroupId(group_id)),
        command: 0,
        content: stage.content(words).into(),
        client_msg_id: stage.content(words),
    }
}
