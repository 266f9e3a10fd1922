//! The seam of gRPC: the services of an older client, each of whose methods asks one of today's.
//!
//! On the tasks of calls. Always holds: what a caller says of itself is passed on with every question and judged there, as if it had asked
//! itself; nothing is answered that a today's method did not.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    ops::Bound,
    sync::Arc,
};

use bytes::Bytes;
use gim_proto::{
    ResultCode,
    business::{SignInReply, SignInRequest, User},
    check,
    connect::{MessageCommand, SendReply, SendRequest, send_request::Target},
    logic::{
        Device, DeviceRegisterRequest, DeviceType, Group, GroupAddMemberRequest, GroupGetMembersReply,
        GroupGetMembersRequest, GroupGetReply, GroupGetRequest, GroupKind, GroupListMineReply, GroupListMineRequest,
        GroupMember,
    },
    page::ENTRIES_MAX,
};
use prost::Message;
use tonic::{Extensions, Request, Status, async_trait, metadata::MetadataMap, service::RoutesBuilder};

use crate::today;

/// Pages of a list that was whole in a dialect: each is a call of its own towards the share of the caller.
const PAGES_MAX: usize = 20;

const GET_GROUP: &str = "logic.GroupExtService/Get";
const LIST_MINE: &str = "logic.GroupExtService/ListMine";
const GET_MEMBERS: &str = "logic.GroupExtService/GetMembers";
const ADD_MEMBERS: &str = "logic.GroupExtService/AddMembers";

/// The services of a dialect.
#[derive(Debug, Clone, Copy)]
pub struct Calls {
    /// Each of its methods, and the one of today's that it counts as: `package.Service/Method`.
    pub methods: &'static [(&'static str, &'static str)],
    /// Its services as an encoded `FileDescriptorSet`.
    pub descriptors: &'static [u8],
    /// Adds them.
    pub add_to: fn(&mut RoutesBuilder, Today),
}

/// What today's methods are reached through.
#[async_trait]
pub trait Upstream: Send + Sync + 'static {
    /// Calls one of today's methods of clients for whoever says this about itself.
    async fn call(
        &self,
        method: &'static str,
        message: Vec<u8>,
        metadata: MetadataMap,
        extensions: Extensions,
    ) -> Result<Bytes, Status>;

    /// Takes a further call of a method from the share of whoever says this about itself.
    ///
    /// # Errors
    /// Where nothing is left of it.
    fn take_share(&self, method: &str, extensions: &Extensions) -> Result<(), Status>;

    /// Those of the users that the business knows.
    async fn users(&self, user_ids: &[u64]) -> HashMap<u64, User>;
}

/// Today's server. Clones share it.
#[derive(Clone)]
pub struct Today(Arc<dyn Upstream>);

/// One call of a client.
pub struct Call<'a> {
    upstream: &'a dyn Upstream,
    metadata: MetadataMap,
    extensions: Extensions,
}

impl Today {
    /// Reached through this.
    pub fn new(upstream: impl Upstream) -> Self {
        Self(Arc::new(upstream))
    }

    /// A call that came, and what it asks.
    pub fn begin<T>(&self, request: Request<T>) -> (Call<'_>, T) {
        let (metadata, extensions, asked) = request.into_parts();
        (Call { upstream: &*self.0, metadata, extensions }, asked)
    }
}

