//! `WordIntService`.

use gim_proto::logic::{
    GetWordsReply, GetWordsRequest, PutWordsReply, PutWordsRequest, word_int_service_server::WordIntService,
};
use tonic::{Request, Response, Status, async_trait};

use super::Services;

#[async_trait]
impl WordIntService for Services {
    async fn put(&self, request: Request<PutWordsRequest>) -> Result<Response<PutWordsReply>, Status> {
        Ok(Response::new(self.use_cases.listed_words.put(request.into_inner()).await?))
    }

    async fn get(&self, request: Request<GetWordsRequest>) -> Result<Response<GetWordsReply>, Status> {
        Ok(Response::new(self.use_cases.listed_words.get(request.into_inner()).await?))
    }
}
