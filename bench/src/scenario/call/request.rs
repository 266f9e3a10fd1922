//! One call by gRPC, or by JSON at the clients' listener: the same methods, the same caller.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use gim_config::grpc::unary;
use gim_proto::{
    business::friend_ext_service_client::FriendExtServiceClient,
    logic::{SyncRequest, message_ext_service_client::MessageExtServiceClient},
    metadata::{DEVICE_ID, TOKEN, USER_ID},
};
use http::{StatusCode, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tonic::{Status, transport::Channel};
use tower::{Service as _, ServiceExt as _};

use super::{Method, friend_message, signed};
use crate::users::User;

/// Where a caller calls, over which connections.
pub enum Door {
    /// The listeners of services.
    Grpc { logic: Channel, business: Channel },
    /// The clients' listener, whose answer is looked at as far as its status.
    Json(Channel),
}

/// What one user asks for again and again.
pub struct Call {
    pub method: Method,
    pub user: User,
    /// To whom messages go.
    pub peer_id: u64,
    pub content: Bytes,
}

impl Call {
    /// Makes it, and waits for the answer.
    pub async fn make(&self, door: &mut Door) -> Result<(), Status> {
        match (door, self.method) {
            (Door::Grpc { business, .. }, Method::FriendSend) => {
                let request = friend_message(self.peer_id, self.content.clone());
                let mut friends = FriendExtServiceClient::new(business.clone());
                friends.send_message(signed(request, &self.user)).await.map(drop)
            }
            (Door::Grpc { logic, .. }, Method::Sync) => {
                let mut messages = MessageExtServiceClient::new(logic.clone());
                messages.sync(signed(SyncRequest::default(), &self.user)).await.map(drop)
            }
            (Door::Json(clients), _) => self.post(clients).await,
        }
    }

    async fn post(&self, clients: &mut Channel) -> Result<(), Status> {
        let failed = |error: &dyn std::fmt::Display| Status::unavailable(error.to_string());
        let text = self.json().to_string();
        let request = http::Request::post(format!("/{}", self.method.name()))
            .header(header::CONTENT_TYPE, "application/json")
            .header(USER_ID, self.user.id)
            .header(DEVICE_ID, self.user.device_id)
            .header(TOKEN, &self.user.token)
            .body(unary::whole(text.into()))
            .map_err(|error| failed(&error))?;
        let clients = clients.ready().await.map_err(|error| failed(&error))?;
        let answer = clients.call(request).await.map_err(|error| failed(&error))?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        match status {
            StatusCode::OK => Ok(()),
            _ => Err(Status::unknown(format!("HTTP {status}: {}", String::from_utf8_lossy(&body)))),
        }
    }

    fn json(&self) -> Value {
        match self.method {
            Method::FriendSend => {
                json!({ "userId": self.peer_id.to_string(), "content": STANDARD.encode(&self.content) })
            }
            Method::Sync => json!({}),
        }
    }
}