impl Call<'_> {
    /// Asks today's method. What has the same numbers in both can be asked and answered as the dialect's own message.
    ///
    /// # Errors
    /// As it refuses.
    pub async fn ask<R: Message + Default>(&self, method: &'static str, message: &impl Message) -> Result<R, Status> {
        let (metadata, extensions) = (self.metadata.clone(), self.extensions.clone());
        let answer = self.upstream.call(method, message.encode_to_vec(), metadata, extensions).await?;
        R::decode(answer).map_err(|error| ResultCode::Internal.status(error.to_string()))
    }

    /// Signs a phone number in on a device that was registered.
    ///
    /// # Errors
    /// As today's method refuses; and where the device is somebody else's, as no dialect can be told the id of another one.
    pub async fn sign_in(&self, phone_number: String, code: String, device_id: u64) -> Result<SignInReply, Status> {
        let of_another = || {
            let problem =
                "device_id: somebody else is signed in on this device, or it was not registered: register it anew";
            ResultCode::DeviceNotFound.status(problem)
        };
        if device_id == 0 {
            return Err(of_another());
        }
        let device = Some(Device { id: device_id, ..Device::default() });
        let request = SignInRequest { phone_number, code, device, on_this_device_only: true };
        let reply: SignInReply = self.ask("business.UserExtService/SignIn", &request).await?;
        // A business that knows no such wish, and somebody who was faster.
        if reply.device_id == device_id { Ok(reply) } else { Err(of_another()) }
    }

    /// Sends a message, for which the dialects have no key.
    ///
    /// # Errors
    /// As today's method refuses.
    pub async fn send(&self, target: Target, command: i32, content: Bytes) -> Result<SendReply, Status> {
        let client_msg_id = format!("{:032x}", rand::random::<u128>());
        let request = SendRequest { target: Some(target), command, content, client_msg_id };
        self.ask("logic.MessageExtService/Send", &request).await
    }

    /// Sends to a group what users say there.
    ///
    /// # Errors
    /// As today's method refuses.
    pub async fn send_to_group(&self, group_id: u64, content: Bytes) -> Result<SendReply, Status> {
        self.send(Target::GroupId(group_id), MessageCommand::McGroupMessage as i32, content).await
    }

    /// Sends, and returns the seq in the sender's own inbox, by which clients of dialects sync: 0 where nothing comes there, as of a large
    /// group.
    ///
    /// # Errors
    /// As today's methods refuse.
    pub async fn send_for_seq(&self, target: Target, command: i32, content: Bytes) -> Result<i64, Status> {
        let is_large = match target {
            Target::GroupId(group_id) => self.is_large(group_id).await?,
            Target::UserId(_) | Target::RoomId(_) => false,
        };
        let reply = self.send(target, command, content).await?;
        Ok(if is_large { 0 } else { reply.seq as i64 })
    }

    /// False where that is not for the caller to know: then she may not send there either.
    async fn is_large(&self, group_id: u64) -> Result<bool, Status> {
        let asked: Result<GroupGetReply, Status> = self.ask(GET_GROUP, &GroupGetRequest { group_id }).await;
        match asked {
            Ok(reply) => Ok(reply.group.is_some_and(|group| group.kind() == GroupKind::GkLarge)),
            Err(status) if ResultCode::of_status(&status).is_retryable() => Err(status),
            Err(_) => Ok(false),
        }
    }

    /// Registers a device, of a type that was known then.
    ///
    /// # Errors
    /// Where it is of another one, and as today's method refuses.
    pub async fn register<R: Message + Default>(&self, device: Device) -> Result<R, Status> {
        if DeviceType::try_from(device.r#type).is_err() {
            return Err(check::invalid("type", format!("there is no type {}", device.r#type)).into());
        }
        self.ask("logic.DeviceExtService/Register", &DeviceRegisterRequest { device: Some(device) }).await
    }

    /// Adds those of the users to a group who are not in it; who is, is passed over, and returned.
    ///
    /// # Errors
    /// As today's methods refuse.
    pub async fn add_members(&self, group_id: u64, user_ids: Vec<u64>) -> Result<Vec<u64>, Status> {
        user_ids.iter().try_for_each(|&user_id| check::id("user_ids", user_id).map(drop))?;
        for is_last in [false, true] {
            let present = self.members_among(group_id, &user_ids).await?;
            let mut added = HashSet::new();
            let is_new = |user_id: &u64| !present.contains(user_id) && added.insert(*user_id);
            let new: Vec<u64> = user_ids.iter().copied().filter(is_new).collect();
            if !new.is_empty() || user_ids.is_empty() {
                let members = new_members(new);
                let asked: Result<(), Status> =
                    self.ask(ADD_MEMBERS, &GroupAddMemberRequest { group_id, members }).await;
                match asked {
                    // Somebody else was faster.
                    Err(status) if !is_last && ResultCode::of_status(&status) == ResultCode::AlreadyInGroup => continue,
                    asked => asked?,
                }
            }
            return Ok(user_ids.into_iter().filter(|user_id| present.contains(user_id)).collect());
        }
        Err(ResultCode::AlreadyInGroup.into())
    }

    /// Those of the users who are in a group. By the ascending order of its members a page tells of all up to its last one.
    async fn members_among(&self, group_id: u64, user_ids: &[u64]) -> Result<HashSet<u64>, Status> {
        let asked: BTreeSet<u64> = user_ids.iter().copied().collect();
        let (mut present, mut next) = (HashSet::new(), asked.first().copied());
        for _ in 0..PAGES_MAX {
            let Some(user_id) = next else { return Ok(present) };
            self.upstream.take_share(GET_MEMBERS, &self.extensions)?;
            let request = GroupGetMembersRequest { group_id, after_user_id: user_id - 1, limit: ENTRIES_MAX };
            let page: GroupGetMembersReply = self.ask(GET_MEMBERS, &request).await?;
            let members = page.members.iter().map(|member| member.user_id);
            present.extend(members.filter(|user_id| asked.contains(user_id)));
            let told = page.members.last().filter(|_| page.has_more).map_or(u64::MAX, |member| member.user_id);
            next = asked.range((Bound::Excluded(told), Bound::Unbounded)).next().copied();
        }
        if next.is_none() { Ok(present) } else { Err(too_long()) }
    }

    /// All groups of the caller.
    ///
    /// # Errors
    /// As today's method refuses.
    pub async fn groups(&self) -> Result<Vec<Group>, Status> {
        let mut groups: Vec<Group> = Vec::new();
        for page in 0..PAGES_MAX {
            let after_group_id = groups.last().map_or(0, |group| group.id);
            let request = GroupListMineRequest { after_group_id, limit: ENTRIES_MAX };
            let page: GroupListMineReply = self.ask_page(page, LIST_MINE, &request).await?;
            groups.extend(page.groups);
            if !page.has_more {
                return Ok(groups);
            }
        }
        Err(too_long())
    }

    /// All members of a group, and who of them the business knows.
    ///
    /// # Errors
    /// As today's method refuses.
    pub async fn members(&self, group_id: u64) -> Result<(Vec<GroupMember>, HashMap<u64, User>), Status> {
        let (mut members, mut users): (Vec<GroupMember>, _) = (Vec::new(), HashMap::new());
        for page in 0..PAGES_MAX {
            let after_user_id = members.last().map_or(0, |member| member.user_id);
            let request = GroupGetMembersRequest { group_id, after_user_id, limit: ENTRIES_MAX };
            let page: GroupGetMembersReply = self.ask_page(page, GET_MEMBERS, &request).await?;
            let user_ids: Vec<u64> = page.members.iter().map(|member| member.user_id).collect();
            users.extend(self.upstream.users(&user_ids).await);
            members.extend(page.members);
            if !page.has_more {
                return Ok((members, users));
            }
        }
        Err(too_long())
    }

    /// A page of a list; the first is the call itself, which counted when it came.
    async fn ask_page<R: Message + Default>(
        &self,
        page: usize,
        method: &'static str,
        message: &impl Message,
    ) -> Result<R, Status> {
        if page > 0 {
            self.upstream.take_share(method, &self.extensions)?;
        }
        self.ask(method, message).await
    }
}

/// Who comes into a group, each once, whoever is named twice.
pub fn new_members(user_ids: impl IntoIterator<Item = u64>) -> Vec<GroupMember> {
    let mut named = HashSet::new();
    let each = user_ids.into_iter().filter(|user_id| named.insert(*user_id));
    each.map(|user_id| GroupMember { user_id, ..GroupMember::default() }).collect()
}

/// Today's command of what is pushed into a room under a number of a dialect. There a number was the app's own, whatever it was; those of
/// what users say to each other (`plain`, and today's) are that of a plain message.
pub fn room_command(number: i32, plain: [i32; 2]) -> i32 {
    let is_message = number == 0 || plain.contains(&number) || today::is_plain(number);
    if is_message { MessageCommand::McUserMessage as i32 } else { number }
}

fn too_long() -> Status {
    ResultCode::TooLarge.status(format!("the list has more than {} entries", PAGES_MAX * ENTRIES_MAX as usize))
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    };

    use super::*;

    /// Groups that never end, for somebody whose share is this many further calls.
    struct Endless {
        share: usize,
        taken: AtomicUsize,
        pages: AtomicUsize,
    }

    #[async_trait]
    impl Upstream for Arc<Endless> {
        async fn call(&self, _: &'static str, _: Vec<u8>, _: MetadataMap, _: Extensions) -> Result<Bytes, Status> {
            let page = self.pages.fetch_add(1, Ordering::Relaxed) as u64;
            let members = vec![GroupMember { user_id: page + 1, ..GroupMember::default() }];
            Ok(GroupGetMembersReply { members, has_more: true }.encode_to_vec().into())
        }

        fn take_share(&self, method: &str, _: &Extensions) -> Result<(), Status> {
            assert_eq!(method, GET_MEMBERS);
            let taken = self.taken.fetch_add(1, Ordering::Relaxed);
            if taken < self.share { Ok(()) } else { Err(ResultCode::TooManyRequests.into()) }
        }

        async fn users(&self, user_ids: &[u64]) -> HashMap<u64, User> {
            user_ids.iter().map(|&user_id| (user_id, User::default())).collect()
        }
    }

    async fn refusal(share: usize) -> (ResultCode, usize) {
        let endless = Arc::new(Endless { share, taken: AtomicUsize::new(0), pages: AtomicUsize::new(0) });
        let today = Today::new(endless.clone());
        let (call, ()) = today.begin(Request::new(()));
        let refused = call.members(5).await.unwrap_err();
        (ResultCode::of_status(&refused), endless.pages.load(Ordering::Relaxed))
    }

    /// A group with these members, in pages of two, to which somebody adds one behind the first look.
    #[derive(Default)]
    struct Growing {
        members: Mutex<BTreeSet<u64>>,
        faster: Mutex<Option<u64>>,
        asked: Mutex<Vec<Vec<u64>>>,
        shares: AtomicUsize,
    }

    #[async_trait]
    impl Upstream for Arc<Growing> {
        async fn call(
            &self,
            method: &'static str,
            message: Vec<u8>,
            _: MetadataMap,
            _: Extensions,
        ) -> Result<Bytes, Status> {
            let mut members = self.members.lock().unwrap();
            if method == GET_MEMBERS {
                let after = GroupGetMembersRequest::decode(&message[..]).unwrap().after_user_id;
                let mut rest = members.range(after + 1..);
                let member = |&user_id: &u64| GroupMember { user_id, ..GroupMember::default() };
                let page = rest.by_ref().take(2).map(member).collect();
                return Ok(GroupGetMembersReply { members: page, has_more: rest.next().is_some() }
                    .encode_to_vec()
                    .into());
            }
            let asked = GroupAddMemberRequest::decode(&message[..]).unwrap().members;
            let asked: Vec<u64> = asked.iter().map(|member| member.user_id).collect();
            self.asked.lock().unwrap().push(asked.clone());
            members.extend(self.faster.lock().unwrap().take());
            if asked.iter().any(|user_id| members.contains(user_id)) {
                return Err(ResultCode::AlreadyInGroup.into());
            }
            members.extend(asked);
            Ok(Bytes::new())
        }

        fn take_share(&self, _: &str, _: &Extensions) -> Result<(), Status> {
            self.shares.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }

        async fn users(&self, _: &[u64]) -> HashMap<u64, User> {
            HashMap::new()
        }
    }

    async fn added(group: &Arc<Growing>, user_ids: &[u64]) -> Result<Vec<u64>, ResultCode> {
        let today = Today::new(group.clone());
        let (call, ()) = today.begin(Request::new(()));
        call.add_members(5, user_ids.to_vec()).await.map_err(|status| ResultCode::of_status(&status))
    }

    #[tokio::test]
    async fn who_is_in_a_group_is_passed_over_and_the_others_come_in() {
        let group = Arc::new(Growing::default());
        *group.members.lock().unwrap() = (1..=9).chain([20, 30]).collect();
        assert_eq!(added(&group, &[30, 3, 25, 12, 25]).await.unwrap(), [30, 3]);
        assert_eq!(*group.asked.lock().unwrap(), [vec![25, 12]]);
        assert_eq!(group.shares.load(Ordering::Relaxed), 2, "no page is read in which none of them can be");
        assert_eq!(added(&group, &[12, 25]).await.unwrap(), [12, 25], "nobody is left to be added");
        // One of them comes in between the look and the call.
        *group.faster.lock().unwrap() = Some(41);
        assert_eq!(added(&group, &[40, 41]).await.unwrap(), [41]);
        assert_eq!(group.asked.lock().unwrap()[1..], [vec![40, 41], vec![40]]);
        assert_eq!(added(&group, &[50, 0]).await, Err(ResultCode::BadRequest));
        assert!(!group.members.lock().unwrap().contains(&50));
    }

    /// Of two groups the one with id 2 is large, and of the one with id 3 nobody knows just now.
    struct TwoGroups(AtomicUsize);

    #[async_trait]
    impl Upstream for Arc<TwoGroups> {
        async fn call(
            &self,
            method: &'static str,
            message: Vec<u8>,
            _: MetadataMap,
            _: Extensions,
        ) -> Result<Bytes, Status> {
            if method != GET_GROUP {
                self.0.fetch_add(1, Ordering::Relaxed);
                return Ok(SendReply { seq: 9, ..SendReply::default() }.encode_to_vec().into());
            }
            let kind = match GroupGetRequest::decode(&message[..]).unwrap().group_id {
                1 => GroupKind::GkNormal,
                2 => GroupKind::GkLarge,
                3 => return Err(ResultCode::TryAgainLater.into()),
                _ => return Err(ResultCode::GroupNotFound.into()),
            };
            let group = Group { kind: kind as i32, ..Group::default() };
            Ok(GroupGetReply { group: Some(group) }.encode_to_vec().into())
        }

        fn take_share(&self, _: &str, _: &Extensions) -> Result<(), Status> {
            Ok(())
        }

        async fn users(&self, _: &[u64]) -> HashMap<u64, User> {
            HashMap::new()
        }
    }

    #[tokio::test]
    async fn a_seq_that_is_told_is_one_of_the_senders_inbox() {
        let groups = Arc::new(TwoGroups(AtomicUsize::new(0)));
        let today = Today::new(groups.clone());
        let (call, ()) = today.begin(Request::new(()));
        let send =
            async |target| call.send_for_seq(target, 0, Bytes::new()).await.map_err(|status| status.message().len());
        assert_eq!(send(Target::UserId(2)).await, Ok(9));
        assert_eq!(send(Target::GroupId(1)).await, Ok(9));
        assert_eq!(send(Target::GroupId(2)).await, Ok(0));
        assert_eq!(send(Target::GroupId(4)).await, Ok(9), "today's method is to say what is wrong");
        let sent = groups.0.load(Ordering::Relaxed);
        assert!(send(Target::GroupId(3)).await.is_err());
        assert_eq!(groups.0.load(Ordering::Relaxed), sent, "it can be sent again as a whole");
    }

    #[test]
    fn whoever_is_named_twice_comes_in_once() {
        let user_ids: Vec<u64> = new_members([7, 8, 7]).into_iter().map(|member| member.user_id).collect();
        assert_eq!(user_ids, [7, 8]);
    }

    #[test]
    fn plain_numbers_of_either_time_are_plain_in_a_room() {
        let plain = MessageCommand::McUserMessage as i32;
        assert_eq!([0, 1, 2, 100, 101].map(|number| room_command(number, [100, 101])), [plain; 5]);
        assert_eq!(
            [-1, 3, 102, 110, 200, 2_001].map(|number| room_command(number, [100, 101])),
            [-1, 3, 102, 110, 200, 2_001]
        );
    }

    #[tokio::test]
    async fn a_list_that_was_whole_ends_and_each_page_counts() {
        assert_eq!(refusal(usize::MAX).await, (ResultCode::TooLarge, PAGES_MAX));
        assert_eq!(refusal(3).await, (ResultCode::TooManyRequests, 4), "the first page is the call itself");
    }
}
