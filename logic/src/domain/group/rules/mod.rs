//! Who may do what with a group, and what becomes of it: decided from facts alone, without a look anywhere. Any thread.
//!
//! Always holds: a refusal changes nothing; the counts of a group are those of its members; a group that has an admin keeps
//! one as long as it has members. Whoever stores a group gathers the [`Facts`], decides, writes what the [`Change`] says of
//! members and messages, and has the group follow by [`Group::apply`].

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use gim_proto::logic::UpdateGroupPush;

use super::{Group, GroupAction, GroupRefusal, Kind, Member, MemberLimits, Profile};

/// Who asks for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    /// A trusted service, which may do everything.
    Service,
    /// A user who is not in the group.
    Outsider,
    /// A user who is in it. Where an action is every member's right, an admin may count as one.
    Member(u64),
    /// A user who may change it.
    Admin(u64),
}

/// What a decision needs to know besides the group itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// How many members there may be.
    pub limits: MemberLimits,
    /// Who asks.
    pub actor: Actor,
    /// Of [`GroupAction::AddMembers`] and [`GroupAction::RemoveMembers`]: those of the users whom it names that are members,
    /// and whether each is an admin. Looked up where [`Group::admit`] does not refuse.
    pub named: BTreeMap<u64, bool>,
    /// Of [`GroupAction::AddMembers`]: one of the users whom it names that left the group by himself, if there is one. Looked up
    /// where [`Group::admit`] does not refuse, and a user asks.
    pub left: Option<u64>,
    /// Of [`GroupAction::UpdateMember`]: the member as he is. Looked up where [`Group::admit`] does not refuse.
    pub former: Option<Member>,
}

/// What an action changes besides the messages that tell of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Change<'a> {
    /// Nothing: it is a message.
    Message,
    /// Nothing: all is as it is asked for. There is nothing to tell either.
    Nothing,
    /// The group has another profile, and may become a large one: its messages so far are in the inboxes.
    Profile {
        /// What is told of it from now on.
        profile: &'a Profile,
        /// Whether what comes next is in its timeline alone.
        becomes_large: bool,
    },
    /// These are members from now on.
    Join(&'a [Member]),
    /// A member is described anew.
    Describe {
        /// As he is now, but for `is_admin`.
        member: &'a Member,
        /// Whether he is an admin now.
        is_admin: bool,
        /// Whether he was one.
        was_admin: bool,
        /// The notice, to be completed by the profile of the group.
        notice: &'a UpdateGroupPush,
    },
    /// These are members no longer.
    Leave {
        /// Who.
        user_ids: &'a [u64],
        /// How many of them were admins.
        admin_count: u64,
        /// Whether of those who stay the oldest member becomes an admin, because none is left.
        promotes_oldest: bool,
        /// Whoever of them goes by their own wish. Other users do not add them again; a trusted service may, which asked them.
        by_own_wish: Option<u64>,
    },
}

impl Facts {
    /// Where nothing is known but who asks.
    pub fn of(limits: MemberLimits, actor: Actor) -> Self {
        Self { limits, actor, named: BTreeMap::new(), left: None, former: None }
    }
}

impl Group {
    /// A new group, which nobody is in yet.
    pub fn new(id: u64, kind: Kind, profile: Profile) -> Self {
        Self { id, kind, profile, member_count: 0, admin_count: 0, version: 0, seq: 0, large_after_seq: 0 }
    }

    /// Refuses what can be refused before those are looked up whom the action names. [`Group::decide`] begins with it.
    pub fn admit(&self, facts: &Facts, action: &GroupAction) -> Result<(), GroupRefusal> {
        match (action, facts.actor) {
            (GroupAction::Create { .. }, _) | (_, Actor::Service | Actor::Admin(_)) => {}
            (_, Actor::Outsider) => return Err(GroupRefusal::NotInGroup(self.id)),
            (GroupAction::Send, Actor::Member(_)) => {}
            // Who is no admin describes himself, and leaves.
            (GroupAction::UpdateMember { member, .. }, Actor::Member(user_id)) if member.user_id == user_id => {}
            (GroupAction::RemoveMembers(user_ids), Actor::Member(user_id)) if user_ids == &[user_id] => {}
            (_, Actor::Member(_)) => return Err(GroupRefusal::NotAdmin),
        }
        match action {
            GroupAction::Create { members, .. } | GroupAction::AddMembers(members)
                if self.member_count as usize + members.len() > facts.limits.of(self.kind) =>
            {
                Err(GroupRefusal::too_many(self.kind, facts.limits))
            }
            _ => Ok(()),
        }
    }

