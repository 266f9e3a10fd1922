//! What logic nodes tell each other: what they may remember of the business's answers holds no more.

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutOfDate {
    /// Everything: what was said meanwhile is not known.
    Everything,
    /// What a user's card is.
    Card(u64),
    /// Whether two users may write to each other.
    Pair(u64, u64),
    /// Whether a user (0 for all) may write into a room.
    RoomWriter {
        /// Who.
        user_id: u64,
        /// Where.
        room_id: u64,
    },
    /// That the tokens of a user's device (0 for all devices) are good.
    Tokens {
        /// Whose.
        user_id: u64,
        /// Of which device.
        device_id: u64,
    },
}

impl OutOfDate {
    /// As one node tells it to others.
    pub fn encode(self) -> String {
        match self {
            Self::Everything => "everything:0:0".to_owned(),
            Self::Card(user_id) => format!("card:{user_id}:0"),
            Self::Pair(one, other) => format!("pair:{one}:{other}"),
            Self::RoomWriter { user_id, room_id } => format!("room:{user_id}:{room_id}"),
            Self::Tokens { user_id, device_id } => format!("tokens:{user_id}:{device_id}"),
        }
    }

    /// What [`Self::encode`] made. What a newer version says, and is not understood here, is everything.
    pub fn decode(told: &str) -> Self {
        let mut parts = told.split(':');
        let kind = parts.next();
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (Some(first), Some(second)) = (number(), number()) else { return Self::Everything };
        match kind {
            Some("card") => Self::Card(first),
            Some("pair") => Self::Pair(first, second),
            Some("room") => Self::RoomWriter { user_id: first, room_id: second },
            Some("tokens") => Self::Tokens { user_id: first, device_id: second },
            _ => Self::Everything,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_date_comes_back_as_it_was() {
        for what in [
            OutOfDate::Everything,
            OutOfDate::Card(7),
            OutOfDate::Pair(7, u64::MAX),
            OutOfDate::RoomWriter { user_id: 0, room_id: 9 },
            OutOfDate::Tokens { user_id: 7, device_id: 0 },
        ] {
            assert_eq!(OutOfDate::decode(&what.encode()), what);
        }
        for unknown in ["", "pair", "pair:7", "pair:7:x", "moods:7:8"] {
            assert_eq!(OutOfDate::decode(unknown), OutOfDate::Everything, "{unknown}");
        }
    }
}
