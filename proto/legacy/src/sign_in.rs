//! The sign-in of a long connection, in which device and user stood the other way round until 2025. Pure.

use crate::fields::{put_bytes, put_number, visit};

/// Today's content of one: written into `scratch`, or as it is where it cannot be read.
pub(crate) fn todays<'a>(content: &'a [u8], scratch: &'a mut Vec<u8>) -> &'a [u8] {
    let (mut device_id, mut user_id, mut token) = (0, 0, "");
    let read = visit(content, |field| {
        match field.tag {
            1 => device_id = field.number()?,
            2 => user_id = field.number()?,
            3 => token = field.text()?,
            _ => {}
        }
        Ok(())
    });
    if read.is_err() {
        return content;
    }
    scratch.clear();
    put_number(scratch, 1, user_id);
    put_number(scratch, 2, device_id);
    put_bytes(scratch, 3, token);
    scratch
}
