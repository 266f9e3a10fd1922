//! Close reasons: PROTOCOL.md part 5, one closed list for the CLOSE packet, the log field and the metric label.

pub use crate::connect::CloseReason;

/// What a close reason implies for the peer and for the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseRule {
    /// The name in logs and the metric label.
    pub label: &'static str,
    /// The sentence in the CLOSE packet.
    pub text: &'static str,
    /// Whether the peer can still read a CLOSE packet and deserves one.
    pub says_goodbye: bool,
    /// Whether an operator should see it without asking (warn), rather than only when looking closer (debug).
    pub is_notable: bool,
}

impl CloseReason {
    /// Every reason a connection can end for.
    pub const ALL: [CloseReason; 14] = [
        Self::CrSignInDeadline,
        Self::CrBadFrame,
        Self::CrFrameTooLarge,
        Self::CrHeartbeatTimeout,
        Self::CrReplaced,
        Self::CrKicked,
        Self::CrSlowConsumer,
        Self::CrRateLimited,
        Self::CrServerDraining,
        Self::CrServerOverloaded,
        Self::CrTokenRevoked,
        Self::CrPeerClosed,
        Self::CrIoError,
        Self::CrAddressFull,
    ];

    /// The one table of what each reason implies.
    pub const fn rule(self) -> CloseRule {
        const fn rule(label: &'static str, text: &'static str, says_goodbye: bool, is_notable: bool) -> CloseRule {
            CloseRule { label, text, says_goodbye, is_notable }
        }
        match self {
            Self::CrUnknown => rule("unknown", "closed", true, true),
            Self::CrSignInDeadline => rule("sign_in_deadline", "no sign-in within the deadline", true, false),
            Self::CrBadFrame => rule("bad_frame", "the bytes are no frame of this protocol", true, false),
            Self::CrFrameTooLarge => rule("frame_too_large", "the frame is over the limit", true, false),
            Self::CrHeartbeatTimeout => rule("heartbeat_timeout", "no heartbeat within the deadline", true, false),
            Self::CrReplaced => rule("replaced", "replaced by a newer sign-in of the device", true, false),
            Self::CrKicked => rule("kicked", "closed by the server", true, false),
            Self::CrSlowConsumer => rule("slow_consumer", "the connection reads too slowly", true, true),
            Self::CrRateLimited => rule("rate_limited", "too many requests", true, true),
            Self::CrServerDraining => {
                rule("server_draining", "the server is going down, please reconnect", true, false)
            }
            Self::CrServerOverloaded => rule("server_overloaded", "the server is full, please try later", true, true),
            Self::CrTokenRevoked => rule("token_revoked", "the token was revoked, please sign in again", true, false),
            Self::CrPeerClosed => rule("peer_closed", "closed by the peer", false, false),
            Self::CrIoError => rule("io_error", "the connection failed", false, false),
            Self::CrAddressFull => {
                let text = "your address has as many connections as it may have, please try later";
                rule("address_full", text, true, true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn labels_are_unique_and_fit_a_metric() {
        let labels: HashSet<_> = CloseReason::ALL.iter().map(|reason| reason.rule().label).collect();
        assert_eq!(labels.len(), CloseReason::ALL.len());
        assert!(labels.iter().all(|label| label.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase())));
    }
}
