//! Recall: a sender takes a message back, for everybody who got it.

use std::sync::Arc;

use gim_proto::{ResultCode, check, logic::RecallRequest};

use crate::{
    clients::business::Business,
    domain::{caller::Caller, clock},
    error::Error,
    store::{self, work::Post, writer::Writer},
};

/// See the module's documentation.
#[derive(Debug)]
pub struct Recalls {
    /// How long after sending a message it may be recalled; 0 for never.
    pub(super) window_s: u64,
    pub(super) reads: store::UserReads,
    pub(super) inboxes: store::Inboxes,
    pub(super) writer: Writer,
    pub(super) business: Arc<Business>,
}

impl Recalls {
    /// Recalls a message of the caller. To recall it again changes nothing and succeeds, whenever that is.
    pub async fn recall(&self, caller: Caller, request: RecallRequest, request_id: &str) -> Result<(), Error> {
        let message_id = check::id("message_id", request.message_id)?;
        let turn = self.reads.turn(caller.user_id).await?;
        let found = self.inboxes.find(message_id).await?;
        drop(turn);
        // Nobody learns which ids messages of others have.
        let Some(stored) = found.filter(|stored| stored.message.sender_id == caller.user_id) else {
            return Err(Error::refused(ResultCode::NotAllowed, "you have no message with this id to recall"));
        };
        let message = stored.message;
        if message.is_recalled() {
            return Ok(());
        }
        let age_ms = clock::now_ms().saturating_sub(message.created_at_ms);
        check_window(self.window_s, age_ms)?;
        let Some(mut receivers) = stored.receivers else {
            return Err(Error::refused(ResultCode::NotAllowed, "this message cannot be recalled"));
        };
        // Who blocked the sender hears no more of him, neither of what he takes back.
        let not_told = self.business.blockers_among(caller.user_id, &receivers, request_id).await?;
        receivers.retain(|user_id| !not_told.contains(user_id));
        let post = Post {
            message: message.recalled(),
            user_ids: receivers,
            all_user_ids: Vec::new(),
            conversation: None,
            client_msg_id: None,
            is_of_service: false,
            origin_device_id: 0,
            request_id: request_id.into(),
            is_stored: false,
        };
        Ok(self.writer.submit_recall(post)?.committed().await?)
    }
}

fn check_window(window_s: u64, age_ms: i64) -> Result<(), Error> {
    if window_s == 0 {
        return Err(Error::refused(ResultCode::NotAllowed, "messages cannot be recalled here"));
    }
    if age_ms > i64::try_from(window_s.saturating_mul(1000)).unwrap_or(i64::MAX) {
        let problem = format!("a message can be recalled within {window_s} s of being sent");
        return Err(Error::refused(ResultCode::NotAllowed, problem));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recall_is_allowed_up_to_the_end_of_the_window() {
        assert!(check_window(2, 2_000).is_ok());
        assert!(check_window(2, -5).is_ok(), "the clock of another node may be ahead");
        for (window_s, age_ms) in [(2, 2_001), (0, 0)] {
            assert_eq!(check_window(window_s, age_ms).unwrap_err().code(), ResultCode::NotAllowed);
        }
    }
}
