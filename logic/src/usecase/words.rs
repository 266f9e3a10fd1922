//! The word filter, over what users say in typed contents.

use bytes::Bytes;
use gim_proto::{ResultCode, typed_content};
use metrics::counter;

use crate::{
    clients::word_lists::WordLists,
    domain::{refusal::Refusal, word_filter::Verdict},
    metrics as names,
};

/// What a user says as others get it: as it is, with words covered, or not at all. Bytes of an app's own are never looked into.
pub(super) fn judged(lists: &WordLists, command: i32, content: Bytes) -> Result<Bytes, Refusal> {
    if !typed_content::COMMANDS.contains(&command) {
        return Ok(content);
    }
    let (Some(filter), Some(mut typed)) = (lists.now(), typed_content::read(command, content.clone())) else {
        return Ok(content);
    };
    let mut is_masked = false;
    typed_content::try_for_each_text(&mut typed, &mut |text| {
        match filter.check(text) {
            Verdict::Clean => {}
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
    if !is_masked {
        return Ok(content);
    }
    counter!(names::MESSAGES_FILTERED, "action" => "mask").increment(1);
    Ok(typed.encode())
}
