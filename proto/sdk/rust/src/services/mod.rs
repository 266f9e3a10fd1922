//! What is asked by calls: conversations, history, groups, friends, users, rooms, devices. Each borrows the client, and holds nothing.
//!
//! What has no more to it than its fields is given and taken as the message of [`proto`](crate::proto) that it is.

mod conversations;
mod devices;
mod friends;
mod groups;
mod history;
mod rooms;

pub use self::{
    conversations::{Conversation, ConversationFields, ConversationPage, Conversations, Readers},
    devices::{DeviceFields, Devices},
    friends::{Friends, Users},
    groups::Groups,
    history::{History, HistoryPage, HistoryPlace},
    rooms::Rooms,
};
use crate::{client::Client, error::GimError};

/// Pages of a list, until a server that says for ever that there is more is not believed.
const PAGES_MAX: usize = 10_000;

impl Client {
    /// The user's conversations.
    pub fn conversations(&self) -> Conversations<'_> {
        Conversations { client: self }
    }

    /// What the server keeps of conversations.
    pub fn history(&self) -> History<'_> {
        History { client: self }
    }

    /// Groups and their members.
    pub fn groups(&self) -> Groups<'_> {
        Groups { client: self }
    }

    /// Friends, with the users of gim's own business.
    pub fn friends(&self) -> Friends<'_> {
        Friends { client: self }
    }

    /// The user's own device.
    pub fn devices(&self) -> Devices<'_> {
        Devices { client: self }
    }

    /// Users, with those of gim's own business.
    pub fn users(&self) -> Users<'_> {
        Users { client: self }
    }

    /// Who is in rooms. Entering one and leaving it belong to the connection: [`Client::enter_room`].
    pub fn rooms(&self) -> Rooms<'_> {
        Rooms { client: self }
    }
}

/// All of a list whose pages begin after an id; each answer is a page, its last id and whether there is more.
async fn all_pages<T, Page>(mut page: impl FnMut(u64) -> Page) -> Result<Vec<T>, GimError>
where
    Page: Future<Output = Result<(Vec<T>, Option<u64>, bool), GimError>>,
{
    let (mut all, mut after) = (Vec::new(), 0);
    for _ in 0..PAGES_MAX {
        let (items, last_id, has_more) = page(after).await?;
        all.extend(items);
        match last_id {
            Some(last_id) if has_more && last_id > after => after = last_id,
            _ => break,
        }
    }
    Ok(all)
}
