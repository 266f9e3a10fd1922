//! Does every message arrive, once, in order, with the right seq?
//!
//! Three new users sign in, or two whose tokens are given, one of them on two devices, and go through what a chat does: one-to-one, history and
//! recall, friends, pushes of a backend, a room, everybody, a device that is away and comes back, groups, apps on the SDK, the ends of
//! connections. (But for the apps they speak the wire themselves, because they look at what an app never sees.) Others may use the server meanwhile: users, room and
//! contents are new in each run, and what was not sent by this run is passed over.

mod app;
mod device;
mod ends;
mod friends;
mod groups;
mod history;
mod many;
mod offline;
mod one_to_one;
mod order;
mod tokens;

use std::{path::PathBuf, time::Instant};

use anyhow::Context as _;
use gim_proto::{ResultCode, business, logic, metadata};

use self::device::Device;
use crate::{
    result::{Checks, Outcome},
    target::{Target, TargetArguments},
    users::phone_number,
};

/// Arguments of `smoke`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    target: TargetArguments,
    /// The code that lets a phone number sign in
    #[arg(long, value_name = "CODE", default_value = "123456", conflicts_with = "tokens")]
    code: String,
    /// A file with tokens, where nobody signs in with a code: five lines `USER DEVICE TOKEN`, the first three of one user, two of another.
    /// Friends, which are business' own, and the revocation of a token are left out then
    #[arg(long, value_name = "FILE")]
    tokens: Option<PathBuf>,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Outcome {
    let started = Instant::now();
    let mut checks = Checks::default();
    let ended = go(arguments, &mut checks);
    Outcome { checks, ..Outcome::of("smoke", arguments.target.to_json(), started, ended) }
}

fn go(arguments: &Arguments, checks: &mut Checks) -> anyhow::Result<()> {
    arguments.target.ensure_tcp()?;
    let run = format!("{:08x}", rand::random::<u32>());
    let (target, identities, carl) = match &arguments.tokens {
        Some(file) => {
            let identities = tokens::read(file)?;
            (Target::reach_without_business(&arguments.target, &run)?, identities, None)
        }
        None => {
            let target = Target::reach(&arguments.target, &run)?;
            let (identities, carl) = sign_up(&target, &arguments.code, checks).context("sign-in")?;
            (target, identities, Some(carl))
        }
    };
    let mut cast = sign_in(&target, identities, checks).context("sign-in")?;
    let stage = Stage { target: &target, run: &run };
    one_to_one::play(&stage, &mut cast, checks).context("one-to-one")?;
    history::play(&stage, &mut cast, checks).context("history and recall")?;
    if let Some(carl) = &carl {
        friends::play(&stage, &mut cast, carl, checks).context("friends")?;
    }
    many::play(&stage, &mut cast, checks).context("room and all")?;
    offline::play(&stage, &mut cast, checks).context("offline")?;
    order::check(&stage, &mut cast, checks).context("order")?;
    groups::play(&stage, &mut cast, checks).context("groups")?;
    app::play(&stage, &mut cast, checks).context("apps")?;
    ends::play(&stage, &mut cast, carl.is_some(), checks).context("ends of connections")
}

/// What every act needs.
struct Stage<'a> {
    target: &'a Target,
    run: &'a str,
}

impl Stage<'_> {
    /// A content that only this run sends.
    fn content(&self, words: &str) -> String {
        format!("{words} ({})", self.run)
    }

    /// A backend's push; returns the message id.
    fn push_to_users(&self, user_ids: &[u64], content: &str, is_persist: bool) -> anyhow::Result<u64> {
        let request = logic::PushToUsersRequest {
            user_ids: user_ids.to_vec(),
            command: APP_COMMAND,
            content: content.to_owned().into(),
            is_persist,
            ..logic::PushToUsersRequest::default()
        };
        let mut client = logic::message_int_service_client::MessageIntServiceClient::new(self.target.logic());
        let reply = self.target.call("PushToUsers", client.push_to_users(self.target.internal(request)))?;
        Ok(reply.message_id)
    }
}

