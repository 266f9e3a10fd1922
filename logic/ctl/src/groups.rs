//! `groups`: what a group is, and who is in it.

use gim_proto::logic::{
    Group, GroupGetMembersRequest, GroupGetRequest, GroupKind, GroupMember, MemberType,
    group_int_service_client::GroupIntServiceClient,
};
use serde_json::{Value, json};

use crate::{
    answer::{Answer, table},
    remote::{Remote, RemoteArguments, RemoteError},
};

/// Members in one page of logic.
const PAGE_MEMBERS: usize = 100;

/// Which group, and how much of it.
#[derive(Debug, clap::Args)]
pub struct GroupsArguments {
    /// The group
    #[arg(value_name = "GROUP_ID", value_parser = clap::value_parser!(u64).range(1..))]
    group_id: u64,
    /// Most members that are listed
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    members: usize,
    #[command(flatten)]
    remote: RemoteArguments,
}

/// Shows it.
pub async fn run(arguments: &GroupsArguments) -> Result<Answer, RemoteError> {
    let logic = arguments.remote.logic()?;
    let mut client = GroupIntServiceClient::new(logic.channel.clone());
    let reply = client.get(Remote::request(GroupGetRequest { group_id: arguments.group_id })).await;
    let reply = reply.map_err(|status| logic.error("GroupIntService/Get", &status))?.into_inner();
    let group = reply.group.unwrap_or_default();
    let mut members: Vec<GroupMember> = Vec::new();
    while members.len() < arguments.members {
        let limit = PAGE_MEMBERS.min(arguments.members - members.len());
        let request = GroupGetMembersRequest {
            group_id: arguments.group_id,
            after_user_id: members.last().map_or(0, |member| member.user_id),
            limit: u32::try_from(limit).unwrap_or(u32::MAX),
        };
        let page = client.get_members(Remote::request(request)).await;
        let page = page.map_err(|status| logic.error("GroupIntService/GetMembers", &status))?.into_inner();
        members.extend(page.members);
        if !page.has_more {
            break;
        }
    }
    Ok(Answer::good(text_of(&group, &members), json_of(&group, &members)))
}

fn text_of(group: &Group, members: &[GroupMember]) -> String {
    let Group { id, name, member_count, .. } = group;
    let head = format!("group {id} \"{}\": {}, {member_count} members", name.escape_debug(), kind_of(group));
    let row = |member: &GroupMember| {
        vec![member.user_id.to_string(), type_of(member).to_owned(), member.nickname.escape_debug().to_string()]
    };
    let rows: Vec<_> = members.iter().map(row).collect();
    let rest = u64::from(*member_count).saturating_sub(members.len() as u64);
    let more = if rest == 0 { String::new() } else { format!("\nand {rest} more") };
    format!("{head}\n{}{more}", table(&["user", "is", "nickname"], &rows))
}

fn json_of(group: &Group, members: &[GroupMember]) -> Value {
    let member =
        |member: &GroupMember| json!({"user_id": member.user_id, "type": type_of(member), "nickname": member.nickname});
    let members: Vec<_> = members.iter().map(member).collect();
    json!({"group_id": group.id, "name": group.name, "kind": kind_of(group), "member_count": group.member_count, "members": members})
}

fn kind_of(group: &Group) -> &'static str {
    match group.kind() {
        GroupKind::GkNormal => "normal",
        GroupKind::GkLarge => "large",
    }
}

fn type_of(member: &GroupMember) -> &'static str {
    match member.r#type() {
        MemberType::MtAdmin => "admin",
        MemberType::MtMember | MemberType::MtUnknown => "member",
    }
}
