//! `users`: who somebody is and where connected, and an end to what was given to them.

use gim_proto::{
    business::{GetUsersRequest, RevokeTokensRequest, User, user_int_service_client::UserIntServiceClient},
    logic::{
        DeviceType, KickUserRequest, ListOnlineRequest, OnlineDevice, RevokeRequest,
        access_int_service_client::AccessIntServiceClient, device_int_service_client::DeviceIntServiceClient,
        operator_int_service_client::OperatorIntServiceClient,
    },
};
use serde_json::json;

use crate::{
    answer::{Answer, table},
    remote::{Remote, RemoteArguments, RemoteError},
};

/// What to do with users.
#[derive(Debug, clap::Subcommand)]
pub enum UsersCommand {
    /// Who they are, as business says, and the devices on which they are connected
    Get {
        /// Users
        #[arg(required = true, value_name = "USER_ID", value_parser = clap::value_parser!(u64).range(1..))]
        user_ids: Vec<u64>,
        #[command(flatten)]
        remote: RemoteArguments,
    },
    /// Closes the connections of a user; the tokens stay good, and clients come back
    Kick(OneUser),
    /// Makes the tokens of a user worthless that were given out by now, and closes the connections that were let in with them
    Revoke(OneUser),
}

/// A user, or one device of a user.
#[derive(Debug, clap::Args)]
pub struct OneUser {
    /// The user
    #[arg(value_name = "USER_ID", value_parser = clap::value_parser!(u64).range(1..))]
    user_id: u64,
    /// Only on this device
    #[arg(long = "device", value_name = "DEVICE_ID", default_value_t = 0, hide_default_value = true)]
    device_id: u64,
    #[command(flatten)]
    remote: RemoteArguments,
}

/// Does it.
pub async fn run(command: UsersCommand) -> Result<Answer, RemoteError> {
    match command {
        UsersCommand::Get { user_ids, remote } => get(&user_ids, &remote).await,
        UsersCommand::Kick(whom) => kick(&whom).await,
        UsersCommand::Revoke(whom) => revoke(&whom).await,
    }
}

async fn get(user_ids: &[u64], remote: &RemoteArguments) -> Result<Answer, RemoteError> {
    let cards = cards(user_ids, remote).await?;
    let (has_business, cards) = (cards.is_some(), cards.unwrap_or_default());
    let logic = remote.logic()?;
    let request = ListOnlineRequest { user_ids: user_ids.to_vec() };
    let reply = DeviceIntServiceClient::new(logic.channel.clone()).list_online(Remote::request(request)).await;
    let devices = reply.map_err(|status| logic.error("DeviceIntService/ListOnline", &status))?.into_inner().devices;
    let (mut rows, mut told, mut unknown) = (Vec::new(), Vec::new(), 0);
    for &user_id in user_ids {
        let card = cards.iter().find(|card| card.user_id == user_id);
        let own: Vec<_> = devices.iter().filter(|device| device.user_id == user_id).collect();
        let nickname = card.map(|card| card.nickname.clone()).unwrap_or_default();
        let is_unknown = has_business && card.is_none();
        unknown += usize::from(is_unknown);
        let absent = if is_unknown { "no such user" } else { "not connected" };
        let row = |device: Option<&&OnlineDevice>| {
            let place = device.map_or_else(
                || [absent.to_owned(), String::new(), String::new()],
                |device| [device.device_id.to_string(), type_of(device).to_owned(), device.node.clone()],
            );
            [vec![user_id.to_string(), nickname.clone()], place.to_vec()].concat()
        };
        if own.is_empty() {
            rows.push(row(None));
        }
        rows.extend(own.iter().map(|device| row(Some(device))));
        let online = own.iter().map(|device| {
            json!({"device_id": device.device_id, "type": type_of(device), "node": device.node, "since_ms": device.since_ms})
        });
        told.push(json!({
            "user_id": user_id,
            "is_known": card.is_some(),
            "nickname": card.map(|card| &card.nickname),
            "created_at_s": card.map(|card| card.create_time),
            "devices": online.collect::<Vec<_>>(),
        }));
    }
    let text = table(&["user", "nickname", "device", "type", "node"], &rows);
    Ok(Answer { text, json: json!({ "users": told }), is_good: unknown == 0 })
}

/// What business knows of them; nothing where there is none.
async fn cards(user_ids: &[u64], remote: &RemoteArguments) -> Result<Option<Vec<User>>, RemoteError> {
    let Some(business) = remote.business()? else { return Ok(None) };
    let request = GetUsersRequest { user_ids: user_ids.iter().map(|&user_id| (user_id, 0)).collect() };
    let reply = UserIntServiceClient::new(business.channel.clone()).get_users(Remote::request(request)).await;
    let users = reply.map_err(|status| business.error("UserIntService/GetUsers", &status))?.into_inner().users;
    Ok(Some(users.into_values().collect()))
}

async fn kick(&OneUser { user_id, device_id, ref remote }: &OneUser) -> Result<Answer, RemoteError> {
    let logic = remote.logic()?;
    let request = KickUserRequest { user_id, device_id };
    let reply = OperatorIntServiceClient::new(logic.channel.clone()).kick_user(Remote::request(request)).await;
    let reply = reply.map_err(|status| logic.error("OperatorIntService/KickUser", &status))?.into_inner();
    let text = format!("{} connections of user {user_id} are closed", reply.connections);
    Ok(Answer::good(text, json!({"user_id": user_id, "device_id": device_id, "connections": reply.connections})))
}

/// Business tells logic; where a backend has taken its place, logic is told here.
async fn revoke(&OneUser { user_id, device_id, ref remote }: &OneUser) -> Result<Answer, RemoteError> {
    if let Some(business) = remote.business()? {
        let request = RevokeTokensRequest { user_id, device_id };
        let reply = UserIntServiceClient::new(business.channel.clone()).revoke_tokens(Remote::request(request)).await;
        reply.map_err(|status| business.error("UserIntService/RevokeTokens", &status))?;
    } else {
        let logic = remote.logic()?;
        let request = RevokeRequest { user_id, device_id, not_before_ms: 0 };
        let reply = AccessIntServiceClient::new(logic.channel.clone()).revoke(Remote::request(request)).await;
        reply.map_err(|status| logic.error("AccessIntService/Revoke", &status))?;
    }
    let of_device = if device_id == 0 { String::new() } else { format!(" on device {device_id}") };
    let text = format!("the tokens of user {user_id}{of_device} are worthless, and the connections are closed");
    Ok(Answer::good(text, json!({"user_id": user_id, "device_id": device_id, "revoked": true})))
}

fn type_of(device: &OnlineDevice) -> &'static str {
    match device.r#type() {
        DeviceType::DtDefault => "unknown",
        DeviceType::DtAndroid => "android",
        DeviceType::DtIos => "ios",
        DeviceType::DtWindows => "windows",
        DeviceType::DtMacos => "macos",
        DeviceType::DtWeb => "web",
    }
}