    /// What an action changes, or why it may not.
    pub fn decide<'a>(&self, facts: &Facts, action: &'a GroupAction) -> Result<Change<'a>, GroupRefusal> {
        self.admit(facts, action)?;
        match action {
            GroupAction::Send => Ok(Change::Message),
            GroupAction::Update { kind, profile } => {
                Ok(Change::Profile { profile, becomes_large: *kind == Kind::Large && self.kind == Kind::Normal })
            }
            GroupAction::Create { members, .. } => Ok(Change::Join(members)),
            GroupAction::AddMembers(members) => match (facts.named.keys().next(), facts.left) {
                (Some(&user_id), _) => Err(GroupRefusal::AlreadyMember(user_id)),
                (None, Some(user_id)) => Err(GroupRefusal::HasLeft(user_id)),
                (None, None) => Ok(Change::Join(members)),
            },
            GroupAction::UpdateMember { member, is_type_given, notice } => {
                let former = facts.former.as_ref().ok_or(GroupRefusal::NoMember(member.user_id))?;
                let is_admin = if *is_type_given { member.is_admin } else { former.is_admin };
                let is_beyond_himself = is_admin != former.is_admin || member.status != former.status;
                if matches!(facts.actor, Actor::Member(_)) && is_beyond_himself {
                    return Err(GroupRefusal::NotAdmin);
                }
                if former.is_admin && !is_admin && self.admin_count <= 1 {
                    return Err(GroupRefusal::LastAdmin);
                }
                if is_admin == former.is_admin && member.is_described_as(former) {
                    return Ok(Change::Nothing);
                }
                Ok(Change::Describe { member, is_admin, was_admin: former.is_admin, notice })
            }
            GroupAction::RemoveMembers(user_ids) => self.decide_removal(facts, user_ids),
        }
    }

    fn decide_removal<'a>(&self, facts: &Facts, user_ids: &'a [u64]) -> Result<Change<'a>, GroupRefusal> {
        if let Some(&user_id) = user_ids.iter().find(|user_id| !facts.named.contains_key(user_id)) {
            return Err(GroupRefusal::NoMember(user_id));
        }
        let admin_count = facts.named.values().filter(|&&is_admin| is_admin).count() as u64;
        let empties = user_ids.len() as u64 == self.member_count;
        let orphans = admin_count > 0 && admin_count == self.admin_count && !empties;
        // Nobody is kept in a group: where the last admin goes, somebody follows.
        let by_own_wish = match facts.actor {
            Actor::Member(user_id) | Actor::Admin(user_id) => Some(user_id).filter(|id| user_ids.contains(id)),
            Actor::Service | Actor::Outsider => None,
        };
        Ok(Change::Leave { user_ids, admin_count, promotes_oldest: orphans, by_own_wish })
    }

    /// Follows a change, once the messages that tell of it have their places.
    pub fn apply(&mut self, change: &Change<'_>) {
        match *change {
            Change::Message | Change::Nothing => {}
            Change::Profile { profile, becomes_large } => {
                self.profile = profile.clone();
                if becomes_large {
                    self.kind = Kind::Large;
                    self.large_after_seq = self.seq;
                }
            }
            Change::Join(members) => {
                self.version += 1;
                self.member_count += members.len() as u64;
                self.admin_count += members.iter().filter(|member| member.is_admin).count() as u64;
            }
            Change::Describe { is_admin, was_admin, .. } => {
                self.admin_count = self.admin_count + u64::from(is_admin) - u64::from(was_admin);
            }
            Change::Leave { user_ids, admin_count, promotes_oldest, .. } => {
                self.version += 1;
                self.member_count -= user_ids.len() as u64;
                self.admin_count = self.admin_count - admin_count + u64::from(promotes_oldest);
            }
        }
    }
}
