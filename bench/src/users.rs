//! The users of a run: as many devices as it has connections, signed in through business, a bounded number at a time, or
//! made up. Runs on the runtime of gRPC while the scenario's thread waits.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use clap::ValueEnum;
use gim_proto::{
    business::{SignInReply, SignInRequest, user_ext_service_client::UserExtServiceClient},
    connect::{Packet, PacketCommand, SignInRequest as Credentials},
    logic,
};
use prost::Message as _;
use tokio::task::JoinSet;
use tonic::{Request, transport::Channel};

use crate::{
    backend::token_of,
    progress::Progress,
    swarm::DEADLINE,
    target::{Target, refused},
};

/// Where users have their tokens from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TokenSource {
    /// Each signs up at business.
    Business,
    /// Each signs up at business, which gives JSON Web Tokens (its setting `jwt.key_file`) that logic checks without it.
    Jwt,
    /// They are made up, and `gim-bench backend` stands in for business.
    Backend,
}

/// Sign-ins at business that are under way at the same time.
const IN_FLIGHT: usize = 256;

/// A device that may sign in on a long connection.
#[derive(Debug, Clone)]
pub struct User {
    /// Whose device it is.
    pub id: u64,
    /// Which one.
    pub device_id: u64,
    /// What it signs in with, and shows in calls.
    pub token: String,
    /// The frame that signs it in.
    pub greeting: Box<[u8]>,
}

impl User {
    fn new(user_id: u64, device_id: u64, token: String, app_id: u32) -> Self {
        let content = Credentials { user_id, device_id, token: token.clone(), app_id, heartbeat_s: 0 }.encode_to_vec();
        let command = PacketCommand::PcSignIn as i32;
        let packet = Packet { command, content: content.into(), ..Packet::default() };
        Self { id: user_id, device_id, token, greeting: packet.encode_length_delimited_to_vec().into() }
    }
}

/// New users, with a device each.
pub fn sign_up(target: &Target, source: TokenSource, code: &str, count: usize) -> anyhow::Result<Vec<User>> {
    match source {
        TokenSource::Business => sign_up_at_business(target, code, count, phone_number, |_| true),
        TokenSource::Jwt => sign_up_at_business(target, code, count, phone_number, is_jwt),
        TokenSource::Backend => Ok(make_up(target, count)),
    }
}

/// One new user, with so many devices.
pub fn sign_up_devices(target: &Target, source: TokenSource, code: &str, count: usize) -> anyhow::Result<Vec<User>> {
    if source == TokenSource::Backend {
        let user_id = made_up_id();
        let device = |number| User::new(user_id, user_id + number, token_of(user_id), target.app_id());
        return Ok((0..count as u64).map(device).collect());
    }
    let phone_number = phone_number();
    let is_right = |token: &str| source != TokenSource::Jwt || is_jwt(token);
    sign_up_at_business(target, code, count, || phone_number.clone(), is_right)
}

fn is_jwt(token: &str) -> bool {
    token.split('.').count() == 3
}

/// An id that no run before had, nor the next 2³² ones.
fn made_up_id() -> u64 {
    u64::from(rand::random::<u32>() >> 2 | 1) << 32
}

/// Users that no run before had, and no other process of this run.
fn make_up(target: &Target, count: usize) -> Vec<User> {
    let first = made_up_id();
    let user = |id: u64| User::new(id, id, token_of(id), target.app_id());
    (first..first + count as u64).map(user).collect()
}

/// Signs `count` devices in at business, each with the next phone number.
fn sign_up_at_business(
    target: &Target,
    code: &str,
    count: usize,
    mut next_phone_number: impl FnMut() -> String,
    is_right: impl Fn(&str) -> bool,
) -> anyhow::Result<Vec<User>> {
    let mut progress = Progress::new("signing up", count as u64);
    let mut users = Vec::with_capacity(count);
    target.runtime().block_on(async {
        let mut calls = JoinSet::new();
        let mut asked = 0;
        while users.len() < count {
            while asked < count && calls.len() < IN_FLIGHT {
                // Shown so that so many from one address are no flood, where the server asks services for a token.
                calls.spawn(ask(target.business(), target.internal(request(next_phone_number(), code))));
                asked += 1;
            }
            let reply = calls.join_next().await.context("no sign-in is under way")?;
            let reply = reply.context("a sign-in ended early")??;
            ensure!(is_right(&reply.token), "business gives no JSON Web Tokens: its setting jwt.key_file is empty");
            users.push(User::new(reply.user_id, reply.device_id, reply.token, target.app_id()));
            progress.show(users.len() as u64, || format!("{} of {count} users", users.len()));
        }
        Ok(users)
    })
}

/// Digits as of a phone number; 12 random ones do not meet an earlier run's.
pub fn phone_number() -> String {
    format!("9{:012}", rand::random::<u64>() % 1_000_000_000_000)
}

fn request(phone_number: String, code: &str) -> SignInRequest {
    let device = logic::Device { brand: "gim-bench".into(), ..logic::Device::default() };
    SignInRequest { phone_number, code: code.to_owned(), device: Some(device), ..SignInRequest::default() }
}

async fn ask(business: Channel, request: Request<SignInRequest>) -> anyhow::Result<SignInReply> {
    const CALL: &str = "business.UserExtService/SignIn";
    const PATIENCE: Duration = DEADLINE.saturating_mul(3);
    let mut client = UserExtServiceClient::new(business);
    let reply = tokio::time::timeout(PATIENCE, client.sign_in(request)).await;
    let reply = reply.with_context(|| format!("{CALL} was not answered within {PATIENCE:?}"))?;
    Ok(reply.map_err(|status| refused(CALL, &status))?.into_inner())
}
