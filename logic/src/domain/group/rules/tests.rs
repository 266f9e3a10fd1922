//! The rules of groups on a group in memory: each of them by example, and what holds after any sequence of actions.

use proptest::{collection::vec, prelude::*, sample::subsequence};

use super::*;
use crate::domain::group::GroupRefusal::*;

const GROUP_ID: u64 = 9;
const LIMITS: MemberLimits = MemberLimits { normal: 4, large: 6 };

/// A group and its members, changed as a store would.
#[derive(Debug, Clone, PartialEq)]
struct Model {
    group: Group,
    members: BTreeMap<u64, Member>,
    left: std::collections::BTreeSet<u64>,
}

impl Model {
    /// A group that a service made.
    fn new(kind: Kind, admins: &[u64], others: &[u64]) -> Self {
        let mut model = Self {
            group: Group::new(GROUP_ID, kind, Profile::default()),
            members: BTreeMap::new(),
            left: Default::default(),
        };
        let members = admins.iter().map(|&user_id| member(user_id, true));
        let members = members.chain(others.iter().map(|&user_id| member(user_id, false))).collect();
        let create = GroupAction::Create { kind, profile: Profile::default(), members };
        model.act(None, &create).expect("a service makes groups within the limits");
        model
    }

    fn facts(&self, asker: Option<u64>, action: &GroupAction) -> Facts {
        let actor = match asker.map(|user_id| (user_id, self.members.get(&user_id))) {
            None => Actor::Service,
            Some((_, None)) => Actor::Outsider,
            Some((user_id, Some(member))) => {
                if member.is_admin {
                    Actor::Admin(user_id)
                } else {
                    Actor::Member(user_id)
                }
            }
        };
        let named: Vec<u64> = match action {
            GroupAction::AddMembers(members) => members.iter().map(|member| member.user_id).collect(),
            GroupAction::RemoveMembers(user_ids) => user_ids.clone(),
            _ => Vec::new(),
        };
        let found = |user_id: u64| Some((user_id, self.members.get(&user_id)?.is_admin));
        let former = match action {
            GroupAction::UpdateMember { member, .. } => self.members.get(&member.user_id).cloned(),
            _ => None,
        };
        let left = match action {
            GroupAction::AddMembers(_) if asker.is_some() => {
                named.iter().copied().find(|user_id| self.left.contains(user_id))
            }
            _ => None,
        };
        Facts { left, named: named.into_iter().filter_map(found).collect(), former, ..Facts::of(LIMITS, actor) }
    }

    fn act(&mut self, asker: Option<u64>, action: &GroupAction) -> Result<(), GroupRefusal> {
        let facts = self.facts(asker, action);
        let change = self.group.decide(&facts, action)?;
        match change {
            Change::Message | Change::Nothing | Change::Profile { .. } => {}
            Change::Join(joining) => {
                self.members.extend(joining.iter().map(|member| (member.user_id, member.clone())));
                self.left.retain(|user_id| !self.members.contains_key(user_id));
            }
            Change::Describe { member, is_admin, .. } => {
                self.members.insert(member.user_id, Member { is_admin, ..member.clone() });
            }
            Change::Leave { user_ids, promotes_oldest, by_own_wish, .. } => {
                self.left.extend(by_own_wish);
                self.members.retain(|user_id, _| !user_ids.contains(user_id));
                if promotes_oldest {
                    self.members.values_mut().next().expect("somebody stays").is_admin = true;
                }
            }
        }
        self.group.seq += 1;
        self.group.apply(&change);
        Ok(())
    }

    fn admin_ids(&self) -> Vec<u64> {
        self.members.values().filter(|member| member.is_admin).map(|member| member.user_id).collect()
    }
}

fn member(user_id: u64, is_admin: bool) -> Member {
    Member { user_id, is_admin, status: 0, nickname: String::new(), extra: String::new() }
}

fn describe(member: Member, is_type_given: bool) -> GroupAction {
    GroupAction::UpdateMember { member, is_type_given, notice: UpdateGroupPush::default() }
}

fn update(kind: Kind) -> GroupAction {
    GroupAction::Update { kind, profile: Profile { name: "new".into(), ..Profile::default() } }
}

/// What a group of admin 1 and members 2 and 3 answers; 7 and 8 are not in it.
fn answer(asker: u64, action: &GroupAction) -> Result<(), GroupRefusal> {
    Model::new(Kind::Normal, &[1], &[2, 3]).act(Some(asker), action)
}

#[test]
fn members_send_and_outsiders_do_nothing() {
    assert_eq!(answer(2, &GroupAction::Send), Ok(()));
    let join = GroupAction::AddMembers(vec![member(7, false)]);
    let leave = GroupAction::RemoveMembers(vec![7]);
    for action in [GroupAction::Send, update(Kind::Normal), join, describe(member(7, false), false), leave] {
        assert_eq!(answer(7, &action), Err(NotInGroup(GROUP_ID)), "{action:?}");
    }
}

