//! `gim-bench receiver`: a receiver of traces that keeps none, so that a run can have the services tell theirs without another program
//! that works on the same cores. Serves on a runtime of its own until the process is ended.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
};

use anyhow::Context as _;
use tonic::{
    Request, Response, Status,
    body::Body,
    server::{Grpc, NamedService, UnaryService},
    transport::Server,
};
use tonic_prost::ProstCodec;
use tower::Service;

/// What may be in one call: the services send hundreds of spans at once.
const CALL_BYTES_MAX: usize = 64 << 20;

/// Arguments of `receiver`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Where services tell their traces, their setting `[traces] endpoint`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4317")]
    listen: SocketAddr,
}

/// Takes whatever it is told.
#[derive(Clone)]
struct Receiver;

impl NamedService for Receiver {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl Service<http::Request<Body>> for Receiver {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let codec = ProstCodec::<(), ()>::default();
        let mut grpc = Grpc::new(codec).max_decoding_message_size(CALL_BYTES_MAX);
        Box::pin(async move { Ok(grpc.unary(Export, request).await) })
    }
}

/// The one call there is. Its message has fields, of which nobody asks for any.
struct Export;

impl UnaryService<()> for Export {
    type Response = ();
    type Future = Ready<Result<Response<()>, Status>>;

    fn call(&mut self, _spans: Request<()>) -> Self::Future {
        ready(Ok(Response::new(())))
    }
}

/// Serves until the process is ended.
pub fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let serving = runtime.block_on(Server::builder().add_service(Receiver).serve(arguments.listen));
    serving.with_context(|| format!("cannot serve on {}", arguments.listen))
}
