//! The use cases, one subject per file, each read from top to bottom: check, do, answer. They know nothing of gRPC streams or
//! packets; the link, the gRPC services and the gateway call them. Any task.

pub mod access;
mod additions;
pub mod commands;
pub mod connections;
pub mod conversations;
mod device_news;
pub mod devices;
pub mod directory;
mod envelope;
mod group_pages;
pub mod groups;
pub mod histories;
pub mod listed_words;
pub mod messages;
pub mod operators;
pub mod pushes;
mod read_marks;
pub mod reads;
pub mod recalls;
mod room_counts;
mod room_sends;
mod room_shares;
pub mod rooms;
pub mod sign_ins;
pub mod syncs;
pub mod under_way;
pub mod words;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use gim_config::{request_shares::RequestShares, seldom::Seldom};
use gim_proto::logic::GetLimitsReply;

use self::{
    access::Access,
    additions::Additions,
    commands::Commands,
    connections::Connections,
    conversations::Conversations,
    device_news::DeviceNews,
    devices::Devices,
    directory::Directory,
    groups::Groups,
    histories::Histories,
    listed_words::ListedWords,
    messages::Messages,
    operators::Operators,
    pushes::Pushes,
    read_marks::ReadMarks,
    reads::Reads,
    recalls::Recalls,
    room_counts::RoomCounts,
    room_sends::RoomSends,
    room_shares::RoomShares,
    rooms::{RoomLocks, Rooms},
    sign_ins::SignIns,
    syncs::Syncs,
    under_way::UnderWay,
};
use crate::{
    clients::{business::Business, jwt::JwtCheck, word_lists::WordLists},
    delivery::{fanout::Fanout, nodes::Nodes},
    domain::{
        message_id::MessageIds,
        registrations::{ADDRESS_WINDOW_MS, Registrations, USER_WINDOW_MS},
        short_id::ShortIds,
    },
    events::EventStreams,
    settings::{LimitSettings, LogicSettings},
    shared_state::SharedState,
    store::{Store, writer::Writer},
};

/// All of them.
#[derive(Debug)]
#[allow(missing_docs, reason = "each module says what it is")]
pub struct UseCases {
    pub access: Access,
    pub commands: Commands,
    pub connections: Arc<Connections>,
    pub conversations: Conversations,
    pub devices: Devices,
    pub directory: Directory,
    pub event_streams: Arc<EventStreams>,
    pub groups: Groups,
    pub histories: Histories,
    pub listed_words: ListedWords,
    pub messages: Messages,
    pub operators: Operators,
    pub pushes: Pushes,
    pub reads: Arc<Reads>,
    pub recalls: Recalls,
    pub request_shares: Arc<RequestShares>,
    pub rooms: Arc<Rooms>,
    pub sign_ins: SignIns,
    pub syncs: Syncs,
}

/// What the use cases are made of; each takes what it needs of it.
#[derive(Debug)]
pub struct Parts {
    /// Message ids.
    pub ids: Arc<MessageIds>,
    /// Ids of devices and groups.
    pub short_ids: Arc<ShortIds>,
    /// The database.
    pub store: Store,
    /// The inbox writer.
    pub writer: Writer,
    /// What each user may ask for.
    pub request_shares: Arc<RequestShares>,
    /// Users and tokens.
    pub business: Arc<Business>,
    /// Tokens that are checked without the business.
    pub jwt: JwtCheck,
    /// Words that users may not say.
    pub words: WordLists,
    /// Routes and rooms.
    pub shared: Arc<dyn SharedState>,
    /// The attached conn nodes.
    pub nodes: Arc<Nodes>,
    /// Delivery to them.
    pub fanout: Fanout,
    /// Backends that follow what happens.
    pub event_streams: Arc<EventStreams>,
    /// The key with which pages subscribe to Web Push; empty where no pages are woken.
    pub web_push_key: Bytes,
}

impl UseCases {
    /// Over `parts`, as the settings say.
    pub fn new(settings: &LogicSettings, parts: Parts) -> Self {
        let connections = Arc::new(connections(settings, &parts));
        let rooms = Arc::new(rooms(settings, &parts));
        let groups = groups(settings, &parts);
        let messages = messages(settings, &parts, rooms.clone());
        let pushes = pushes(settings, &parts);
        let conversations = conversations(settings, &parts);
        let syncs = syncs(settings, &parts);
        let reads = Arc::new(Reads::new(&settings.conversation, read_marks(settings, &parts)));
        let recalls = recalls(settings, &parts);
        let devices = devices(settings, &parts);
        let words = &settings.word_filter;
        let listed_words = ListedWords::new(parts.words.clone(), parts.store.word_lists.clone(), words.file_bytes_max);
        let Parts { store, writer, request_shares, business, jwt, shared, nodes, fanout, event_streams, .. } = parts;
        Self {
            operators: Operators { node: settings.node.clone(), nodes: nodes.clone(), shared: shared.clone() },
            access: Access {
                revocations: store.revocations,
                business: business.clone(),
                shared: shared.clone(),
                nodes: nodes.clone(),
                limits: told_limits(&settings.limits),
            },
            commands: Commands {
                content_bytes_max: settings.limits.content_bytes_max,
                client_commands: settings.message.client_commands.clone(),
                business: business.clone(),
                under_way: UnderWay::new(settings.business.commands_per_user_max),
            },
            devices,
            conversations,
            directory: Directory::new(settings.gateway.clone(), nodes),
            event_streams,
            groups,
            histories: Histories {
                page_max: settings.message.history_page_max,
                packet_bytes_max: settings.limits.sync_packet_bytes_max,
                reads: store.user_reads.clone(),
                inboxes: store.inboxes.clone(),
                groups: store.groups.clone(),
                conversations: store.conversations,
                places: store.conversation_places,
                shares: request_shares.clone(),
            },
            listed_words,
            messages,
            pushes,
            reads,
            recalls,
            sign_ins: SignIns {
                token_bytes_max: settings.limits.token_bytes_max,
                reads: store.sign_in_reads,
                business,
                jwt,
                refused_tokens: Seldom::default(),
                connections: connections.clone(),
                fanout,
                writer,
            },
            syncs,
            request_shares,
            connections,
            rooms,
        }
    }
}

