//! The word filter, over what users say in typed contents, and over what a backend asks for.

use bytes::Bytes;
use gim_proto::{ResultCode, typed_content};
use metrics::counter;

use crate::{
    clients::word_lists::WordLists,
    domain::{message::check_content, refusal::Refusal, word_filter::Verdict},
    metrics as names,
};

/// Checks what is said, and returns it as others get it: as it is, with words covered, or not at all. Bytes of an app's own are never
/// looked into.
pub(super) fn judged(lists: &WordLists, command: i32, content: Bytes, bytes_max: usize) -> Result<Bytes, Refusal> {
    let typed = check_content(command, &content, bytes_max)?;
    let (Some(filter), Some(_)) = (lists.now(), typed) else { return Ok(content) };
    let mut is_flagged = false;
    let masked = typed_content::changed_texts(command, &content, &mut |text| match filter.check(text) {
        Verdict::Clean => Ok(None),
        Verdict::Flagged => {
            is_flagged = true;
            Ok(None)
        }
        Verdict::Masked(masked) => Ok(Some(masked)),
        Verdict::Refused => {
            counter!(names::MESSAGES_FILTERED, "action" => "refuse").increment(1);
            Err(Refusal::new(ResultCode::NotAllowed, "content: has a word that is not allowed here"))
        }
    })?;
    if let Some(masked) = masked {
        counter!(names::MESSAGES_FILTERED, "action" => "mask").increment(1);
        return Ok(masked);
    }
    if is_flagged {
        counter!(names::MESSAGES_FILTERED, "action" => "flag").increment(1);
    }
    Ok(content)
}
