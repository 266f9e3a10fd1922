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
        return Ok(typed.encode_in_place_of(&content));
    }
    if is_flagged {
        counter!(names::MESSAGES_FILTERED, "action" => "flag").increment(1);
    }
    Ok(content)
}
