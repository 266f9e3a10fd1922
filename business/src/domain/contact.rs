//! Who may reach a user: by a message, and by putting her into a group.

use gim_proto::{ResultCode, business};
use serde::{Deserialize, Serialize};

/// Whom a user lets put her into groups. The numbers are stored and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(i64)]
pub enum AddedBy {
    /// Whoever may write to her.
    #[default]
    Everybody = 1,
    /// Her friends.
    Friends = 2,
    /// No user; only the services that are trusted.
    Nobody = 3,
}

/// How a user stands to one who wants something of her.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Whether the two are friends.
    pub are_friends: bool,
    /// Whether she blocked the other one.
    pub has_blocked: bool,
    /// Her own rule, where she has one.
    pub added_by: Option<AddedBy>,
}

/// Why somebody may not: a code, and a sentence for that user.
pub type Refused = (ResultCode, &'static str);

/// She does not want to hear of whoever asks.
pub const BLOCKED: Refused = (ResultCode::NotAllowed, "this user has blocked you");

impl AddedBy {
    /// The rule with this number, on the wire and as it is stored; none for the rule of the settings.
    pub fn of_number(number: i64) -> Option<Self> {
        [Self::Everybody, Self::Friends, Self::Nobody].into_iter().find(|rule| *rule as i64 == number)
    }
}

impl From<AddedBy> for business::AddedBy {
    fn from(rule: AddedBy) -> Self {
        match rule {
            AddedBy::Everybody => Self::AbEverybody,
            AddedBy::Friends => Self::AbFriends,
            AddedBy::Nobody => Self::AbNobody,
        }
    }
}

impl Standing {
    /// Whether the other one may write to her.
    pub fn may_be_written_to(self, only_friends_write: bool) -> Result<(), Refused> {
        if only_friends_write && !self.are_friends {
            return Err((ResultCode::NotFriends, ResultCode::NotFriends.text()));
        }
        if self.has_blocked { Err(BLOCKED) } else { Ok(()) }
    }

    /// Whether the other one may put her into a group; `usual` is the rule of those who have none of their own. What a group
    /// says is written to her: who may not write may not add.
    pub fn may_be_added(self, only_friends_write: bool, usual: AddedBy) -> Result<(), Refused> {
        self.may_be_written_to(only_friends_write)?;
        match self.added_by.unwrap_or(usual) {
            AddedBy::Friends if !self.are_friends => {
                Err((ResultCode::NotFriends, "only friends may put this user into groups"))
            }
            AddedBy::Nobody => Err((ResultCode::NotAllowed, "this user lets nobody put her into groups")),
            AddedBy::Everybody | AddedBy::Friends => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(answer: Result<(), Refused>) -> Option<ResultCode> {
        answer.err().map(|(code, _)| code)
    }

    #[test]
    fn her_own_rule_decides_who_adds_a_user_and_else_that_of_the_settings() {
        let (not_friends, not_allowed) = (Some(ResultCode::NotFriends), Some(ResultCode::NotAllowed));
        let expected = [(AddedBy::Everybody, [None, None]), (AddedBy::Friends, [not_friends, None])];
        for (rule, codes) in expected.into_iter().chain([(AddedBy::Nobody, [not_allowed; 2])]) {
            let standing = |are_friends, added_by| Standing { are_friends, added_by, ..Standing::default() };
            for usual in [AddedBy::Everybody, AddedBy::Nobody] {
                let by = |are_friends| code(standing(are_friends, Some(rule)).may_be_added(false, usual));
                assert_eq!([by(false), by(true)], codes, "{rule:?}");
            }
            let by = |are_friends| code(standing(are_friends, None).may_be_added(false, rule));
            assert_eq!([by(false), by(true)], codes, "{rule:?} of the settings");
        }
    }

    #[test]
    fn who_may_not_write_may_not_add() {
        let open = Standing { added_by: Some(AddedBy::Everybody), ..Standing::default() };
        assert_eq!(code(open.may_be_added(true, AddedBy::Everybody)), Some(ResultCode::NotFriends));
        let blocking = Standing { has_blocked: true, are_friends: true, ..open };
        assert_eq!(blocking.may_be_added(false, AddedBy::Everybody), Err(BLOCKED));
        assert_eq!(blocking.may_be_written_to(true), Err(BLOCKED));
    }

    #[test]
    fn numbers_are_those_of_the_wire() {
        for rule in [AddedBy::Everybody, AddedBy::Friends, AddedBy::Nobody] {
            let number = i64::from(business::AddedBy::from(rule) as i32);
            assert_eq!((number, AddedBy::of_number(number)), (rule as i64, Some(rule)));
        }
        assert_eq!(AddedBy::of_number(i64::from(business::AddedBy::AbDefault as i32)), None);
    }
}
