//! What the core makes of answers, and of the server's goodbye.

use bytes::Bytes;
use gim_proto::{
    CloseReason, ResultCode,
    connect::{CloseNotice, Reply, SendReply},
    logic::SyncReply,
};
use prost::{DecodeError, Message as _};

use super::{
    Core, Own,
    connector::{Connector, RATE_LIMITED_WAIT_MS},
    types::{About, Answer, Cursors, EndReason, Event, PendingSend, Sent},
};
use crate::{
    message::{Message, Sender},
    wire::{Target, is_put_off, plain_command},
};

const ROOM_RETRY_MS: u64 = 1000;
/// After a sync that brought nothing of what was promised.
const EMPTY_SYNC_PAUSE_MS: u64 = 1000;
/// Syncs in a row that bring nothing of what was promised.
const EMPTY_SYNCS_MAX: u32 = 3;

fn is(reply: &Reply, code: ResultCode) -> bool {
    reply.code == code as i32
}

impl Core {
    pub(super) fn on_reply(
        &mut self,
        request_id: &str,
        own: Own,
        reply: Reply,
        now_ms: u64,
    ) -> Result<(), DecodeError> {
        let asks_for_sign_in = is(&reply, ResultCode::SignInAgain);
        match own {
            Own::SignIn => self.on_sign_in_reply(reply, now_ms),
            Own::Request => {
                let answer = Answer { code: reply.code, message: reply.message, data: reply.data };
                if self.ask_of(|requests| requests.settle(request_id, answer, now_ms)) {
                    self.sign_in_anew(now_ms);
                }
            }
            _ if asks_for_sign_in => self.sign_in_anew(now_ms),
            Own::Sync => self.on_sync_reply(reply, now_ms)?,
            Own::Send(client_msg_id) => self.on_send_reply(&client_msg_id, reply, now_ms)?,
            Own::Room(room_id) => self.on_room_reply(room_id, reply, now_ms),
            Own::Heartbeat => {}
        }
        Ok(())
    }

    fn on_sign_in_reply(&mut self, reply: Reply, now_ms: u64) {
        if is(&reply, ResultCode::SignInAgain) {
            if !self.connect(|connector| connector.on_token_refused(now_ms)) {
                self.error(About::Token, &reply.message);
                self.break_off(now_ms);
            }
        } else if is_put_off(reply.code) || is(&reply, ResultCode::Internal) {
            self.break_off(now_ms);
        } else if !is(&reply, ResultCode::Ok) {
            self.disconnect();
            self.connect(|connector| connector.end(EndReason::Refused, reply.code, reply.message));
        } else {
            self.connect(|connector| connector.on_signed_in(now_ms));
            self.acknowledged = Cursors::default();
            self.on_stored(self.stored.clone(), now_ms);
            self.is_catching_up = true;
            self.sync_at_ms = 0;
            self.timelines.hint();
            self.heartbeat(now_ms, self.answer_timeout_ms);
            self.pump(now_ms);
            if self.room.room_id() != 0 {
                self.subscribe(now_ms);
            }
        }
    }

    fn on_sync_reply(&mut self, reply: Reply, now_ms: u64) -> Result<(), DecodeError> {
        self.is_syncing = false;
        if is(&reply, ResultCode::Ok) {
            let has_brought = self.timelines.page(&SyncReply::decode(reply.data)?);
            self.empty_syncs = if has_brought { 0 } else { self.empty_syncs + 1 };
            self.sync_pause.reset();
            self.sync_at_ms = if has_brought || self.empty_syncs <= 1 { 0 } else { now_ms + EMPTY_SYNC_PAUSE_MS };
            if self.empty_syncs > EMPTY_SYNCS_MAX {
                self.timelines.give_up_waiting();
            }
            if !self.timelines.wants_sync() {
                self.empty_syncs = 0;
            }
        } else {
            let is_beyond = is(&reply, ResultCode::BeyondNewest);
            if is_beyond {
                self.timelines.begin_anew(&SyncReply::decode(reply.data)?);
            } else {
                self.timelines.hint();
                if !is_put_off(reply.code) {
                    self.error(About::Sync, &format!("{} {}", reply.code, reply.message));
                }
            }
            self.sync_at_ms = if is_beyond && self.empty_syncs == 0 { 0 } else { now_ms + self.next_sync_pause_ms() };
            self.empty_syncs += 1;
        }
        if self.is_catching_up && !self.timelines.is_missing() {
            self.deliver();
            self.is_catching_up = false;
            self.event(Event::Synced);
        }
        Ok(())
    }