fn told_limits(limits: &LimitSettings) -> GetLimitsReply {
    let told = |bytes: usize| u32::try_from(bytes).unwrap_or(u32::MAX);
    GetLimitsReply {
        content_bytes_max: told(limits.content_bytes_max),
        token_bytes_max: told(limits.token_bytes_max),
        device_text_bytes_max: told(limits.device_text_bytes_max),
    }
}

fn connections(settings: &LogicSettings, parts: &Parts) -> Connections {
    Connections {
        kick: settings.kick.clone(),
        user_connections_max: settings.limits.user_connections_max,
        devices: parts.store.devices.clone(),
        revocations: parts.store.revocations.clone(),
        shared: parts.shared.clone(),
        nodes: parts.nodes.clone(),
        live_events: parts.event_streams.live_events(),
    }
}

fn devices(settings: &LogicSettings, parts: &Parts) -> Devices {
    let LimitSettings { registrations_per_address_max, user_registrations_per_hour_max, .. } = settings.limits;
    Devices {
        users_max: settings.limits.push_users_max,
        text_bytes_max: settings.limits.device_text_bytes_max,
        registrations: Mutex::new(Registrations::new(registrations_per_address_max, ADDRESS_WINDOW_MS)),
        registrations_of_users: Mutex::new(Registrations::new(user_registrations_per_hour_max, USER_WINDOW_MS)),
        ids: parts.short_ids.clone(),
        writer: parts.writer.clone(),
        shared: parts.shared.clone(),
        live_events: parts.event_streams.live_events(),
        web_push_key: parts.web_push_key.clone(),
    }
}

fn conversations(settings: &LogicSettings, parts: &Parts) -> Conversations {
    Conversations {
        settings: settings.conversation.clone(),
        packet_bytes_max: settings.limits.sync_packet_bytes_max,
        reads: parts.store.user_reads.clone(),
        heads: parts.store.conversation_heads.clone(),
        conversations: parts.store.conversations.clone(),
        news: news(parts),
    }
}

fn read_marks(settings: &LogicSettings, parts: &Parts) -> ReadMarks {
    ReadMarks {
        told_members_max: settings.conversation.read_told_members_max,
        reads: parts.store.user_reads.clone(),
        inboxes: parts.store.inboxes.clone(),
        groups: parts.store.groups.clone(),
        places: parts.store.conversation_places.clone(),
        positions: parts.store.read_positions.clone(),
        writer: parts.writer.clone(),
        business: parts.business.clone(),
        news: news(parts),
    }
}

fn syncs(settings: &LogicSettings, parts: &Parts) -> Syncs {
    Syncs {
        packet_bytes_max: settings.limits.sync_packet_bytes_max,
        reads: parts.store.user_reads.clone(),
        inboxes: parts.store.inboxes.clone(),
        groups: parts.store.groups.clone(),
        shares: parts.request_shares.clone(),
        writer: parts.writer.clone(),
    }
}

fn recalls(settings: &LogicSettings, parts: &Parts) -> Recalls {
    Recalls {
        window_s: settings.message.recall_window_s,
        reads: parts.store.user_reads.clone(),
        inboxes: parts.store.inboxes.clone(),
        writer: parts.writer.clone(),
        business: parts.business.clone(),
    }
}

fn news(parts: &Parts) -> DeviceNews {
    DeviceNews { ids: parts.ids.clone(), fanout: parts.fanout.clone() }
}

fn rooms(settings: &LogicSettings, parts: &Parts) -> Rooms {
    Rooms {
        content_bytes_max: settings.limits.content_bytes_max,
        client_commands: settings.message.client_commands.clone(),
        words: parts.words.clone(),
        ids: parts.ids.clone(),
        business: parts.business.clone(),
        shared: parts.shared.clone(),
        nodes: parts.nodes.clone(),
        locks: RoomLocks::default(),
        counts: RoomCounts::default(),
        sends: RoomSends::new(&settings.room),
        shares: RoomShares::new(&settings.room),
    }
}

fn groups(settings: &LogicSettings, parts: &Parts) -> Groups {
    Groups {
        settings: settings.group.clone(),
        additions: Additions::new(&settings.group),
        content_bytes_max: settings.limits.content_bytes_max,
        group_ids: parts.short_ids.clone(),
        reads: parts.store.user_reads.clone(),
        groups: parts.store.groups.clone(),
        writer: parts.writer.clone(),
        business: parts.business.clone(),
    }
}

fn messages(settings: &LogicSettings, parts: &Parts, rooms: Arc<Rooms>) -> Messages {
    Messages {
        content_bytes_max: settings.limits.content_bytes_max,
        client_commands: settings.message.client_commands.clone(),
        words: parts.words.clone(),
        member_limits: settings.group.limits(),
        writer: parts.writer.clone(),
        business: parts.business.clone(),
        rooms,
    }
}

fn pushes(settings: &LogicSettings, parts: &Parts) -> Pushes {
    Pushes {
        limits: settings.limits.clone(),
        group: settings.group.clone(),
        ids: parts.ids.clone(),
        groups: parts.store.groups.clone(),
        writer: parts.writer.clone(),
        fanout: parts.fanout.clone(),
        nodes: parts.nodes.clone(),
        words: parts.words.clone(),
    }
}