/// Waits for a message. One that comes through another logic node now does not overtake it: in a cluster only `prev_seq`, and the
/// sync that a gap asks for, put those in order, and here each has to come in order.
fn settle<const N: usize>(devices: [&mut Device; N], message_id: u64) -> anyhow::Result<()> {
    devices.into_iter().try_for_each(|device| device.wait_for_id(message_id).map(drop))
}

/// A message command of the app's own, passed through untouched.
const APP_COMMAND: i32 = 2001;

/// Who plays.
struct Cast {
    ada_phone: Device,
    ada_laptop: Device,
    bob: Device,
    /// Connected by the SDK, later.
    ada_tablet: business::SignInReply,
    bob_tablet: business::SignInReply,
}

/// The devices of the two, before they connect.
struct Identities {
    of_ada: [business::SignInReply; 3],
    of_bob: [business::SignInReply; 2],
}

impl Cast {
    fn ada(&self) -> u64 {
        self.ada_phone.user_id()
    }

    fn bob(&self) -> u64 {
        self.bob.user_id()
    }

    fn all(&mut self) -> [&mut Device; 3] {
        [&mut self.ada_phone, &mut self.ada_laptop, &mut self.bob]
    }
}

/// The devices of two, and one of a third, who never connects.
fn sign_up(target: &Target, code: &str, checks: &mut Checks) -> anyhow::Result<(Identities, business::SignInReply)> {
    use logic::DeviceType::{DtAndroid, DtIos, DtMacos, DtWeb};
    let ask = |number: &str, device| ask_business(target, number, code, device);
    let (ada_number, bob_number) = (phone_number(), phone_number());
    let of_ada = [ask(&ada_number, DtAndroid)?, ask(&ada_number, DtMacos)?, ask(&ada_number, DtIos)?];
    let of_bob = [ask(&bob_number, DtIos)?, ask(&bob_number, DtAndroid)?];
    let [phone, laptop, _] = &of_ada;
    checks.equal("new phone number, known phone number: is_new", [true, false], [phone.is_new, laptop.is_new]);
    checks.equal("one user on two devices: same user_id", phone.user_id, laptop.user_id);
    let distinct = phone.user_id != of_bob[0].user_id && phone.device_id != laptop.device_id;
    checks.equal("other user, other devices: other ids", true, distinct);
    Ok((Identities { of_ada, of_bob }, ask(&phone_number(), DtWeb)?))
}

fn sign_in(target: &Target, identities: Identities, checks: &mut Checks) -> anyhow::Result<Cast> {
    let Identities { of_ada: [phone, laptop, ada_tablet], of_bob: [bob, bob_tablet] } = identities;
    let mut stranger = target.connect()?;
    let refused = stranger.sign_in(bob.user_id, bob.device_id, "no such token")?;
    checks.equal("wrong token: code", ResultCode::SignInAgain.number(), refused.code);
    let cast = Cast {
        ada_phone: Device::sign_in(target, "Ada's phone", phone)?,
        ada_laptop: Device::sign_in(target, "Ada's laptop", laptop)?,
        bob: Device::sign_in(target, "Bob", bob)?,
        ada_tablet,
        bob_tablet,
    };
    checks.equal(
        "Ada's devices: heartbeats tell the same newest seq",
        cast.ada_phone.before(),
        cast.ada_laptop.before(),
    );
    Ok(cast)
}

fn ask_business(
    target: &Target,
    phone_number: &str,
    code: &str,
    device_type: logic::DeviceType,
) -> anyhow::Result<business::SignInReply> {
    let request = business::SignInRequest {
        phone_number: phone_number.to_owned(),
        code: code.to_owned(),
        device: Some(logic::Device {
            r#type: device_type as i32,
            brand: "gim-bench".into(),
            ..logic::Device::default()
        }),
        ..business::SignInRequest::default()
    };
    let mut client = business::user_ext_service_client::UserExtServiceClient::new(target.business());
    target.call("business.UserExtService/SignIn", client.sign_in(target.named(tonic::Request::new(request))))
}

/// A request of a signed-in client.
fn signed<T>(stage: &Stage, device: &Device, message: T) -> tonic::Request<T> {
    stage.target.named(metadata::signed(message, device.user_id(), device.device_id(), device.token()))
}
