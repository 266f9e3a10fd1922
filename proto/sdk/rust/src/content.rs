//! Contents that every chat needs, instead of bytes of the app's own (PROTOCOL.md, part 13). No IO, no state.

use gim_proto::{connect::MessageCommand, typed_content};
pub use gim_proto::{
    content::{
        ContactCard, Custom, File, ForwardedMessage, Gif, Image, Location, Media, Mention, MergedForward, Reply,
        Sticker, Text, Video, Voice,
    },
    typed_content::TypedContent,
};

use crate::message::{Message, text_of};

/// What a message says. None where its bytes are of the app's own, and where there is nothing left of it.
pub fn content_of(message: &Message) -> Option<TypedContent> {
    typed_content::read(message.command, message.content.clone())
}

/// One line for lists and notifications: of a typed content, and of the text of a plain message. Empty for what is neither.
pub fn preview_of(message: &Message) -> String {
    let is_plain = [MessageCommand::McUserMessage, MessageCommand::McGroupMessage]
        .iter()
        .any(|&plain| message.command == plain as i32);
    if is_plain && message.from.is_some() {
        return typed_content::one_line(&text_of(message));
    }
    typed_content::preview(message.command, message.content.clone())
}
