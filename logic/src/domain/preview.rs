//! The line of text that stands for a stored message in lists and notifications. Pure.

use gim_proto::{
    connect::{MessageCommand, MessageStatus},
    logic::UserMessagePush,
    typed_content,
};
use prost::Message as _;

use super::message::Message;

/// The line of a message, of whose content the first [`typed_content::BEGINNING_BYTES_MAX`] bytes are enough: of a typed content, and of
/// the text of a plain message. Empty for what is neither, and for what was recalled or is kept no longer.
pub fn preview_of(message: &Message) -> String {
    if message.status != MessageStatus::MsNormal as i32 {
        return String::new();
    }
    if message.sender_id == 0 {
        return typed_content::preview_of_beginning(message.command, &message.content);
    }
    // Both kinds of wrapper have what was said in the same field.
    let wrapper = UserMessagePush::decode(&typed_content::whole_wrapper(&message.content)[..]);
    let Ok(UserMessagePush { content, .. }) = wrapper else { return String::new() };
    let plain = [MessageCommand::McUserMessage, MessageCommand::McGroupMessage];
    if plain.iter().any(|&plain| message.command == plain as i32) {
        typed_content::one_line(&String::from_utf8_lossy(&content))
    } else {
        typed_content::preview_of_beginning(message.command, &content)
    }
}

#[cfg(test)]
mod tests {
    use gim_proto::content::Text;

    use super::*;

    fn said(command: MessageCommand, content: Vec<u8>) -> Message {
        let wrapper = UserMessagePush { from_user: None, to_user_id: 8, content: content.into() };
        Message {
            command: command as i32,
            content: wrapper.encode_to_vec().into(),
            sender_id: 7,
            ..Message::expired(1)
        }
    }

    #[test]
    fn a_line_stands_for_what_is_said_and_for_nothing_that_is_gone() {
        let text = Text { text: "Hello".into(), ..Text::default() }.encode_to_vec();
        let normal = |message| Message { status: MessageStatus::MsNormal as i32, ..message };
        let mut typed = normal(said(MessageCommand::McText, text.clone()));
        assert_eq!(preview_of(&typed), "Hello");
        assert_eq!(preview_of(&normal(said(MessageCommand::McGroupMessage, b"plain\nwords".to_vec()))), "plain words");
        assert_eq!(preview_of(&Message { sender_id: 0, content: text.into(), ..typed.clone() }), "Hello");
        typed.content.truncate(typed.content.len() - 2);
        assert_eq!(preview_of(&typed), "Hel");
        typed.status = MessageStatus::MsRecalled as i32;
        assert_eq!(preview_of(&typed), "");
        assert_eq!(
            preview_of(&normal(Message { command: 120, sender_id: 0, ..said(MessageCommand::McText, vec![]) })),
            ""
        );
    }
}
