//! The sign-in of a long connection, in which device and user stood the other way round until 2025. Pure.

use crate::fields::{Malformed, put_bytes, put_number, visit};

/// Fields that only newer clients have. Whoever sets one has user and device the other way round, and no token of theirs is wrong.
const NEWER: std::ops::RangeInclusive<u32> = 16..=17;

/// Today's content of one: written into `scratch`, or as it is where it cannot be read.
///
/// # Errors
/// Where it is a newer client's.
pub(crate) fn todays<'a>(content: &'a [u8], scratch: &'a mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    let (mut device_id, mut user_id, mut token, mut is_newer) = (0, 0, "", false);
    let read = visit(content, |field| {
        match field.tag {
            1 => device_id = field.number()?,
            2 => user_id = field.number()?,
            3 => token = field.text()?,
            tag if NEWER.contains(&tag) => is_newer = true,
            _ => {}
        }
        Ok(())
    });
    if read.is_err() {
        return Ok(content);
    }
    if is_newer {
        return Err(Malformed::Newer);
    }
    scratch.clear();
    put_number(scratch, 1, user_id);
    put_number(scratch, 2, device_id);
    put_bytes(scratch, 3, token);
    Ok(scratch)
}
