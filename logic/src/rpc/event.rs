//! `EventIntService`.

use futures_util::{StreamExt as _, stream::BoxStream};
use gim_proto::logic::{EventBatch, SubscribeEventsRequest, event_int_service_server::EventIntService};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, async_trait};

use super::Services;
use crate::error::Error;

#[async_trait]
impl EventIntService for Services {
    type SubscribeStream = BoxStream<'static, Result<EventBatch, Status>>;

    async fn subscribe(
        &self,
        request: Request<SubscribeEventsRequest>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let batches = self.use_cases.event_streams.subscribe(request.get_ref()).map_err(Error::from)?;
        let batches = ReceiverStream::new(batches).map(|batch| batch.map_err(|refusal| Error::from(refusal).into()));
        Ok(Response::new(batches.boxed()))
    }
}
