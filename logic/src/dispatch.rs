//! The one way from every door to what clients may call: logic's own services in this process, and those of business over one channel.
//!
//! Any task. Always holds: nothing is called but a method of an `*ExtService` that is on the list; of what a stranger says about itself
//! no more goes further than [`CARRIED`], and with it to the business where the stranger calls from; and a caller is vouched for only
//! by [`Dispatch::unary`], whose own callers know who asks.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use gim_config::grpc::{self, PeerChannel, unary};
use gim_proto::{
    ResultCode,
    metadata::{CLIENT_ADDRESS, DEVICE_ID, REQUEST_ID, TOKEN, TRACE_PARENT, USER_ID, VOUCHED},
    methods,
};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Request, Response, header};
use tonic::{Status, body::Body, service::Routes};
use tower::{Service as _, ServiceExt as _};

use crate::domain::caller::Caller;

/// The services of business that clients may call. All others of that package are for services alone.
const OF_BUSINESS: [&str; 2] = ["business.UserExtService", "business.FriendExtService"];

/// What a stranger says in metadata, and is listened to.
pub const CARRIED: [&str; 5] = [USER_ID, DEVICE_ID, TOKEN, REQUEST_ID, TRACE_PARENT];

/// What describes the message itself.
const OF_THE_MESSAGE: [&str; 4] = ["content-type", "te", "grpc-timeout", "grpc-encoding"];

/// Who calls, where that is known from the connection: no token is asked for. It stands in the extensions of a request, where nothing
/// that came over a network can put it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vouched(pub Caller);

/// See the module. Clones share everything.
#[derive(Debug, Clone)]
pub struct Dispatch {
    own: Routes,
    business: Option<PeerChannel>,
    methods: Arc<HashSet<String>>,
    business_timeout: Duration,
}

impl Dispatch {
    /// Calls `own` for logic's methods, and `business`, where there is one, for its; a call of it lasts no longer than that.
    pub fn new(own: Routes, business: Option<PeerChannel>, business_timeout: Duration) -> Self {
        let mut methods = methods::of_clients();
        methods.retain(|method| !is_of_business(method) || OF_BUSINESS.contains(&service_of(method)));
        Self { own: own.prepare(), business, methods: Arc::new(methods), business_timeout }
    }

    /// Whether clients may call `package.Service/Method`.
    pub fn is_offered(&self, method: &str) -> bool {
        self.methods.contains(method)
    }

    /// What clients may call.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        self.methods.iter().map(String::as_str)
    }

    /// Calls `method` for a caller whom the asker vouches for, with the bytes of a message; the answer is the bytes of a message, too.
    /// It lasts `deadline` at most.
    ///
    /// # Errors
    /// What the method refuses; 10005 where it is none of those that clients may call; 10004 after the deadline.
    pub async fn unary(
        &self,
        method: &str,
        caller: Caller,
        request_id: &str,
        message: &[u8],
        deadline: Duration,
    ) -> Result<Bytes, Status> {
        let mut request = Request::new(unary::whole(unary::frame(message)));
        if !self.is_offered(method) {
            return Err(unknown());
        }
        *request.uri_mut() = format!("/{method}").parse().map_err(|_| unknown())?;
        *request.method_mut() = http::Method::POST;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        if let Ok(request_id) = HeaderValue::from_str(request_id) {
            headers.insert(REQUEST_ID, request_id);
        }
        headers.insert(USER_ID, caller.user_id.into());
        headers.insert(DEVICE_ID, caller.device_id.into());
        if is_of_business(method) {
            headers.insert(VOUCHED, HeaderValue::from_static("1"));
        }
        request.extensions_mut().insert(Vouched(caller));
        let answered = async { unary::message_of(self.route(request).await?).await.map(|(message, _)| message) };
        tokio::time::timeout(deadline, answered).await.unwrap_or_else(|_| Err(ResultCode::TryAgainLater.into()))
    }

    /// Calls `method` for a stranger who says this of himself, with the bytes of a message; the answer is the bytes of a message, too.
    ///
    /// # Errors
    /// What the method refuses.
    pub async fn call_for(
        &self,
        method: &'static str,
        message: &[u8],
        said: &HeaderMap,
        extensions: Extensions,
    ) -> Result<Bytes, Status> {
        let mut request = Request::new(unary::whole(unary::frame(message)));
        *request.uri_mut() = format!("/{method}").parse().map_err(|_| unknown())?;
        *request.method_mut() = http::Method::POST;
        let headers = request.headers_mut();
        for name in CARRIED {
            headers.extend(said.get(name).map(|value| (HeaderName::from_static(name), value.clone())));
        }
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
        *request.extensions_mut() = extensions;
        unary::message_of(self.forward(request).await).await.map(|(message, _)| message)
    }

    /// Takes the call of a stranger on, without what it must not say.
    pub async fn forward(&self, mut request: Request<Body>) -> Response<Body> {
        strip(request.headers_mut());
        request.extensions_mut().remove::<Vouched>();
        tell_address(&mut request);
        self.route(request).await.unwrap_or_else(|status| status.into_http())
    }

    async fn route(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let method = request.uri().path().trim_start_matches('/');
        if !self.is_offered(method) {
            return Err(unknown());
        }
        if !is_of_business(method) {
            let Ok(response) = self.own.clone().oneshot(request).await;
            return Ok(response);
        }
        let Some(business) = &self.business else { return Err(unknown()) };
        let mut business = business.clone();
        let answered = async {
            business.ready().await.map_err(away)?;
            business.call(request).await.map_err(away)
        };
        let answered = tokio::time::timeout(self.business_timeout, answered).await;
        answered.unwrap_or_else(|_| Err(ResultCode::TryAgainLater.into())).map(|answer| answer.map(Body::new))
    }
}

