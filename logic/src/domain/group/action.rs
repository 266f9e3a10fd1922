//! What may be asked of a group, and why it may be refused.

use gim_proto::{ResultCode, logic::UpdateGroupPush};

use super::{Kind, Member, Profile};

/// Something to be done with a group, all of it or nothing.
#[derive(Debug, Clone)]
pub enum GroupAction {
    /// A message to all members.
    Send,
    /// A new group, with its first members.
    Create {
        /// How its messages travel.
        kind: Kind,
        /// What is told of it.
        profile: Profile,
        /// Who is in it.
        members: Vec<Member>,
    },
    /// Another profile. [`Kind::Large`] converts it, [`Kind::Normal`] leaves the kind as it is.
    Update {
        /// How its messages travel from now on.
        kind: Kind,
        /// What is told of it.
        profile: Profile,
    },
    /// More members.
    AddMembers(Vec<Member>),
    /// Another description of a member.
    UpdateMember {
        /// Of whom, and what it is; `is_admin` counts only where `is_type_given`.
        member: Member,
        /// Whether he becomes an admin, or an ordinary member.
        is_type_given: bool,
        /// The notice, to be completed by the profile of the group.
        notice: UpdateGroupPush,
    },
    /// Fewer members.
    RemoveMembers(Vec<u64>),
}

/// How many members a group may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberLimits {
    /// A normal one.
    pub normal: usize,
    /// A large one.
    pub large: usize,
}

impl MemberLimits {
    /// Of this kind.
    pub fn of(self, kind: Kind) -> usize {
        match kind {
            Kind::Normal => self.normal,
            Kind::Large => self.large,
        }
    }
}

/// Why nothing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GroupRefusal {
    /// There is no such group.
    #[error("there is no group {0}")]
    NoGroup(u64),
    /// A new group was to have the id of one that is there.
    #[error("group.id: there is a group {0} already")]
    Taken(u64),
    /// Whoever asks is not in it.
    #[error("you are not in group {0}")]
    NotInGroup(u64),
    /// Whoever asks is no admin.
    #[error("only admins of the group may do this")]
    NotAdmin,
    /// The user that was named is not in it.
    #[error("user {0} is not in the group")]
    NoMember(u64),
    /// The user that was named is in it already.
    #[error("user {0} is in the group already")]
    AlreadyMember(u64),
    /// The user that was named left, and was not asked whether she wants to come back.
    #[error("user {0} left the group: other members cannot put her into it again")]
    HasLeft(u64),
    /// There would be too many.
    #[error("members: a normal group has at most {0}; make it a large one first")]
    TooManyForNormal(usize),
    /// There would be too many.
    #[error("members: a large group has at most {0}")]
    TooManyForLarge(usize),
    /// The user that was named is in too many.
    #[error("members: user {0} is in too many groups")]
    TooManyGroups(u64),
    /// Members would be left without an admin.
    #[error("the last admin of a group stays one until another member becomes one")]
    LastAdmin,
}

impl GroupRefusal {
    /// Too many members for a group of this kind.
    pub fn too_many(kind: Kind, limits: MemberLimits) -> Self {
        match kind {
            Kind::Normal => Self::TooManyForNormal(limits.normal),
            Kind::Large => Self::TooManyForLarge(limits.large),
        }
    }

    /// There is no such group, of which a user learns no more than that she is not in it.
    pub fn no_group(group_id: u64, actor: Option<u64>) -> Self {
        if actor.is_some() { Self::NotInGroup(group_id) } else { Self::NoGroup(group_id) }
    }

    /// What kind of refusal it is.
    pub fn code(self) -> ResultCode {
        match self {
            Self::NoGroup(_) => ResultCode::GroupNotFound,
            Self::Taken(_) => ResultCode::BadRequest,
            Self::NotInGroup(_) => ResultCode::NotInGroup,
            Self::NotAdmin | Self::LastAdmin | Self::HasLeft(_) | Self::TooManyGroups(_) => ResultCode::NotAllowed,
            Self::NoMember(_) => ResultCode::GroupMemberNotFound,
            Self::AlreadyMember(_) => ResultCode::AlreadyInGroup,
            Self::TooManyForNormal(_) | Self::TooManyForLarge(_) => ResultCode::TooLarge,
        }
    }
}
