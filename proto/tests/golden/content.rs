//! Samples of package `content`.

use gim_proto::{connect::MessageCommand, content::*};

use crate::{Sample, sample};

fn text() -> Text {
    Text { text: "text".into(), mentions: vec![mention()], mentions_all: true }
}

fn mention() -> Mention {
    Mention { user_id: 101, offset: 102, length: 103 }
}

fn media() -> Media {
    Media {
        url: "url".into(),
        file_id: "file".into(),
        media_type: "type".into(),
        size_bytes: 104,
        sha256: "sha256".into(),
    }
}

fn forwarded_message() -> ForwardedMessage {
    ForwardedMessage {
        sender_id: 101,
        nickname: "nickname".into(),
        command: MessageCommand::McText as i32,
        content: "content".into(),
        created_at_ms: 105,
    }
}

pub fn samples() -> Vec<Sample> {
    [samples_of_texts(), samples_of_media()].into_iter().flatten().collect()
}

fn samples_of_texts() -> Vec<Sample> {
    vec![
        sample("content.Text", text()),
        sample("content.Mention", mention()),
        sample(
            "content.Location",
            Location { latitude: 1.5, longitude: -2.5, title: "title".into(), address: "address".into() },
        ),
        sample(
            "content.ContactCard",
            ContactCard { user_id: 101, nickname: "nickname".into(), avatar_url: "avatar".into() },
        ),
        sample("content.MergedForward", MergedForward { title: "title".into(), messages: vec![forwarded_message()] }),
        sample("content.ForwardedMessage", forwarded_message()),
        sample("content.Reply", Reply { message_id: 101, sender_id: 102, quote: "quote".into(), text: Some(text()) }),
        sample("content.Custom", Custom { r#type: "type".into(), data: "data".into(), preview: "preview".into() }),
    ]
}

fn samples_of_media() -> Vec<Sample> {
    vec![
        sample("content.Media", media()),
        sample(
            "content.Sticker",
            Sticker {
                pack_id: "pack".into(),
                sticker_id: "sticker".into(),
                emoji: "emoji".into(),
                media: Some(media()),
            },
        ),
        sample("content.Gif", Gif { media: Some(media()), width: 102, height: 103, thumbnail: "thumbnail".into() }),
        sample(
            "content.Image",
            Image {
                media: Some(media()),
                width: 102,
                height: 103,
                thumbnail: "thumbnail".into(),
                caption: "caption".into(),
            },
        ),
        sample("content.Voice", Voice { media: Some(media()), duration_ms: 102, waveform: "waveform".into() }),
        sample(
            "content.Video",
            Video {
                media: Some(media()),
                width: 102,
                height: 103,
                duration_ms: 104,
                thumbnail: "thumbnail".into(),
                caption: "caption".into(),
            },
        ),
        sample("content.File", File { media: Some(media()), name: "name".into() }),
    ]
}
