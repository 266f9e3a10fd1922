//! What goes in and out of the core.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;

use crate::{
    changes::{ConversationChange, ReadMark},
    message::Message,
    wire::Target,
};

/// The time that never comes.
pub const NEVER: u64 = u64::MAX;

/// Codes of answers and failures that are the client's own. Those of the server and of the backend are above 0.
pub mod local_code {
    /// The connection broke before the answer came: nobody knows whether it was done.
    pub const CONNECTION_LOST: i32 = -1;
    /// No answer came in time.
    pub const TIMEOUT: i32 = -2;
    /// The client was stopped.
    pub const STOPPED: i32 = -3;
    /// More waits than the client takes.
    pub const TOO_MANY_WAITING: i32 = -4;
    /// The server sent an answer that cannot be read.
    pub const UNREADABLE: i32 = -5;
    /// The content is longer than a message may be, as the server would say as well.
    pub const TOO_LARGE: i32 = 10002;
}

/// Where a device without a cursor begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum StartAt {
    /// Where the user's other devices are.
    #[default]
    Devices,
    /// With the first message that is kept.
    First,
}

/// What the core has to know of the client.
pub struct CoreSettings {
    /// Who signs in.
    pub user_id: u64,
    /// On which device.
    pub device_id: u64,
    /// For which app, where a server serves several.
    pub app_id: u32,
    /// One address that is always tried, instead of those that Locate names.
    pub url: Option<String>,
    /// How often to send a heartbeat; none leaves it to Locate, and to 150 seconds without it.
    pub heartbeat_ms: Option<u64>,
    /// How long an answer may take until the connection is taken for dead.
    pub answer_timeout_ms: u64,
    /// Where a device without a cursor begins.
    pub start_at: StartAt,
    /// From 0 to 1, for the waits between attempts.
    pub random: Box<dyn FnMut() -> f64 + Send>,
}

/// How far a device has everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursors {
    /// None for a device that does not know yet where to begin.
    pub inbox: Option<u64>,
    /// Of each large group, by its id.
    pub groups: BTreeMap<u64, u64>,
}

/// A message that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingSend {
    /// By which the server recognises it, however often it is sent.
    pub client_msg_id: String,
    /// Whom it is for.
    pub target: Target,
    /// 0 for a plain message.
    pub command: i32,
    /// What is said.
    pub content: Bytes,
    /// Unix time in milliseconds.
    pub created_at_ms: u64,
}

/// What a client remembers between two runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Remembered {
    /// How far it has everything.
    pub cursors: Cursors,
    /// What is not answered yet, oldest first.
    pub outbox: Vec<PendingSend>,
    /// Messages that were delivered lately, as [`delivered_id`](super::delivered_id) names them.
    pub delivered: Vec<String>,
}

/// What a client is at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum State {
    /// Not started, or stopped.
    #[default]
    Idle,
    /// Asks for a token and an address, connects, signs in.
    Connecting,
    /// Signed in.
    Live,
    /// Connects again by itself at this time.
    Waiting {
        /// Unix time in milliseconds.
        until_ms: u64,
    },
    /// Stays away until the app starts it again.
    Ended {
        /// Why.
        reason: EndReason,
        /// Of the server, where it said one.
        code: i32,
        /// For people.
        message: String,
    },
}

/// Why a client stays away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    /// Another client took over this device.
    Replaced,
    /// Another device took its place.
    Kicked,
    /// Its token was taken back.
    TokenRevoked,
    /// The server refuses this user or device for good.
    Refused,
    /// The app gave no token.
    NoToken,
}

impl fmt::Display for EndReason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Replaced => "replaced",
            Self::Kicked => "kicked",
            Self::TokenRevoked => "token_revoked",
            Self::Refused => "refused",
            Self::NoToken => "no_token",
        })
    }
}

