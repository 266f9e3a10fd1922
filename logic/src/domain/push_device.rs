//! A device that can be woken, and by whose service: what its push id looks like says it.

/// A device that a push id is known of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushDevice {
    /// Whose.
    pub user_id: u64,
    /// Which of that user's devices.
    pub device_id: u64,
    /// A `logic.DeviceType`.
    pub device_type: i32,
    /// What the device said that it is reached under.
    pub push_id: String,
}

/// Whose service reaches a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PushService {
    /// Google's.
    Fcm,
    /// Apple's.
    Apns,
    /// That of a browser.
    WebPush,
}

/// Digits of the shortest token of Apple's.
const APNS_DIGITS_MIN: usize = 64;

impl PushService {
    /// By a push id, and what that service knows the device as.
    pub fn of(push_id: &str) -> (Self, &str) {
        let named = [("fcm:", Self::Fcm), ("apns:", Self::Apns), ("webpush:", Self::WebPush)];
        if let Some(found) = named.iter().find_map(|(name, service)| Some((*service, push_id.strip_prefix(name)?))) {
            return found;
        }
        let is_hexadecimal = push_id.bytes().all(|byte| byte.is_ascii_hexdigit());
        match push_id {
            _ if push_id.starts_with('{') => (Self::WebPush, push_id),
            _ if is_hexadecimal && push_id.len() >= APNS_DIGITS_MIN => (Self::Apns, push_id),
            _ => (Self::Fcm, push_id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_id_says_whose_it_is() {
        let token = "0123456789abcdefABCDEF0123456789".repeat(2);
        assert_eq!(PushService::of(&token), (PushService::Apns, token.as_str()));
        assert_eq!(PushService::of(&token[1..]), (PushService::Fcm, &token[1..]));
        assert_eq!(PushService::of("apns:00ff"), (PushService::Apns, "00ff"));
        assert_eq!(PushService::of("fcm:{}"), (PushService::Fcm, "{}"));
        assert_eq!(PushService::of("webpush:{}"), (PushService::WebPush, "{}"));
        assert_eq!(PushService::of("{\"endpoint\":1}"), (PushService::WebPush, "{\"endpoint\":1}"));
        assert_eq!(PushService::of("dQw4:APA91b-x_y"), (PushService::Fcm, "dQw4:APA91b-x_y"));
    }
}
