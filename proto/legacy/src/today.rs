//! What today's server says on a long connection, as views: what a dialect rewrites. Pure data.

use std::ops::RangeInclusive;

use gim_proto::{
    CloseReason, ResultCode,
    connect::{MessageCommand, MessageStatus},
};

use crate::fields::{Malformed, visit};

/// The numbers of messages that are the server's own, and that no dialect knows.
const OF_THE_SERVER: RangeInclusive<i32> = 112..=199;

/// The numbers of which dialects know some: of news, and of what users say to each other.
const OF_DIALECTS: RangeInclusive<i32> = 100..=199;

/// A `connect.Message`.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "each is the field of its name")]
pub struct Message<'a> {
    pub command: i32,
    pub content: &'a [u8],
    pub seq: u64,
    pub created_at: i64,
    pub room_id: u64,
    pub created_at_ms: i64,
    pub status: i32,
    pub group_id: u64,
    pub group_seq: u64,
    pub is_from_user: bool,
}

/// A `logic.UserMessagePush` or a `logic.GroupMessagePush`, which have the same numbers.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wrapped<'a> {
    /// Who says it.
    pub from_user: Card<'a>,
    /// The user or the group that it is for.
    pub to: u64,
    /// What is said.
    pub content: &'a [u8],
}

/// A `logic.User`.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "each is the field of its name")]
pub struct Card<'a> {
    pub user_id: u64,
    pub device_id: u64,
    pub nickname: &'a [u8],
    pub avatar_url: &'a [u8],
    pub extra: &'a [u8],
}

/// A `logic.GroupMember`.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "each is the field of its name")]
pub struct Member<'a> {
    pub user_id: u64,
    pub nickname: &'a [u8],
    pub member_type: u64,
    pub extra: &'a [u8],
}

/// The content of an answer: a `connect.Reply`.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs, reason = "each is the field of its name")]
pub struct Reply<'a> {
    pub code: i32,
    pub message: &'a [u8],
    pub data: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// Where the bytes are none.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut message = Self::default();
        visit(bytes, |field| {
            match field.tag {
                2 => message.command = field.number()? as i32,
                3 => message.content = field.bytes()?,
                4 => message.seq = field.number()?,
                5 => message.created_at = field.number()? as i64,
                6 => message.room_id = field.number()?,
                17 => message.created_at_ms = field.number()? as i64,
                19 => message.status = field.number()? as i32,
                20 => message.group_id = field.number()?,
                22 => message.group_seq = field.number()?,
                24 => message.is_from_user = field.number()? != 0,
                _ => {}
            }
            Ok(())
        })?;
        Ok(message)
    }

    /// Whether its content was taken back, or is kept no longer.
    pub fn is_gone(&self) -> bool {
        self.status != MessageStatus::MsNormal as i32
    }

    /// Whether it is news of the server's own, or of a message that is gone, that no dialect has a word for. (What is stored has to be told, because
    /// it has a seq.)
    pub fn is_unheard_of(&self, known: &[i32]) -> bool {
        let is_news = OF_THE_SERVER.contains(&self.command) && !known.contains(&self.command);
        self.seq == 0 && (is_news || self.is_gone())
    }

    /// Whether it is said in a room, and is no more than that to a dialect: plain, or under one of the dialect's own numbers by a user.
    /// These numbers stand for contents in which the server says who speaks.
    pub fn is_plain_in_room(&self) -> bool {
        let is_borrowed = self.is_from_user && OF_DIALECTS.contains(&self.command);
        self.room_id != 0 && (is_plain(self.command) || is_borrowed)
    }

    /// What a user, or a service plainly, says in a room, without the card around it, which a service may leave out. None where it is
    /// anything else.
    ///
    /// # Errors
    /// Where the content is no message.
    pub fn said_in_room(&self) -> Result<Option<&'a [u8]>, Malformed> {
        if self.room_id == 0 || !(self.is_from_user || is_plain(self.command)) {
            return Ok(None);
        }
        let Wrapped { from_user, content, .. } = Wrapped::read(self.content)?;
        let has_card = self.is_from_user || from_user.user_id != 0;
        Ok(Some(if has_card { content } else { self.content }))
    }
}