    fn next_sync_pause_ms(&mut self) -> u64 {
        let random = self.connector.random();
        self.sync_pause.next_ms(random)
    }

    fn on_send_reply(&mut self, client_msg_id: &str, reply: Reply, now_ms: u64) -> Result<(), DecodeError> {
        if is_put_off(reply.code) {
            let random = self.connector.random();
            self.outbox.put_off(client_msg_id, now_ms, random);
            return Ok(());
        }
        // What cannot be read is sent again: so the send stays where it is until then.
        let sent =
            if is(&reply, ResultCode::Ok) { SendReply::decode(reply.data.clone())? } else { SendReply::default() };
        let Some(send) = self.outbox.settle(client_msg_id) else { return Ok(()) };
        if !is(&reply, ResultCode::Ok) {
            self.fail(send, reply.code, &reply.message);
            return Ok(());
        }
        self.event(Event::Sent(Sent {
            client_msg_id: send.client_msg_id.clone(),
            target: send.target,
            message_id: sent.message_id,
            seq: sent.seq,
            created_at_ms: sent.created_at_ms,
            is_duplicate: sent.duplicate,
        }));
        let (target, client_msg_id) = (send.target, send.client_msg_id.clone());
        let message = self.own_message(send, &sent);
        self.timelines.sent(message, target);
        self.deliver();
        self.actions.push(super::Action::ForgetSend { client_msg_id });
        Ok(())
    }

    fn own_message(&self, send: PendingSend, sent: &SendReply) -> Message {
        let (user_id, device_id) = (self.user_id, self.device_id);
        Message {
            message_id: sent.message_id,
            command: if send.command == 0 { plain_command(send.target) } else { send.command },
            content: send.content,
            seq: sent.seq,
            group_id: if let Target::Group(id) = send.target { id } else { 0 },
            to_user_id: if let Target::User(id) = send.target { id } else { 0 },
            created_at_ms: sent.created_at_ms,
            from: Some(Sender { user_id, device_id, ..Sender::default() }),
            is_own: true,
            client_msg_id: send.client_msg_id,
            ..Message::default()
        }
    }

    fn on_room_reply(&mut self, room_id: u64, reply: Reply, now_ms: u64) {
        if room_id != self.room.room_id() {
            // The app is in another one by now.
        } else if is_put_off(reply.code) {
            self.room.retry_at_ms = now_ms + ROOM_RETRY_MS;
        } else if room_id != 0 {
            let is_entered = is(&reply, ResultCode::Ok);
            if !is_entered {
                self.room.enter(0, false);
            }
            self.event(Event::Room { room_id, is_entered, code: reply.code, message: reply.message });
        }
    }

    pub(super) fn on_close_notice(&mut self, content: Bytes, now_ms: u64) -> Result<(), DecodeError> {
        let notice = CloseNotice::decode(content)?;
        let end = match notice.reason() {
            CloseReason::CrReplaced => Some(EndReason::Replaced),
            CloseReason::CrKicked => Some(EndReason::Kicked),
            CloseReason::CrTokenRevoked => Some(EndReason::TokenRevoked),
            _ => None,
        };
        if let Some(reason) = end {
            self.disconnect();
            self.connect(|connector| connector.end(reason, notice.reason, notice.message));
            return Ok(());
        }
        if notice.reason() == CloseReason::CrHeartbeatTimeout {
            self.connect(Connector::hasten_heartbeats);
        }
        let is_limited = notice.reason() == CloseReason::CrRateLimited;
        let at_least_ms = if is_limited { RATE_LIMITED_WAIT_MS } else { 0 };
        let after_ms = u64::from(notice.reconnect_after_ms).max(at_least_ms);
        self.connect(|connector| connector.advise(after_ms, &notice.endpoint));
        self.break_off(now_ms);
        Ok(())
    }

    /// The token ran out while connected. A connection signs in once, so it takes another one.
    fn sign_in_anew(&mut self, now_ms: u64) {
        self.connect(Connector::needs_new_token);
        self.break_off(now_ms);
    }
}
