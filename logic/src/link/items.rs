//! What the items of a stream ask for, packets aside: sign-ins and sign-outs, connections that live on, and the end of the stream.
//!
//! Any task of the stream. Always holds: a sign-out that overtakes its sign-in still removes the route.

use std::{sync::Arc, time::Duration};

use gim_proto::{
    ResultCode,
    logic::{LiveConnection, NewestSeqQuestion, SignIn, SignInResult, down_item::Item},
};
use metrics::counter;
use tokio::{sync::OwnedSemaphorePermit, task::JoinHandle};

use super::{
    context::{Context, QueuedItem},
    packet,
};
use crate::{
    domain::{
        caller::{Caller, log_id},
        route::Route,
    },
    error::Error,
    metrics as names,
    usecase::sign_ins::{NewConnection, SignedIn},
};

/// How long the requests of a stream that ended may take to finish, and their replies to leave.
const END_TIMEOUT: Duration = Duration::from_secs(3);

impl Context {
    pub(super) async fn do_queued(self: &Arc<Self>, item: QueuedItem) {
        match item {
            QueuedItem::Packet(packet, permit) => packet::handle(self, packet, permit).await,
            QueuedItem::SignOut(sign_out) => {
                let route = Route {
                    user_id: sign_out.user_id,
                    device_id: sign_out.device_id,
                    device_type: 0,
                    node: self.link.key.clone(),
                    connection_id: sign_out.connection_id,
                    since_ms: 0,
                };
                self.remove_route(&route).await;
            }
            QueuedItem::Interest { room_id, interested } => {
                if let Err(error) = self.use_cases().rooms.set_interest(room_id, &self.link.key, interested).await {
                    tracing::error!(%error, room_id, interested, "the interest of a node in a room was not noted");
                }
            }
        }
    }

    pub(super) async fn sign_in(&self, sign_in: SignIn, since_ms: i64, permit: OwnedSemaphorePermit) {
        let caller = Caller { user_id: sign_in.user_id, device_id: sign_in.device_id };
        let connection_id = sign_in.connection_id;
        let connection = NewConnection { caller, node: self.link.key.clone(), connection_id, since_ms };
        let result = self.use_cases().sign_ins.sign_in(connection, &sign_in.token, log_id(&sign_in.request_id)).await;
        let is_cancelled = self.sign_ins.end(connection_id);

        let (mut evicted, mut held) = (Vec::new(), None);
        let answer = match result {
            Ok(SignedIn { route, newest_seq, large_group_ids, memberships, evicted: others }) => {
                if is_cancelled {
                    self.remove_route(&route).await;
                }
                (evicted, held) = (others, Some(memberships));
                tracing::debug!(device_id = caller.device_id, newest_seq, "signed in");
                let request_no = sign_in.request_no;
                SignInResult { request_no, newest_seq, large_group_ids, ..SignInResult::default() }
            }
            Err(error) => {
                let reply = error.into_reply();
                let (request_no, code, message) = (sign_in.request_no, reply.code, reply.message);
                SignInResult { request_no, code, message, ..SignInResult::default() }
            }
        };
        counter!(names::SIGN_INS, "code" => ResultCode::label(answer.code)).increment(1);
        self.link.queue.reply(Item::SignInResult(answer), permit);
        drop(held);
        evicted.iter().for_each(|one| self.use_cases().connections.evict(one));
    }

    /// Takes connections up that live on from an earlier stream, and tells them how far their inboxes got meanwhile.
    pub(super) async fn announce(self: &Arc<Self>, connections: Vec<LiveConnection>) {
        if connections.is_empty() {
            return;
        }
        let routes = match self.use_cases().connections.take_up(&self.link.key, &connections).await {
            Ok(routes) => routes,
            Err(error) => {
                // Without their routes the node's users would be cut off unseen: it has to come again.
                tracing::error!(%error, node = self.link.key.name, "announced connections were not taken up");
                self.link.stop.cancel();
                return;
            }
        };
        if let Err(error) = self.use_cases().connections.close_revoked(&routes).await {
            tracing::error!(%error, node = self.link.key.name, "announced connections were not held against revocations");
            self.link.stop.cancel();
            return;
        }
        if let Err(error) = self.parts.catch_up.reconcile_groups(&self.link, &connections).await {
            tracing::error!(%error, node = self.link.key.name, "announced connections were not put into their groups");
            self.link.stop.cancel();
            return;
        }
        let named = connections.iter().map(|connection| (connection.connection_id, connection.user_id)).collect();
        let context = self.clone();
        self.tasks.spawn(async move { context.parts.catch_up.tell_newest_seqs(&context.link, named).await });
    }

    pub(super) async fn newest_seqs(&self, question: NewestSeqQuestion, permit: OwnedSemaphorePermit) {
        let named: Vec<(u64, u64)> =
            question.connections.iter().map(|connection| (connection.connection_id, connection.user_id)).collect();
        if let Err(error) = self.use_cases().connections.touch(&self.link.key, question.connections).await {
            tracing::debug!(%error, "connections that were heard of were not looked after");
        }
        match self.parts.catch_up.newest_seqs(&named).await {
            Ok(answer) => self.link.queue.reply(Item::NewestSeq(answer), permit),
            Err(error) => {
                tracing::warn!(%error, "a question for newest seqs stays open; the next heartbeat asks again")
            }
        }
    }

    pub(super) async fn forget(&self, connection_ids: &[u64]) {
        if let Err(error) = self.use_cases().connections.forget(&self.link.key, connection_ids).await {
            tracing::error!(%error, "connections that are gone keep their routes until the next push finds out");
        }
    }

    async fn remove_route(&self, route: &Route) {
        if let Err(error) = self.use_cases().connections.remove(route).await {
            tracing::error!(%error, "a connection that is gone keeps its route until the next push finds out");
        }
    }

    pub(super) async fn end(&self, mut pump: JoinHandle<()>) {
        if let Err(error) = self.parts.nodes.detach(&self.link).await {
            tracing::error!(error = %Error::from(error), node = self.link.key.name, "the lease was not cut");
        }
        self.tasks.close();
        if tokio::time::timeout(END_TIMEOUT, self.tasks.wait()).await.is_err() {
            tracing::warn!(node = self.link.key.name, "requests outlived their stream");
        }
        self.link.queue.close();
        if tokio::time::timeout(END_TIMEOUT, &mut pump).await.is_err() {
            pump.abort();
        }
        tracing::info!(node = self.link.key.name, epoch = self.link.key.epoch, "detached");
    }
}