#[test]
fn admins_change_a_group_and_members_only_themselves() {
    let status = |user_id| Member { status: 5, ..member(user_id, false) };
    let by_admins_only = [
        update(Kind::Normal),
        update(Kind::Large),
        GroupAction::AddMembers(vec![member(7, false)]),
        GroupAction::RemoveMembers(vec![3]),
        describe(member(3, false), false),
        describe(member(2, true), true),
        describe(status(2), false),
    ];
    for action in &by_admins_only {
        assert_eq!(answer(1, action), Ok(()), "{action:?}");
        assert_eq!(answer(2, action), Err(NotAdmin), "{action:?}");
    }
    let nickname = Member { nickname: "two".into(), ..member(2, false) };
    for action in [describe(nickname, false), describe(member(2, false), true), GroupAction::RemoveMembers(vec![2])] {
        assert_eq!(answer(2, &action), Ok(()), "{action:?}");
    }
    assert_eq!(answer(2, &GroupAction::RemoveMembers(vec![2, 3])), Err(NotAdmin));
}

#[test]
fn a_description_that_says_nothing_new_changes_nothing() {
    let model = Model::new(Kind::Normal, &[1], &[2, 3]);
    let is_nothing = |action: &GroupAction| {
        let facts = model.facts(Some(1), action);
        model.group.decide(&facts, action).unwrap() == Change::Nothing
    };
    assert!(is_nothing(&describe(member(2, false), true)));
    assert!(is_nothing(&describe(member(1, false), false)), "without a type an admin stays one");
    assert!(!is_nothing(&describe(member(2, true), true)));
    for other in [
        Member { status: 1, ..member(2, false) },
        Member { nickname: "two".into(), ..member(2, false) },
        Member { extra: "two".into(), ..member(2, false) },
    ] {
        assert!(!is_nothing(&describe(other, false)));
    }
    assert!(!is_nothing(&GroupAction::Send));
}

#[test]
fn whoever_is_named_has_to_be_in_the_group_or_out_of_it() {
    let add = |user_ids: &[u64]| GroupAction::AddMembers(user_ids.iter().map(|&id| member(id, false)).collect());
    assert_eq!(answer(1, &add(&[3])), Err(AlreadyMember(3)));
    assert_eq!(answer(1, &GroupAction::RemoveMembers(vec![3, 8, 7])), Err(NoMember(8)));
    assert_eq!(answer(1, &describe(member(7, false), false)), Err(NoMember(7)));
}

#[test]
fn who_left_comes_back_by_a_service_alone() {
    let add = |user_id| GroupAction::AddMembers(vec![member(user_id, false)]);
    let mut model = Model::new(Kind::Normal, &[1, 4], &[2, 3]);
    for (asker, user_id) in [(2, 2), (4, 4)] {
        model.act(Some(asker), &GroupAction::RemoveMembers(vec![user_id])).unwrap();
        assert_eq!(model.act(Some(1), &add(user_id)), Err(HasLeft(user_id)));
        assert_eq!(model.act(None, &add(user_id)), Ok(()));
    }
    model.act(Some(1), &GroupAction::RemoveMembers(vec![2])).unwrap();
    assert_eq!(model.act(Some(1), &add(2)), Ok(()));
    model.act(Some(4), &describe(member(4, true), true)).unwrap_err();
    model.act(Some(1), &describe(member(4, true), true)).unwrap();
    model.act(Some(4), &GroupAction::RemoveMembers(vec![3, 4])).unwrap();
    assert_eq!(model.act(Some(1), &add(4)), Err(HasLeft(4)), "also who left together with others");
    assert_eq!(model.act(Some(1), &add(3)), Ok(()), "but not those others");
}

#[test]
fn a_group_has_no_more_members_than_its_kind_allows() {
    let add = |user_ids: &[u64]| GroupAction::AddMembers(user_ids.iter().map(|&id| member(id, false)).collect());
    assert_eq!(answer(1, &add(&[7])), Ok(()));
    assert_eq!(answer(1, &add(&[7, 8])), Err(TooManyForNormal(4)));
    assert_eq!(answer(1, &add(&[3, 8])), Err(TooManyForNormal(4)), "before anybody is looked up");
    assert_eq!(answer(2, &add(&[7, 8])), Err(NotAdmin), "before anybody is counted");
    let mut large = Model::new(Kind::Large, &[1], &[2, 3]);
    assert_eq!(large.act(None, &add(&[4, 5, 6, 7])), Err(TooManyForLarge(6)));
    assert_eq!(large.act(None, &add(&[4, 5, 6])), Ok(()));

    let members = (1..=5).map(|user_id| member(user_id, true)).collect();
    let create = GroupAction::Create { kind: Kind::Normal, profile: Profile::default(), members };
    let empty = Group::new(GROUP_ID, Kind::Normal, Profile::default());
    let refusal = empty.decide(&Facts::of(LIMITS, Actor::Outsider), &create).unwrap_err();
    assert_eq!(refusal, TooManyForNormal(4));
}

