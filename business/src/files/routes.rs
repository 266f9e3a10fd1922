//! Which request is whose.

use axum::{
    Router,
    http::{HeaderMap, Uri, header},
    middleware,
    routing::{get, head, post},
};
use gim_config::places::Place;
use tonic::metadata::MetadataMap;

use super::{Files, about, cors, download, old_upload, refusal::FileRefusal, take_back, tus, upload};
use crate::usecase::Caller;

/// All requests.
pub fn routes(files: Files) -> Router {
    let routes = Router::new()
        .route("/files", post(upload::upload).put(upload::upload))
        .route("/files/{file_id}", get(download::whole).delete(take_back::take_back))
        .route("/files/{file_id}/{variant}", get(download::variant))
        .route("/files/{file_id}/about", get(about::about))
        .route("/upload", post(old_upload::upload))
        .route("/uploads", post(tus::create).options(tus::options))
        .route("/uploads/{file_id}", head(tus::offset).patch(tus::append).delete(tus::terminate).options(tus::options))
        .fallback(async || FileRefusal::unknown_path())
        .method_not_allowed_fallback(async || FileRefusal::unknown_method())
        .layer(middleware::from_fn_with_state(files.clone(), cors::let_in))
        .with_state(files);
    // Before it is known which route a request takes, as that goes by its method.
    Router::new().fallback_service(routes).layer(middleware::from_fn(tus::overridden))
}

impl Files {
    /// Who asks: the same headers as in every other call of a client.
    pub async fn caller(&self, headers: &HeaderMap) -> Result<Caller, FileRefusal> {
        Ok(self.callers.identify(&request_of(headers)).await?)
    }

    /// The same for who reads a row, and the turn to do so.
    pub async fn reader(&self, headers: &HeaderMap) -> Result<(Caller, Place), FileRefusal> {
        Ok(self.callers.identify_reader(&request_of(headers)).await?)
    }

    /// What URLs for this client begin with.
    pub fn base_url(&self, uri: &Uri, headers: &HeaderMap) -> String {
        if !self.settings.public_url.is_empty() {
            return self.settings.public_url.clone();
        }
        let of_header = || headers.get(header::HOST)?.to_str().ok();
        let host = uri.authority().map(|authority| authority.as_str()).or_else(of_header).unwrap_or_default();
        format!("http://{host}")
    }
}

fn request_of(headers: &HeaderMap) -> tonic::Request<()> {
    let mut request = tonic::Request::new(());
    *request.metadata_mut() = MetadataMap::from_headers(headers.clone());
    request
}
