//! What the server keeps of a conversation.

use gim_proto::logic::{HistoryExtent, HistoryReply, HistoryRequest, RecallRequest, history_request};

use crate::{client::Client, error::GimError, message::Message, wire::Target};

/// Which messages. A number is the `seq` of a message with a user, and the `group_seq` in a group of either kind, as the history itself has
/// them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum HistoryPlace {
    /// The newest ones.
    #[default]
    Newest,
    /// The last ones before a number.
    Before(u64),
    /// The first ones after a number, where 0 means the first ones of all.
    After(u64),
    /// A message, by its id, with about as many before it as after it.
    Around(u64),
    /// The first ones from a time on, Unix time in milliseconds.
    FromMs(i64),
}

/// A page of the history.
#[derive(Debug, Clone, PartialEq)]
pub struct HistoryPage {
    /// Newest first. What was recalled stands at its place, without content; what the user deleted is left out.
    pub messages: Vec<Message>,
    /// Whether there are older ones. Not said where those after a number or from a time on were asked for.
    pub has_more: bool,
    /// Whether there are newer ones. Not said where those before a number were asked for.
    pub has_newer: bool,
    /// Of the whole conversation, where it was asked for.
    pub extent: Option<HistoryExtent>,
}

/// See [`Client::history`].
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    pub(super) client: &'a Client,
}

impl History<'_> {
    /// Messages with one user or of one group, as many as the server allows.
    pub async fn page(&self, peer: Target, place: HistoryPlace) -> Result<HistoryPage, GimError> {
        self.page_of(peer, place, 0, false).await
    }

    /// The same with at most so many messages (0 leaves it to the server), and with the extent, which costs as much as four other calls.
    pub async fn page_of(
        &self,
        peer: Target,
        place: HistoryPlace,
        limit: u32,
        with_extent: bool,
    ) -> Result<HistoryPage, GimError> {
        let peer = match peer {
            Target::User(id) => Some(history_request::Peer::UserId(id)),
            Target::Group(id) => Some(history_request::Peer::GroupId(id)),
            // Rooms have no history, as the server says.
            Target::Room(_) => None,
        };
        let mut request = HistoryRequest { peer, limit, with_extent, ..HistoryRequest::default() };
        match place {
            HistoryPlace::Newest => {}
            HistoryPlace::Before(seq) => request.before_seq = seq,
            HistoryPlace::After(seq) => request.after_seq = Some(seq),
            HistoryPlace::Around(message_id) => request.around_message_id = message_id,
            HistoryPlace::FromMs(from_ms) => request.from_ms = from_ms,
        }
        let reply: HistoryReply = self.client.rpc("logic.MessageExtService/History", &request).await?;
        let HistoryReply { messages, has_more, has_newer, extent } = reply;
        let messages = messages.iter().map(|wire| Message::from_wire(wire, self.client.user_id())).collect();
        Ok(HistoryPage { messages, has_more, has_newer, extent })
    }

    /// Takes back a message that the user sent. Every device, this one too, is told by one more message.
    pub async fn recall(&self, message_id: u64) -> Result<(), GimError> {
        self.client.repeatable_rpc("logic.MessageExtService/Recall", &RecallRequest { message_id }).await
    }
}
