//! A device goes away, is sent to, comes back and catches up, page by page.

use std::time::{Duration, Instant};

use gim_proto::logic::{
    ListOnlineRequest, SyncRequest, device_int_service_client::DeviceIntServiceClient,
    message_ext_service_client::MessageExtServiceClient,
};

use super::{Cast, Stage, one_to_one::to_user, order::ranges, settle, signed};
use crate::{result::Checks, swarm::DEADLINE};

/// More than one page of a sync, which holds 50.
const MISSED: usize = 60;
const PAGE: usize = 50;
/// Between two questions whether the server has noticed.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

pub fn play(stage: &Stage, cast: &mut Cast, checks: &mut Checks) -> anyhow::Result<()> {
    let before = cast.bob.heartbeat()?;
    checks.equal("Bob's device is online", 1, online(stage, cast.bob())?);
    cast.bob.disconnect()?;
    checks.equal("Bob's device is offline once it is gone", 0, await_offline(stage, cast.bob())?);

    let mut missed = Vec::new();
    for number in 0..MISSED {
        let words = format!("while Bob is away {number}");
        // Ada gets each as well: then Bob's device was looked for before it is back, and is pushed none of them.
        let message_id = match number % 2 {
            0 => cast.ada_phone.send(&to_user(stage, cast.bob(), &words))?.message_id,
            _ => {
                let message_id = stage.push_to_users(&[cast.bob(), cast.ada()], &stage.content(&words), true)?;
                settle([&mut cast.ada_phone], message_id)?;
                message_id
            }
        };
        settle([&mut cast.ada_laptop], message_id)?;
        missed.push(message_id);
    }

    cast.bob.reconnect(stage.target)?;
    let newest = before + MISSED as u64;
    checks.equal("Bob is back: heartbeat tells newest seq", newest, cast.bob.heartbeat()?);
    catch_up(stage, cast, checks, before, &missed)?;

    cast.bob.acknowledge(newest)?;
    checks.equal("sync after the acknowledgement: messages", 0, cast.bob.sync(0)?.messages.len());
    Ok(())
}

fn catch_up(stage: &Stage, cast: &mut Cast, checks: &mut Checks, before: u64, missed: &[u64]) -> anyhow::Result<()> {
    let mut client = MessageExtServiceClient::new(stage.target.logic());
    let request = signed(stage, &cast.bob, SyncRequest { seq: before, ..SyncRequest::default() });
    let over_grpc = stage.target.call("MessageExtService/Sync", client.sync(request))?;
    let first = cast.bob.sync(before)?;
    checks.equal("sync over gRPC and over the connection: the same", true, over_grpc == first);
    checks.equal("first page: messages, has_more", (PAGE, true), (first.messages.len(), first.has_more));
    let second = cast.bob.sync(before + PAGE as u64)?;
    let rest = MISSED - PAGE;
    checks.equal("second page: messages, has_more", (rest, false), (second.messages.len(), second.has_more));

    let caught_up = [first.messages, second.messages].concat();
    let seqs: Vec<_> = caught_up.iter().map(|message| message.seq).collect();
    let expected: Vec<_> = (before + 1..=before + MISSED as u64).collect();
    checks.holds("missed messages: seqs, in order", ranges(&expected), ranges(&seqs), seqs == expected);
    let is_each = caught_up.iter().map(|message| message.message_id).eq(missed.iter().copied());
    checks.equal("missed messages: each, in the order sent", true, is_each);
    cast.bob.take_over(caught_up);
    Ok(())
}

fn await_offline(stage: &Stage, user_id: u64) -> anyhow::Result<usize> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let devices = online(stage, user_id)?;
        if devices == 0 || Instant::now() > deadline {
            return Ok(devices);
        }
        std::thread::sleep(POLL_INTERVAL);
    }
}

fn online(stage: &Stage, user_id: u64) -> anyhow::Result<usize> {
    let request = stage.target.internal(ListOnlineRequest { user_ids: vec![user_id] });
    let mut client = DeviceIntServiceClient::new(stage.target.logic());
    Ok(stage.target.call("DeviceIntService/ListOnline", client.list_online(request))?.devices.len())
}
