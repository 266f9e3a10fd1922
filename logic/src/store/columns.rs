//! How numbers and lists stand in the columns of tables.
//!
//! Ids and seqs are unsigned to us and signed to SQL; [`gim_proto::check::ID_MAX`] keeps both the same.

use prost::encoding::{decode_varint, encode_varint};
use sqlx::{Row as _, any::AnyRow};

use crate::domain::message::Message;

pub(super) fn to_sql(value: u64) -> i64 {
    value.cast_signed()
}

pub(super) fn from_sql(value: i64) -> u64 {
    value.cast_unsigned()
}

/// A column of small numbers.
pub(super) fn small(row: &AnyRow, index: usize) -> Result<i32, sqlx::Error> {
    i32::try_from(row.try_get::<i64, _>(index)?).map_err(|error| sqlx::Error::Decode(error.into()))
}

/// An id as a varint has so many bytes at most.
pub(super) const RECEIVER_BYTES_MAX: usize = 9;

/// The receivers of a message: ids as varints, one after the other.
pub(super) fn encode_receivers(user_ids: &[u64]) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(user_ids.len() * RECEIVER_BYTES_MAX);
    user_ids.iter().for_each(|&user_id| encode_varint(user_id, &mut encoded));
    encoded
}

/// Those of a message, its sender first, as they are for whoever recalls it; they may be from a list of its group.
pub(super) fn receivers_of(message: &Message, encoded: &[u8]) -> Vec<u64> {
    let mut user_ids = decode_receivers(encoded);
    if let Some(place) = user_ids.iter().position(|&user_id| user_id == message.sender_id) {
        user_ids[..=place].rotate_right(1);
    }
    user_ids
}

pub(super) fn decode_receivers(mut encoded: &[u8]) -> Vec<u64> {
    std::iter::from_fn(|| decode_varint(&mut encoded).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receivers_survive_the_trip_through_a_column() {
        for user_ids in [&[][..], &[7], &[1, u64::MAX >> 1, 300]] {
            assert_eq!(decode_receivers(&encode_receivers(user_ids)), user_ids);
        }
        let of_sender = |sender_id| receivers_of(&Message::unnumbered(1, "".into(), sender_id), &[1, 2, 3]);
        assert_eq!([of_sender(1), of_sender(3), of_sender(9)], [[1, 2, 3], [3, 1, 2], [1, 2, 3]]);
    }
}
