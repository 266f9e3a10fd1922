//! What a group and its members are, and the limits of what is said about them.

mod action;
mod rules;

use gim_proto::{
    check::{self, Violation},
    logic::{self, GroupKind, MemberType},
};

pub use action::{GroupAction, GroupRefusal, MemberLimits};
pub use rules::{Actor, Change, Facts};

/// Longest name of a group, and nickname of a member.
const NAME_BYTES_MAX: usize = 256;

/// Longest of the other texts of a group.
const TEXT_BYTES_MAX: usize = 4096;

/// Longest `extra` of a member.
const MEMBER_EXTRA_BYTES_MAX: usize = 1024;

/// How the messages of a group reach its members.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A copy in the inbox of each.
    Normal,
    /// One timeline for all.
    Large,
}

/// What is told of a group.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// Where its picture is.
    pub avatar_url: String,
    /// What it is about.
    pub introduction: String,
    /// For the app.
    pub extra: String,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Its id.
    pub id: u64,
    /// How its messages travel.
    pub kind: Kind,
    /// What is told of it.
    pub profile: Profile,
    /// How many are in it.
    pub member_count: u64,
    /// How many of them are admins.
    pub admin_count: u64,
    /// Raised by every change of its members.
    pub version: u64,
    /// The newest message of its timeline.
    pub seq: u64,
    /// Of a large group: messages up to here are in the inboxes, those after it in the timeline only.
    pub large_after_seq: u64,
}

/// A member of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user_id: u64,
    /// Whether he may change the group.
    pub is_admin: bool,
    /// A number of the app.
    pub status: i32,
    /// What he is called here.
    pub nickname: String,
    /// For the app.
    pub extra: String,
}

impl Group {
    /// The group on the wire.
    pub fn to_wire(&self) -> logic::Group {
        let Profile { name, avatar_url, introduction, extra } = self.profile.clone();
        logic::Group {
            id: self.id,
            name,
            avatar_url,
            introduction,
            extra,
            kind: self.kind.to_wire(),
            member_count: u32::try_from(self.member_count).unwrap_or(u32::MAX),
        }
    }
}

impl Kind {
    /// A `logic.GroupKind`.
    pub fn to_wire(self) -> i32 {
        match self {
            Self::Normal => GroupKind::GkNormal as i32,
            Self::Large => GroupKind::GkLarge as i32,
        }
    }
}

impl Member {
    /// Whether the same is said of both, but for `is_admin`.
    fn is_described_as(&self, other: &Self) -> bool {
        let Self { user_id: _, is_admin: _, status, nickname, extra } = self;
        *status == other.status && *nickname == other.nickname && *extra == other.extra
    }

    /// The member on the wire.
    pub fn to_wire(&self) -> logic::GroupMember {
        logic::GroupMember {
            user_id: self.user_id,
            nickname: self.nickname.clone(),
            r#type: if self.is_admin { MemberType::MtAdmin } else { MemberType::MtMember } as i32,
            status: self.status,
            extra: self.extra.clone(),
        }
    }
}

/// The kind that a request names.
pub fn check_kind(kind: i32) -> Result<Kind, Violation> {
    match GroupKind::try_from(kind) {
        Ok(GroupKind::GkNormal) => Ok(Kind::Normal),
        Ok(GroupKind::GkLarge) => Ok(Kind::Large),
        Err(_) => Err(check::invalid("group.kind", format!("there is no kind {kind}"))),
    }
}

/// Checks what a request tells of a group.
pub fn check_profile(group: logic::Group) -> Result<Profile, Violation> {
    check::filled("group.name", &group.name, NAME_BYTES_MAX)?;
    check::size("group.avatar_url", &group.avatar_url, TEXT_BYTES_MAX)?;
    check::size("group.introduction", &group.introduction, TEXT_BYTES_MAX)?;
    check::size("group.extra", &group.extra, TEXT_BYTES_MAX)?;
    let logic::Group { name, avatar_url, introduction, extra, .. } = group;
    Ok(Profile { name, avatar_url, introduction, extra })
}

/// Checks a member in a request. Without a type he is an ordinary one.
pub fn check_member(member: logic::GroupMember) -> Result<Member, Violation> {
    check::id("members.user_id", member.user_id)?;
    check::size("members.nickname", &member.nickname, NAME_BYTES_MAX)?;
    check::size("members.extra", &member.extra, MEMBER_EXTRA_BYTES_MAX)?;
    let is_admin = match MemberType::try_from(member.r#type) {
        Ok(MemberType::MtAdmin) => true,
        Ok(MemberType::MtMember | MemberType::MtUnknown) => false,
        Err(_) => return Err(check::invalid("members.type", format!("there is no type {}", member.r#type))),
    };
    if member.status < 0 {
        return Err(check::invalid("members.status", "must not be negative"));
    }
    let logic::GroupMember { user_id, status, nickname, extra, .. } = member;
    Ok(Member { user_id, is_admin, status, nickname, extra })
}

/// Fails where a user is named twice. Sorts the list.
pub fn check_twice(field: &str, user_ids: &mut [u64]) -> Result<(), Violation> {
    user_ids.sort_unstable();
    match user_ids.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(check::invalid(field, format!("user {} is there twice", pair[0]))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use gim_proto::ResultCode;

    use super::*;

    fn problem<T: std::fmt::Debug>(result: Result<T, Violation>) -> String {
        result.unwrap_err().to_string()
    }

    #[test]
    fn a_profile_needs_a_name_within_limits() {
        let group = |name: &str| logic::Group { name: name.into(), ..logic::Group::default() };
        assert_eq!(check_profile(group("x")).unwrap().name, "x");
        assert_eq!(problem(check_profile(group(""))), "group.name: must not be empty");
        let refusal = check_profile(group(&"x".repeat(NAME_BYTES_MAX + 1))).unwrap_err();
        assert_eq!(refusal.code, ResultCode::TooLarge);
        let long = logic::Group { extra: "x".repeat(TEXT_BYTES_MAX + 1), ..group("x") };
        assert!(problem(check_profile(long)).starts_with("group.extra: "));
    }

    #[test]
    fn a_member_is_an_ordinary_one_unless_the_type_says_admin() {
        let member = |r#type| logic::GroupMember { user_id: 7, r#type, ..logic::GroupMember::default() };
        assert!(!check_member(member(0)).unwrap().is_admin);
        assert!(check_member(member(1)).unwrap().is_admin);
        assert!(!check_member(member(2)).unwrap().is_admin);
        assert_eq!(problem(check_member(member(3))), "members.type: there is no type 3");
        assert!(
            problem(check_member(logic::GroupMember { user_id: u64::MAX, ..member(0) })).starts_with("members.user_id")
        );
        assert!(problem(check_member(logic::GroupMember { status: -1, ..member(0) })).starts_with("members.status"));
        assert_eq!(problem(check_kind(2)), "group.kind: there is no kind 2");
    }

    #[test]
    fn nobody_is_named_twice() {
        check_twice("members", &mut [3, 1, 2]).unwrap();
        assert_eq!(problem(check_twice("members", &mut [3, 1, 3])), "members: user 3 is there twice");
    }
}
