//! The seam of gRPC: the services of an older client, each of whose methods asks one of today's.
//!
//! On the tasks of calls. Always holds: what a caller says of itself is passed on with every question and judged there, as if it had asked
//! itself; nothing is answered that a today's method did not.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use gim_proto::{
    ResultCode,
    business::{SignInReply, SignInRequest, User},
    connect::{MessageCommand, SendReply, SendRequest, send_request::Target},
    logic::{
        Device, Group, GroupGetMembersReply, GroupGetMembersRequest, GroupListMineReply, GroupListMineRequest,
        GroupMember,
    },
    page::ENTRIES_MAX,
};
use prost::Message;
use tonic::{Extensions, Request, Status, async_trait, metadata::MetadataMap, service::RoutesBuilder};

/// Pages of a list that was whole in a dialect: each is a call of its own towards the share of the caller.
const PAGES_MAX: usize = 20;

const LIST_MINE: &str = "logic.GroupExtService/ListMine";
const GET_MEMBERS: &str = "logic.GroupExtService/GetMembers";

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

fn too_long() -> Status {
    ResultCode::TooLarge.status(format!("the list has more than {} entries", PAGES_MAX * ENTRIES_MAX as usize))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

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

    #[tokio::test]
    async fn a_list_that_was_whole_ends_and_each_page_counts() {
        assert_eq!(refusal(usize::MAX).await, (ResultCode::TooLarge, PAGES_MAX));
        assert_eq!(refusal(3).await, (ResultCode::TooManyRequests, 4), "the first page is the call itself");
    }
}
