//! The texts of a content that people read.

use super::{TypedContent, read};
use crate::content::Text;

/// Hands each text of a content to `change`, those of forwarded messages included, and stops at the first error.
pub fn try_for_each_text<E>(
    content: &mut TypedContent,
    change: &mut dyn FnMut(&mut String) -> Result<(), E>,
) -> Result<(), E> {
    match content {
        TypedContent::Text(text) => change(&mut text.text),
        TypedContent::Sticker(sticker) => change(&mut sticker.emoji),
        TypedContent::Gif(_) | TypedContent::Voice(_) => Ok(()),
        TypedContent::Image(image) => change(&mut image.caption),
        TypedContent::Video(video) => change(&mut video.caption),
        TypedContent::File(file) => change(&mut file.name),
        TypedContent::Location(place) => [&mut place.title, &mut place.address].into_iter().try_for_each(change),
        TypedContent::ContactCard(card) => change(&mut card.nickname),
        TypedContent::Custom(custom) => change(&mut custom.preview),
        TypedContent::Reply(reply) => {
            change(&mut reply.quote)?;
            change(&mut reply.text.get_or_insert_with(Text::default).text)
        }
        TypedContent::MergedForward(forward) => {
            change(&mut forward.title)?;
            for message in &mut forward.messages {
                change(&mut message.nickname)?;
                let Some(mut inner) = read(message.command, message.content.clone()) else { continue };
                let before = inner.clone();
                try_for_each_text(&mut inner, change)?;
                if inner != before {
                    message.content = inner.encode_in_place_of(&message.content);
                }
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::{ForwardedMessage, MergedForward};

    #[test]
    fn texts_of_forwarded_messages_are_among_them_and_other_bytes_are_not() {
        let inner = TypedContent::from(Text { text: "inner".into(), ..Text::default() });
        let forwarded =
            |command, content| ForwardedMessage { nickname: "Ada".into(), command, content, ..Default::default() };
        let messages = vec![forwarded(inner.command() as i32, inner.encode()), forwarded(1000, "opaque".into())];
        let mut content = TypedContent::from(MergedForward { title: "title".into(), messages });
        let mut seen = Vec::new();
        let done: Result<(), ()> = try_for_each_text(&mut content, &mut |text| {
            seen.push(text.clone());
            text.make_ascii_uppercase();
            Ok(())
        });
        assert_eq!((done, seen), (Ok(()), ["title", "Ada", "inner", "Ada"].map(str::to_owned).to_vec()));
        let TypedContent::MergedForward(forward) = content else { panic!("it is what it was") };
        let TypedContent::Text(text) = read(200, forward.messages[0].content.clone()).unwrap() else {
            panic!("a text")
        };
        assert_eq!((&text.text[..], &forward.messages[1].content[..]), ("INNER", &b"opaque"[..]));
    }
}