#[test]
fn who_leaves_as_the_last_admin_is_followed_by_a_member() {
    let leave = |user_ids: &[u64]| GroupAction::RemoveMembers(user_ids.to_vec());
    for (leaving, followed_by) in [(&[1][..], &[2][..]), (&[1, 2], &[3]), (&[1, 2, 3], &[])] {
        let mut model = Model::new(Kind::Normal, &[1], &[2, 3]);
        assert_eq!((model.act(Some(1), &leave(leaving)), &*model.admin_ids()), (Ok(()), followed_by));
    }
    assert_eq!(answer(1, &describe(member(1, false), true)), Err(LastAdmin));
    assert_eq!(answer(1, &describe(member(1, false), false)), Ok(()), "without a type he stays one");

    let mut two_admins = Model::new(Kind::Normal, &[1, 2], &[3]);
    assert_eq!(two_admins.act(Some(1), &describe(member(1, false), true)), Ok(()));
    assert_eq!(two_admins.act(None, &leave(&[2])), Ok(()));
    assert_eq!(two_admins.admin_ids(), [1], "the oldest of those who stay");

    let mut without_admin = Model::new(Kind::Normal, &[], &[1, 2]);
    assert_eq!(without_admin.act(None, &leave(&[1])), Ok(()));
    assert!(without_admin.admin_ids().is_empty(), "nobody follows an admin that there never was");
}

#[test]
fn a_group_becomes_large_once_and_for_all() {
    let mut model = Model::new(Kind::Normal, &[1], &[2]);
    model.act(Some(2), &GroupAction::Send).unwrap();
    model.act(Some(1), &update(Kind::Large)).unwrap();
    assert_eq!((model.group.kind, model.group.seq, model.group.large_after_seq), (Kind::Large, 3, 3));
    assert_eq!(model.group.profile.name, "new");
    for kind in [Kind::Normal, Kind::Large] {
        model.act(Some(1), &update(kind)).unwrap();
    }
    assert_eq!((model.group.kind, model.group.seq, model.group.large_after_seq), (Kind::Large, 5, 3));
}

const USERS: [u64; 7] = [1, 2, 3, 4, 5, 6, 7];

fn any_action() -> impl Strategy<Value = GroupAction> {
    let kind = prop_oneof![9 => Just(Kind::Normal), 1 => Just(Kind::Large)];
    let anybody = || (1..=7_u64, any::<bool>()).prop_map(|(user_id, is_admin)| member(user_id, is_admin));
    let described = (anybody(), 0..2_i32).prop_map(|(member, status)| Member { status, ..member });
    let joining = (subsequence(&USERS, 1..=3), any::<bool>());
    prop_oneof![
        1 => Just(GroupAction::Send),
        1 => kind.prop_map(update),
        4 => joining.prop_map(|(ids, is_admin)| {
            GroupAction::AddMembers(ids.into_iter().map(|user_id| member(user_id, is_admin)).collect())
        }),
        4 => (described, any::<bool>()).prop_map(|(member, is_type_given)| describe(member, is_type_given)),
        4 => subsequence(&USERS, 1..=3).prop_map(GroupAction::RemoveMembers),
    ]
}

/// A user of those that there are, or a service.
fn any_asker() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![4 => (1..=7_u64).prop_map(Some), 1 => Just(None)]
}

fn check_done(before: &Model, after: &Model, asker: Option<u64>, action: &GroupAction) {
    let group = &after.group;
    assert_eq!(group.member_count, after.members.len() as u64, "members are counted");
    assert_eq!(group.admin_count, after.admin_ids().len() as u64, "admins are counted");
    assert!(after.members.len() <= LIMITS.of(group.kind));
    if !before.admin_ids().is_empty() && !after.members.is_empty() {
        assert!(!after.admin_ids().is_empty(), "a group that has an admin keeps one");
    }
    assert!(before.group.kind == Kind::Normal || group.kind == Kind::Large, "a large group stays one");
    let has_others = !before.members.keys().eq(after.members.keys());
    assert_eq!(group.version, before.group.version + u64::from(has_others), "the version tells of other members");
    let Some(asker) = asker else { return };
    let is_admin = before.members[&asker].is_admin;
    if !is_admin && !matches!(action, GroupAction::Send) {
        let others = |model: &Model| {
            let mut others = model.members.clone();
            others.remove(&asker);
            (others, model.admin_ids(), model.group.profile.clone(), model.group.kind)
        };
        assert_eq!(others(before), others(after), "who is no admin changes nobody but himself");
    }
}

proptest! {
    #[test]
    fn whatever_is_done_members_are_counted_and_led(
        kind in prop_oneof![Just(Kind::Normal), Just(Kind::Large)],
        admins in subsequence(&USERS[..2], 0..=2),
        steps in vec((any_asker(), any_action()), 1..60),
    ) {
        let mut model = Model::new(kind, &admins, &[3, 4]);
        for (asker, action) in &steps {
            let before = model.clone();
            let facts = before.facts(*asker, action);
            let early = before.group.admit(&Facts::of(LIMITS, facts.actor), action);
            let done = model.act(*asker, action);
            if early.is_err() {
                prop_assert_eq!(early, done, "what is refused before anybody is looked up is refused for the same reason");
            }
            match done {
                Err(_) => prop_assert_eq!(&before, &model, "a refusal changes nothing"),
                Ok(()) => check_done(&before, &model, *asker, action),
            }
        }
    }
}