impl<'a> Wrapped<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// Where the bytes are none.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut wrapped = Self::default();
        visit(bytes, |field| {
            match field.tag {
                1 => wrapped.from_user = Card::read(field.bytes()?)?,
                2 => wrapped.to = field.number()?,
                3 => wrapped.content = field.bytes()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(wrapped)
    }
}

impl<'a> Card<'a> {
    /// Texts are looked at: an app cannot read a message in which one is no UTF-8, nor a page with such a message.
    fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut card = Self::default();
        visit(bytes, |field| {
            match field.tag {
                1 => card.user_id = field.number()?,
                2 => card.device_id = field.number()?,
                3 => card.nickname = field.text()?.as_bytes(),
                4 => card.avatar_url = field.text()?.as_bytes(),
                5 => card.extra = field.text()?.as_bytes(),
                _ => {}
            }
            Ok(())
        })?;
        Ok(card)
    }
}

impl<'a> Member<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// Where the bytes are none.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut member = Self::default();
        visit(bytes, |field| {
            match field.tag {
                1 => member.user_id = field.number()?,
                2 => member.nickname = field.text()?.as_bytes(),
                3 => member.member_type = field.number()?,
                5 => member.extra = field.text()?.as_bytes(),
                _ => {}
            }
            Ok(())
        })?;
        Ok(member)
    }
}

impl<'a> Reply<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// Where the bytes are none.
    pub fn read(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut reply = Self::default();
        visit(bytes, |field| {
            match field.tag {
                1 => reply.code = field.number()? as i32,
                2 => reply.message = field.bytes()?,
                3 => reply.data = field.bytes()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(reply)
    }

    /// A `connect.CloseNotice`, as a dialect without one says it: a code, and the sentence.
    ///
    /// # Errors
    /// Where the bytes are none.
    pub fn of_close(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let (mut reason, mut message) = (CloseReason::CrUnknown, &b""[..]);
        visit(bytes, |field| {
            match field.tag {
                1 => reason = CloseReason::try_from(field.number()? as i32).unwrap_or(CloseReason::CrUnknown),
                2 => message = field.bytes()?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(Self { code: code_of(reason).number(), message, data: b"" })
    }
}

/// Whether a command is that of what a user says in bytes of the app's own.
pub fn is_plain(command: i32) -> bool {
    [MessageCommand::McUserMessage as i32, MessageCommand::McGroupMessage as i32].contains(&command)
}

/// Up to which seq a client has its inbox that gets this answer to a sync: 0 where it has not said, or was refused. None where there is a
/// further page.
pub fn end_of_sync(reply: &[u8]) -> Option<u64> {
    let (mut last_seq, mut has_more) = (0, false);
    let page = Reply::read(reply).unwrap_or_default().data;
    let read = visit(page, |field| {
        match field.tag {
            1 => last_seq = Message::read(field.bytes()?)?.seq,
            2 => has_more = field.number()? != 0,
            _ => {}
        }
        Ok(())
    });
    (read.is_err() || !has_more).then_some(last_seq)
}

/// What a client shall do whose connection ends so.
fn code_of(reason: CloseReason) -> ResultCode {
    match reason {
        CloseReason::CrSignInDeadline
        | CloseReason::CrReplaced
        | CloseReason::CrKicked
        | CloseReason::CrTokenRevoked => ResultCode::SignInAgain,
        CloseReason::CrBadFrame => ResultCode::BadRequest,
        CloseReason::CrFrameTooLarge => ResultCode::TooLarge,
        CloseReason::CrRateLimited => ResultCode::TooManyRequests,
        _ => ResultCode::TryAgainLater,
    }
}
