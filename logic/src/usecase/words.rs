//! The word filter, over what users say in typed contents, and over what a backend asks for.

use bytes::Bytes;
use gim_proto::{ResultCode, logic::UserMessagePush, typed_content};
use metrics::counter;
use prost::Message as _;

use crate::{
    clients::word_lists::WordLists,
    domain::{
        message::{Message, check_content},
        refusal::Refusal,
        word_filter::Verdict,
    },
    metrics as names,
};

/// Words that are named of one message.
const FLAGGED_WORDS_MAX: usize = 16;

/// Checks what is said, and returns it as others get it: as it is, with words covered, or not at all. Bytes of an app's own are never
/// looked into.
pub(super) fn judged(lists: &WordLists, command: i32, content: Bytes, bytes_max: usize) -> Result<Bytes, Refusal> {
    let typed = check_content(command, &content, bytes_max)?;
    let (Some(filter), Some(mut typed)) = (lists.now(), typed) else { return Ok(content) };
    let (mut is_masked, mut is_flagged) = (false, false);
    typed_content::try_for_each_text(&mut typed, &mut |text| {
        match filter.check(text) {
            Verdict::Clean => {}
            Verdict::Flagged => is_flagged = true,
            Verdict::Masked(masked) => {
                *text = masked;
                is_masked = true;
            }
            Verdict::Refused => {
                counter!(names::MESSAGES_FILTERED, "action" => "refuse").increment(1);
                let problem = "content: has a word that is not allowed here";
                return Err(Refusal::new(ResultCode::NotAllowed, problem));
            }
        }
        Ok(())
    })?;
    if is_masked {
        counter!(names::MESSAGES_FILTERED, "action" => "mask").increment(1);
        return Ok(typed.encode());
    }
    if is_flagged {
        counter!(names::MESSAGES_FILTERED, "action" => "flag").increment(1);
    }
    Ok(content)
}

/// The words for which the business is told of a stored message of a user, as the lists have them, up to [`FLAGGED_WORDS_MAX`]. Judged
/// when it is asked, by the lists of that moment: a send stores nothing for it.
pub fn flagged_words(lists: &WordLists, message: &Message) -> Vec<String> {
    let is_typed = message.sender_id != 0 && typed_content::COMMANDS.contains(&message.command);
    let Some(filter) = lists.now().filter(|filter| is_typed && filter.flags()) else { return Vec::new() };
    // Both kinds of wrapper have what was said in the same field.
    let Ok(UserMessagePush { content, .. }) = UserMessagePush::decode(message.content.clone()) else {
        return Vec::new();
    };
    let Some(mut typed) = typed_content::read(message.command, content) else { return Vec::new() };
    let mut found = Vec::new();
    let looked: Result<(), ()> = typed_content::try_for_each_text(&mut typed, &mut |text| {
        for word in filter.flagged(text) {
            if !found.iter().any(|other| other == word) {
                found.push(word.to_owned());
            }
        }
        if found.len() < FLAGGED_WORDS_MAX { Ok(()) } else { Err(()) }
    });
    if looked.is_err() {
        found.truncate(FLAGGED_WORDS_MAX);
    }
    found
}
