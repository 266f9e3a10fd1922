//! Pushes what nobody is there to read, a bounded number of calls at a time, on the runtime of gRPC.

use anyhow::Context as _;
use gim_proto::{
    logic::{PushToUsersRequest, message_int_service_client::MessageIntServiceClient},
    metadata,
};
use tokio::task::JoinSet;
use tonic::Request;

use crate::{
    progress::Progress,
    swarm::DEADLINE,
    target::{Target, refused},
    users::User,
};

/// Calls that are under way at the same time.
const IN_FLIGHT: usize = 256;

/// A message command of the app's own, passed through untouched.
const APP_COMMAND: i32 = 2001;

/// Pushes `backlog` messages of `size` bytes to each user.
pub fn push(target: &Target, users: &[User], backlog: u32, size: u32) -> anyhow::Result<()> {
    let total = users.len() * backlog as usize;
    let mut progress = Progress::new("pushing", total as u64);
    let client = MessageIntServiceClient::new(target.logic());
    let content = bytes::Bytes::from(vec![b'.'; size as usize]);
    let request = |number: usize| {
        let user_ids = vec![users[number % users.len()].id];
        let message = PushToUsersRequest {
            user_ids,
            command: APP_COMMAND,
            content: content.clone(),
            is_persist: true,
            ..PushToUsersRequest::default()
        };
        let mut request = Request::new(message);
        if !target.internal_token().is_empty() {
            metadata::put(&mut request, metadata::INTERNAL_TOKEN, target.internal_token());
        }
        request
    };
    target.runtime().block_on(async {
        let mut calls = JoinSet::new();
        let (mut asked, mut done) = (0, 0);
        while done < total {
            while asked < total && calls.len() < IN_FLIGHT {
                let (mut client, request) = (client.clone(), request(asked));
                calls.spawn(async move { tokio::time::timeout(DEADLINE, client.push_to_users(request)).await });
                asked += 1;
            }
            let answer = calls.join_next().await.context("no push is under way")?.context("a push ended early")?;
            let answer = answer.with_context(|| format!("PushToUsers was not answered within {DEADLINE:?}"))?;
            answer.map_err(|status| refused("PushToUsers", &status))?;
            done += 1;
            progress.show(done as u64, || format!("{done} of {total} messages"));
        }
        Ok(())
    })
}
