//! By what a message with a key of its client is found again: 16 bytes in a column of its own, under which no two messages are.
//!
//! Pure. They begin with the end of the sender's id, so that the keys of one sender stand together in the index, whose part for those
//! who write at the moment is small; the other 12 are of a SHA-256 over sender and key. Always holds: two keys with the same bytes would
//! take senders who share the first four and, even of one sender's own choice, 2^48 tries; nobody can find one that meets the key of a
//! certain other message. Keys of up to 64 bytes themselves would more than double what is stored for them.
//! On MySQL the upgrade makes the same bytes in SQL.

use ring::digest::{Context, SHA256};

use super::work::Key;

/// How many bytes tell the sender.
const SENDER_BYTES: usize = 4;

/// Which message, for the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct SendKey([u8; 16]);

impl SendKey {
    /// That of a key, among those of its sender.
    pub(super) fn of((sender_id, client_msg_id): Key<'_>) -> Self {
        let sender = sender_id.to_be_bytes();
        let mut context = Context::new(&SHA256);
        context.update(&sender);
        context.update(client_msg_id.as_bytes());
        let digest = context.finish();
        let mut bytes = [0; 16];
        let (of_sender, of_key) = bytes.split_at_mut(SENDER_BYTES);
        of_sender.copy_from_slice(&sender[sender.len() - SENDER_BYTES..]);
        of_key.copy_from_slice(&digest.as_ref()[..of_key.len()]);
        Self(bytes)
    }

    /// That which stands in a column, if one does.
    pub(super) fn from_column(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_differ_by_every_byte_and_those_of_a_sender_stand_together() {
        let key = |sender_id, client_msg_id| SendKey::of((sender_id, client_msg_id));
        let (first, far) = (key(7, "a"), key(7 + (1 << 32), "a"));
        assert_eq!(first, key(7, "a"));
        assert_eq!(first.bytes()[..4], [0, 0, 0, 7]);
        assert_eq!(first.bytes()[..4], far.bytes()[..4]);
        for other in [far, key(8, "a"), key(7, "b"), key(7, ""), key(7, "a\0"), key(7, "aa")] {
            assert_ne!(other.bytes()[4..], first.bytes()[4..]);
        }
        assert_eq!(SendKey::from_column(first.bytes()), Some(first));
        assert_eq!(SendKey::from_column(b"short"), None);
    }

    /// What is stored is found by later versions, too.
    #[test]
    fn a_key_has_the_same_bytes_for_ever() {
        let hex: String = SendKey::of((7, "m-1")).bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "00000007f56dc10f0a0ff9745fbd01d3");
    }
}
