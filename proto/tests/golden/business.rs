//! Samples of package `business`.

use std::collections::HashMap;

use gim_proto::business::*;

use crate::{Sample, logic, sample};

fn user() -> User {
    User {
        user_id: 101,
        nickname: "nickname".into(),
        sex: 3,
        avatar_url: "avatar".into(),
        extra: "extra".into(),
        create_time: 1_700_000_106,
        update_time: 1_700_000_107,
    }
}

fn friend() -> Friend {
    Friend {
        user_id: 101,
        phone_number: "phone".into(),
        nickname: "nickname".into(),
        sex: 4,
        avatar_url: "avatar".into(),
        user_extra: "user extra".into(),
        remarks: "remarks".into(),
        extra: "extra".into(),
    }
}

fn friend_request() -> FriendRequest {
    FriendRequest {
        user_id: 101,
        nickname: "nickname".into(),
        avatar_url: "avatar".into(),
        description: "description".into(),
        create_time: 1_700_000_105,
    }
}

pub fn samples() -> Vec<Sample> {
    [user_samples(), friend_samples()].into_iter().flatten().collect()
}

fn user_samples() -> Vec<Sample> {
    vec![
        sample(
            "business.SignInRequest",
            SignInRequest {
                phone_number: "phone".into(),
                code: "code".into(),
                device: Some(logic::device()),
                on_this_device_only: false,
            },
        ),
        sample(
            "business.SignInRequest.on_this_device_only",
            SignInRequest { on_this_device_only: true, ..SignInRequest::default() },
        ),
        sample(
            "business.SignInReply",
            SignInReply { is_new: true, user_id: 102, device_id: 103, token: "token".into() },
        ),
        sample("business.SendCodeRequest", SendCodeRequest { phone_number: "phone".into() }),
        sample("business.SendCodeReply", SendCodeReply { valid_s: 101 }),
        sample("business.User", user()),
        sample("business.GetUserRequest", GetUserRequest { user_id: 101 }),
        sample("business.GetUserReply", GetUserReply { user: Some(user()) }),
        sample(
            "business.UpdateUserRequest",
            UpdateUserRequest {
                nickname: "nickname".into(),
                sex: 2,
                avatar_url: "avatar".into(),
                extra: "extra".into(),
            },
        ),
        sample("business.SearchUserRequest", SearchUserRequest { key: "key".into(), ..SearchUserRequest::default() }),
        sample("business.SearchUserRequest.page", SearchUserRequest { key: "key".into(), from: 102, limit: 3 }),
        sample(
            "business.SearchUserReply",
            SearchUserReply { users: vec![user(), User::default()], ..SearchUserReply::default() },
        ),
        sample("business.SearchUserReply.page", SearchUserReply { users: vec![user()], next: 102 }),
        sample("business.SignOutRequest", SignOutRequest { all_devices: true }),
        sample("business.RevokeTokensRequest", RevokeTokensRequest { user_id: 101, device_id: 102 }),
        sample("business.MayWriteRequest", MayWriteRequest { from_user_id: 101, to_user_id: 102 }),
        sample("business.MayWriteReply", MayWriteReply { code: 10210, message: "message".into() }),
        sample("business.MayWriteToRoomRequest", MayWriteToRoomRequest { user_id: 101, room_id: 102 }),
        sample("business.MayAddRequest", MayAddRequest { from_user_id: 101, user_ids: vec![102, 103], group_id: 104 }),
        sample(
            "business.MayAddReply",
            MayAddReply { refused: HashMap::from([(102, MayWriteReply { code: 10210, message: "message".into() })]) },
        ),
        sample("business.GetBlockersRequest", GetBlockersRequest { user_id: 101, among_user_ids: vec![102, 103] }),
        sample("business.GetBlockersReply", GetBlockersReply { user_ids: vec![102, 103] }),
        sample("business.AuthRequest", AuthRequest { user_id: 101, device_id: 102, token: "token".into() }),
        sample("business.GetUsersRequest", GetUsersRequest { user_ids: HashMap::from([(101, 2)]) }),
        sample("business.GetUsersReply", GetUsersReply { users: HashMap::from([(101, user())]) }),
        sample(
            "business.HandleCommandRequest",
            HandleCommandRequest { user_id: 101, device_id: 102, command: 1003, content: "content".into() },
        ),
        sample(
            "business.HandleCommandReply",
            HandleCommandReply { code: 10001, message: "message".into(), data: "data".into() },
        ),
        sample(
            "business.HandOutRequest",
            HandOutRequest { pushes: vec![offline_push(offline_push::Peer::PeerUserId(105))] },
        ),
        sample("business.HandOutReply", HandOutReply { unregistered_ids: vec!["a".into(), "b".into()] }),
        sample("business.OfflinePush.peer_user_id", offline_push(offline_push::Peer::PeerUserId(105))),
        sample("business.OfflinePush.group_id", offline_push(offline_push::Peer::GroupId(106))),
    ]
}

