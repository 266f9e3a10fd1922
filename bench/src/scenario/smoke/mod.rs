//! Does every message arrive, once, in order, with the right seq?
//!
//! Three new users sign in, one of them on two devices, and go through what a chat does: one-to-one, history and
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

use std::time::Instant;

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
    #[arg(long, value_name = "CODE", default_value = "123456")]
    code: String,
}

/// Runs it.
pub fn run(arguments: &Arguments) -> Outcome {
    let started = Instant::now();
    let mut checks = Checks::default();
    let ended = go(arguments, &mut checks);
    Outcome { checks, ..Outcome::of("smoke", arguments.target.to_json(), started, ended) }
}

fn go(arguments: &Arguments, checks: &mut Checks) -> anyhow::Result<()> {
    let run = format!("{:08x}", rand::random::<u32>());
    let target = Target::reach(&arguments.target, &run)?;
    let mut cast = sign_in(&target, &arguments.code, checks).context("sign-in")?;
    let stage = Stage { target: &target, run: &run };
    one_to_one::play(&stage, &mut cast, checks).context("one-to-one")?;
    history::play(&stage, &mut cast, checks).context("history and recall")?;
    friends::play(&stage, &mut cast, checks).context("friends")?;
    many::play(&stage, &mut cast, checks).context("room and all")?;
    offline::play(&stage, &mut cast, checks).context("offline")?;
    order::check(&stage, &mut cast, checks).context("order")?;
    groups::play(&stage, &mut cast, checks).context("groups")?;
    app::play(&stage, &mut cast, checks).context("apps")?;
    ends::play(&stage, &mut cast, checks).context("ends of connections")
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
    /// Never connected.
    carl: business::SignInReply,
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

fn sign_in(target: &Target, code: &str, checks: &mut Checks) -> anyhow::Result<Cast> {
    let (ada_number, bob_number) = (phone_number(), phone_number());
    let phone = ask_business(target, &ada_number, code, logic::DeviceType::DtAndroid)?;
    let laptop = ask_business(target, &ada_number, code, logic::DeviceType::DtMacos)?;
    let bob = ask_business(target, &bob_number, code, logic::DeviceType::DtIos)?;
    let ada_tablet = ask_business(target, &ada_number, code, logic::DeviceType::DtIos)?;
    let bob_tablet = ask_business(target, &bob_number, code, logic::DeviceType::DtAndroid)?;
    let carl = ask_business(target, &phone_number(), code, logic::DeviceType::DtWeb)?;
    checks.equal("new phone number, known phone number: is_new", [true, false], [phone.is_new, laptop.is_new]);
    checks.equal("one user on two devices: same user_id", phone.user_id, laptop.user_id);
    let distinct = phone.user_id != bob.user_id && phone.device_id != laptop.device_id;
    checks.equal("other user, other devices: other ids", true, distinct);
    let mut stranger = target.connect()?;
    let refused = stranger.sign_in(bob.user_id, bob.device_id, "no such token")?;
    checks.equal("wrong token: code", ResultCode::SignInAgain.number(), refused.code);
    let mut cast = Cast {
        ada_phone: Device::sign_in(target, "Ada's phone", phone)?,
        ada_laptop: Device::sign_in(target, "Ada's laptop", laptop)?,
        bob: Device::sign_in(target, "Bob", bob)?,
        ada_tablet,
        bob_tablet,
        carl,
    };
    for device in cast.all() {
        let newest_seq = device.heartbeat()?;
        checks.equal(format!("{}: heartbeat tells newest seq", device.name()), 0, newest_seq);
    }
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
