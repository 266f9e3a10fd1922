//! Packets of signed-in connections: decode, ask the use case, reply. Runs in the queue or task that the stream chose.

use std::sync::Arc;

use bytes::Bytes;
use gim_config::traces::{self, Span};
use gim_proto::{
    BUSINESS_COMMAND_MIN, ResultCode,
    connect::{PacketCommand, Reply, SendRequest, SubscribeRoomRequest},
    logic::{ClientPacket, ConversationReadRequest, MessageAckRequest, SyncRequest},
    trace::TraceContext,
};
use prost::Message;
use tokio::sync::OwnedSemaphorePermit;
use tracing::Instrument as _;

use super::context::Context;
use crate::{
    delivery::rooms::Joined,
    domain::caller::{Caller, log_id},
    error::Error,
    usecase::{
        messages::Messages,
        syncs::{PageFor, Syncs},
    },
};

/// Handles one packet; returns as soon as the next one of the same user may begin.
pub(super) async fn handle(context: &Arc<Context>, packet: ClientPacket, permit: OwnedSemaphorePermit) {
    let request_id = log_id(&packet.request_id);
    let trace = traces::received("packet", TraceContext::from_link(&packet.trace_context));
    let trace_id = trace.trace_id();
    let (user_id, command) = (packet.user_id, packet.command);
    let span = tracing::info_span!("packet", request_id, user_id, command, trace_id);
    traces::working_for(trace.context(), decide(context, packet, permit, trace)).instrument(span).await;
}

/// The trace's span ends with the answer.
async fn decide(context: &Arc<Context>, packet: ClientPacket, permit: OwnedSemaphorePermit, trace: Span) {
    let caller = Caller { user_id: packet.user_id, device_id: packet.device_id };
    let request_no = packet.request_no;
    let result = match PacketCommand::try_from(packet.command) {
        Ok(PacketCommand::PcSend) => return send(context, caller, packet, permit, trace).await,
        Ok(PacketCommand::PcMessageAck) => return ack(context, caller, packet, permit).await,
        Ok(PacketCommand::PcRead) => return read(context, caller, packet, permit),
        Ok(PacketCommand::PcSubscribeRoom) => return Box::pin(subscribe(context, caller, packet, permit)).await,
        Ok(PacketCommand::PcSync) => Box::pin(sync(&context.use_cases().syncs, caller, packet.content)).await,
        _ if packet.command >= BUSINESS_COMMAND_MIN => {
            let request_id = log_id(&packet.request_id);
            Box::pin(context.use_cases().commands.handle(caller, packet.command, packet.content, request_id)).await
        }
        _ => Err(unknown(packet.command)),
    };
    context.reply(request_no, result.unwrap_or_else(Error::into_reply), None, permit);
}

async fn send(context: &Arc<Context>, caller: Caller, packet: ClientPacket, permit: OwnedSemaphorePermit, trace: Span) {
    let request_no = packet.request_no;
    let submitted = match decode::<SendRequest>(packet.content, "SendRequest") {
        Ok(request) => context.use_cases().messages.submit(caller, request, log_id(&packet.request_id)).await,
        Err(error) => Err(error),
    };
    match submitted {
        Err(error) => context.reply(request_no, error.into_reply(), None, permit),
        Ok(submitted) => {
            let later = context.clone();
            let finish = async move {
                let result = Messages::finish(submitted).await.map(|(reply, inbox_seq)| (done(&reply), inbox_seq));
                drop(trace);
                let (reply, inbox_seq) = result.unwrap_or_else(|error| (error.into_reply(), 0));
                later.reply_to_send(request_no, reply, inbox_seq, permit);
            };
            context.tasks.spawn(finish.in_current_span());
        }
    }
}

async fn ack(context: &Arc<Context>, caller: Caller, packet: ClientPacket, permit: OwnedSemaphorePermit) {
    let request_no = packet.request_no;
    let submitted = match decode::<MessageAckRequest>(packet.content, "MessageACKRequest") {
        Ok(request) => context.use_cases().syncs.submit_ack(caller, &request).await,
        Err(error) => Err(error),
    };
    match submitted {
        Err(error) => context.reply(request_no, error.into_reply(), None, permit),
        Ok(submitted) => {
            let later = context.clone();
            let finish = async move {
                let result = Syncs::finish_ack(submitted).await.map(|()| Reply::default());
                later.reply(request_no, result.unwrap_or_else(Error::into_reply), None, permit);
            };
            context.tasks.spawn(finish.in_current_span());
        }
    }
}

/// Where nobody waits for the answer, the next packet need not wait either.
fn read(context: &Arc<Context>, caller: Caller, packet: ClientPacket, permit: OwnedSemaphorePermit) {
    let request_no = packet.request_no;
    let is_answered = !packet.is_silent;
    let submitted = decode::<ConversationReadRequest>(packet.content, "ConversationReadRequest")
        .and_then(|request| context.use_cases().reads.submit(caller, request, is_answered));
    match submitted {
        Err(error) => context.reply(request_no, error.into_reply(), None, permit),
        Ok(None) => context.reply(request_no, Reply::default(), None, permit),
        Ok(Some(pending)) => {
            let later = context.clone();
            let finish = async move {
                let result = pending.noted().await.map(|()| Reply::default());
                later.reply(request_no, result.unwrap_or_else(Error::into_reply), None, permit);
            };
            context.tasks.spawn(finish.in_current_span());
        }
    }
}

async fn subscribe(context: &Arc<Context>, caller: Caller, packet: ClientPacket, permit: OwnedSemaphorePermit) {
    let request_no = packet.request_no;
    let request = match decode::<SubscribeRoomRequest>(packet.content, "SubscribeRoomRequest") {
        Ok(request) => request,
        Err(error) => return context.reply(request_no, error.into_reply(), None, permit),
    };
    let answer = |result: Result<Joined, Error>| match result {
        Ok(joined) => context.reply(request_no, Reply::default(), Some(joined.into()), permit),
        Err(error) => context.reply(request_no, error.into_reply(), None, permit),
    };
    context.use_cases().rooms.subscribe(&context.link.key, caller, request, answer).await;
}

async fn sync(syncs: &Syncs, caller: Caller, content: Bytes) -> Result<Reply, Error> {
    let request = decode::<SyncRequest>(content, "SyncRequest")?;
    Ok(done(&syncs.sync(caller, request, PageFor::Packet).await?))
}

fn done(data: &impl Message) -> Reply {
    Reply { data: data.encode_to_vec().into(), ..Reply::default() }
}

fn decode<M: Message + Default>(content: Bytes, name: &str) -> Result<M, Error> {
    M::decode(content).map_err(|_| Error::refused(ResultCode::BadRequest, format!("content: is no {name}")))
}

fn unknown(command: i32) -> Error {
    Error::refused(ResultCode::UnknownCommand, format!("there is no command {command}"))
}