fn friend_samples() -> Vec<Sample> {
    vec![
        sample(
            "business.FriendSendMessageRequest",
            FriendSendMessageRequest { user_id: 101, content: "content".into(), ..FriendSendMessageRequest::default() },
        ),
        sample(
            "business.FriendSendMessageRequest.key",
            FriendSendMessageRequest { user_id: 101, content: "content".into(), client_msg_id: "key".into() },
        ),
        sample("business.FriendRemoveRequest", FriendRemoveRequest { friend_id: 101 }),
        sample("business.FriendRequest", friend_request()),
        sample(
            "business.GetFriendRequestsReply",
            GetFriendRequestsReply { requests: vec![friend_request(), FriendRequest::default()] },
        ),
        sample("business.FriendBlockRequest", FriendBlockRequest { user_id: 101 }),
        sample("business.GetBlockedReply", GetBlockedReply { users: vec![user(), User::default()] }),
        sample("business.ListUsersRequest", ListUsersRequest { after_user_id: 101, limit: 2 }),
        sample("business.ListFriendsReply", ListFriendsReply { friends: vec![friend()], has_more: true }),
        sample(
            "business.ListFriendRequestsReply",
            ListFriendRequestsReply { requests: vec![friend_request()], has_more: true },
        ),
        sample("business.ListBlockedReply", ListBlockedReply { users: vec![user()], has_more: true }),
        sample("business.ContactRules", ContactRules { added_by: AddedBy::AbFriends.into() }),
        sample("business.FriendSendMessageReply", FriendSendMessageReply { message_id: 101 }),
        sample(
            "business.FriendAddRequest",
            FriendAddRequest { friend_id: 101, remarks: "remarks".into(), description: "description".into() },
        ),
        sample("business.FriendAgreeRequest", FriendAgreeRequest { user_id: 101, remarks: "remarks".into() }),
        sample(
            "business.FriendSetRequest",
            FriendSetRequest { friend_id: 101, remarks: "remarks".into(), extra: "extra".into() },
        ),
        sample(
            "business.FriendSetReply",
            FriendSetReply { friend_id: 101, remarks: "remarks".into(), extra: "extra".into() },
        ),
        sample("business.Friend", friend()),
        sample("business.GetFriendsReply", GetFriendsReply { friends: vec![friend(), Friend::default()] }),
        sample(
            "business.AddFriendPush",
            AddFriendPush {
                friend_id: 101,
                nickname: "nickname".into(),
                avatar_url: "avatar".into(),
                description: "description".into(),
            },
        ),
        sample(
            "business.AgreeAddFriendPush",
            AgreeAddFriendPush { friend_id: 101, nickname: "nickname".into(), avatar_url: "avatar".into() },
        ),
    ]
}

fn offline_push(peer: offline_push::Peer) -> OfflinePush {
    OfflinePush {
        id: "id".into(),
        user_id: 101,
        device_id: 102,
        device_type: 2,
        push_id: "push id".into(),
        peer: Some(peer),
        message_id: 107,
        command: 200,
        title: "title".into(),
        preview: "preview".into(),
        badge: 3,
        messages: 2,
        stored_at_ms: 1_700_000_000_123,
    }
}