/// What an error is about that the client deals with by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// The app's token could not be had, or the server did not accept it.
    Token,
    /// Locate could not be asked.
    Locate,
    /// A connection could not be opened, or broke.
    Connection,
    /// The server sent what is no packet.
    Packet,
    /// An answer did not come in time.
    Answer,
    /// A sync was refused.
    Sync,
    /// The store failed.
    Storage,
}

impl fmt::Display for About {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Token => "token",
            Self::Locate => "locate",
            Self::Connection => "connection",
            Self::Packet => "packet",
            Self::Answer => "answer",
            Self::Sync => "sync",
            Self::Storage => "storage",
        })
    }
}

/// What happens by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The next message: each comes once, and in order.
    Message(Message),
    /// Another device of the user changed a conversation. It is not kept for a device that is away: list the conversations after
    /// [`Event::Synced`].
    Conversation(ConversationChange),
    /// Somebody else read. It is not kept for a device that is away, either.
    Read(ReadMark),
    /// The client is at something else now.
    State(State),
    /// All that was there when the connection came up has been delivered; or all that was left out while the app took too few events.
    /// Lists may have changed meanwhile.
    Synced,
    /// A message is stored.
    Sent(Sent),
    /// The server refuses a message for good, or it waited for too long.
    Failed {
        /// Which.
        client_msg_id: String,
        /// Whom it was for.
        target: Target,
        /// Why.
        code: i32,
        /// For people.
        message: String,
    },
    /// Messages between these two numbers are kept no longer.
    Gap {
        /// 0 for the inbox.
        group_id: u64,
        /// The last one that is there.
        after_seq: u64,
        /// The next one that is.
        before_seq: u64,
    },
    /// What became of a room that was entered.
    Room {
        /// Which.
        room_id: u64,
        /// Whether the client is in it.
        is_entered: bool,
        /// Why not.
        code: i32,
        /// For people.
        message: String,
    },
    /// Something went wrong, and the client goes on by itself.
    Error {
        /// What with.
        about: About,
        /// For the log.
        message: String,
    },
}

/// What the server said to a send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Which.
    pub client_msg_id: String,
    /// Whom it is for.
    pub target: Target,
    /// Its id from here on.
    pub message_id: u64,
    /// Its number in the inbox, to a large group in the timeline of that, to a room 0.
    pub seq: u64,
    /// When it was stored, Unix time in milliseconds.
    pub created_at_ms: i64,
    /// Whether the server had it already.
    pub is_duplicate: bool,
}

/// How a request of the app ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// 0 for success.
    pub code: i32,
    /// For people.
    pub message: String,
    /// What was answered.
    pub data: Bytes,
}

/// Where to connect, as Locate says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Located {
    /// URLs, best first.
    pub urls: Vec<String>,
    /// How often to send a heartbeat; 0 where it does not say.
    pub heartbeat_ms: u64,
    /// The first wait; 0 where it does not say.
    pub first_ms: u64,
    /// The longest wait; 0 where it does not say.
    pub max_ms: u64,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Ask the app for a token.
    GetToken {
        /// Whether the server did not accept the last one.
        was_refused: bool,
    },
    /// Ask Locate where to connect.
    Locate {
        /// The room that is about to be entered; 0 for none.
        room_id: u64,
    },
    /// Open a connection.
    Connect {
        /// Where.
        url: String,
    },
    /// Close the connection.
    Disconnect,
    /// Send a packet over the connection.
    Packet(Bytes),
    /// Store these messages together with the cursors, then show them; [`Core::on_stored`](super::Core::on_stored) says when that is done.
    Deliver {
        /// In their order.
        messages: Vec<Message>,
        /// How far everything is there with them.
        cursors: Cursors,
    },
    /// Store a send that is not answered.
    RememberSend(PendingSend),
    /// It is answered.
    ForgetSend {
        /// Which.
        client_msg_id: String,
    },
    /// Hand out the answer to a request of the app.
    Answer {
        /// Which.
        request_id: String,
        /// What came of it.
        answer: Answer,
    },
    /// Tell the app.
    Event(Event),
}