/// Leaves what describes the message and what is carried, as far as it is said once.
fn strip(headers: &mut HeaderMap) {
    let mut kept = HeaderMap::with_capacity(OF_THE_MESSAGE.len() + CARRIED.len());
    for name in OF_THE_MESSAGE.into_iter().chain(CARRIED) {
        if let Some(value) = headers.remove(name) {
            kept.insert(HeaderName::from_static(name), value);
        }
    }
    *headers = kept;
}

/// Tells the business for whom the call is: to its bounds of addresses all strangers would else be one, at the address of logic.
fn tell_address<B>(request: &mut Request<B>) {
    let address = grpc::address_in(request.extensions()).and_then(|ip| HeaderValue::from_str(&ip.to_string()).ok());
    if let Some(address) = address.filter(|_| is_of_business(request.uri().path().trim_start_matches('/'))) {
        request.headers_mut().insert(CLIENT_ADDRESS, address);
    }
}

fn service_of(method: &str) -> &str {
    method.split('/').next().unwrap_or("")
}

fn is_of_business(method: &str) -> bool {
    method.starts_with("business.")
}

fn unknown() -> Status {
    ResultCode::UnknownCommand.status("there is no such method for clients")
}

fn away(error: impl std::fmt::Display) -> Status {
    tracing::warn!(%error, "the business cannot be called");
    ResultCode::TryAgainLater.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_service_of_the_business_for_clients_is_on_the_list() {
        let listed = Dispatch::new(Routes::default(), None, Duration::ZERO);
        let missing: Vec<_> = methods::of_clients().into_iter().filter(|method| !listed.is_offered(method)).collect();
        assert!(missing.is_empty(), "not offered, and nobody said so: {missing:?}");
    }

    #[test]
    fn of_what_a_stranger_says_no_more_goes_further_than_is_carried() {
        let mut headers = HeaderMap::new();
        for name in [
            "user_id",
            "token",
            "internal_token",
            "vouched",
            "client_address",
            "x-forwarded-for",
            "content-type",
            "cookie",
        ] {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("2"));
        }
        strip(&mut headers);
        let mut left: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.to_str().unwrap())).collect();
        left.sort_unstable();
        assert_eq!(left, [("content-type", "1"), ("token", "1"), ("user_id", "1")]);
    }

    #[tokio::test]
    async fn what_is_not_for_clients_is_unknown_whoever_vouches() {
        let dispatch = Dispatch::new(Routes::default(), None, Duration::ZERO);
        let caller = Caller { user_id: 1, device_id: 2 };
        for method in ["logic.MessageIntService/PushToUsers", "logic.LinkService/Attach", "", "a b", "/x", "é/é"] {
            let status = dispatch.unary(method, caller, "", b"", Duration::from_secs(1)).await.unwrap_err();
            assert_eq!(ResultCode::of_status(&status), ResultCode::UnknownCommand, "{method}");
        }
    }
}
