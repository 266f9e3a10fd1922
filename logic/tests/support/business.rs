//! A business that answers from memory. The token of user 7 is `token-7`.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use gim_config::listen::Endpoint;
use gim_proto::{
    ResultCode,
    business::{
        AuthRequest, GetBlockersReply, GetBlockersRequest, GetUserReply, GetUserRequest, GetUsersReply,
        GetUsersRequest, HandOutReply, HandOutRequest, HandleCommandReply, HandleCommandRequest, MayAddReply,
        MayAddRequest, MayWriteReply, MayWriteRequest, MayWriteToRoomRequest, OfflinePush, RevokeTokensRequest, User,
        command_int_service_server::{CommandIntService, CommandIntServiceServer},
        push_int_service_server::{PushIntService, PushIntServiceServer},
        user_int_service_server::{UserIntService, UserIntServiceServer},
    },
    metadata,
};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, async_trait, transport::Server};

/// Turns of the runtime that a call about a user takes.
const LINGERING_TURNS: u32 = 8;

/// The running stub. Dropping it takes it away.
pub struct StubBusiness {
    pub state: Arc<State>,
    address: std::net::SocketAddr,
    task: JoinHandle<()>,
}

/// What the stub knows and remembers.
#[derive(Default)]
pub struct State {
    /// Whether only Auth is implemented.
    pub only_auth: bool,
    /// Whether MayAdd is not implemented.
    pub no_may_add: bool,
    /// What was asked by MayAdd: by whom, for which group, about how many.
    pub may_add_calls: Mutex<Vec<(u64, u64, usize)>>,
    pub auth_calls: AtomicU64,
    /// Who may not write to whom.
    pub blocked: Mutex<Vec<(u64, u64)>>,
    pub may_write_calls: AtomicU64,
    pub blockers_calls: AtomicU64,
    /// While set, it is not told who blocked whom.
    pub hides_blockers: std::sync::atomic::AtomicBool,
    /// Who may not write into which room; nothing where it has no opinion on rooms.
    pub closed_rooms: Mutex<Option<Vec<(u64, u64)>>>,
    pub room_calls: AtomicU64,
    /// Calls about users that are not answered yet, and the most of them that ever were.
    under_way: AtomicUsize,
    pub most_under_way: AtomicUsize,
    pub request_ids: Mutex<Vec<String>>,
    /// While set, Auth answers only after `let_go`.
    pub holds_auth: std::sync::atomic::AtomicBool,
    pub let_go: Notify,
    /// While set, commands are not answered.
    pub holds_commands: std::sync::atomic::AtomicBool,
    /// While set, nobody's card is told.
    pub holds_cards: std::sync::atomic::AtomicBool,
    pub card_calls: AtomicU64,
    /// Told when an Auth call arrived.
    pub arrived: Notify,
    /// Whether devices are woken.
    pub wakes_devices: bool,
    /// What for.
    pub pushes: Mutex<Vec<OfflinePush>>,
    /// While set, nobody is reached under any push id.
    pub reaches_nobody: std::sync::atomic::AtomicBool,
    pub hand_out_calls: AtomicU64,
}

impl StubBusiness {
    /// One that implements everything; users are those with ids below 1000.
    pub async fn start() -> Self {
        Self::with(State::default()).await
    }

    /// One that implements Auth and nothing else.
    pub async fn only_auth() -> Self {
        Self::with(State { only_auth: true, ..State::default() }).await
    }

    /// One that has no MayAdd.
    pub async fn without_may_add() -> Self {
        Self::with(State { no_may_add: true, ..State::default() }).await
    }

    /// One that wakes devices.
    pub async fn that_wakes() -> Self {
        Self::with(State { wakes_devices: true, ..State::default() }).await
    }

    async fn with(state: State) -> Self {
        let state = Arc::new(state);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = Server::builder().add_service(UserIntServiceServer::new(Stub(state.clone())));
        if !state.only_auth {
            server = server.add_service(CommandIntServiceServer::new(Stub(state.clone())));
            server = server.add_service(PushIntServiceServer::new(Stub(state.clone())));
        }
        let task = tokio::spawn(async move {
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { state, address, task }
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::new(&format!("http://{}", self.address))
    }
}

impl Drop for StubBusiness {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Stub(Arc<State>);

impl Stub {
    fn note<T>(&self, request: &Request<T>) {
        let id = metadata::text(request, metadata::REQUEST_ID).unwrap_or("").to_owned();
        self.0.request_ids.lock().unwrap().push(id);
    }

    /// Whether a user may write to another one, or add her.
    fn answer(&self, from_user_id: u64, to_user_id: u64) -> MayWriteReply {
        let code = if self.0.blocked.lock().unwrap().contains(&(from_user_id, to_user_id)) {
            return MayWriteReply { code: 4711, message: "you two had a fight".into() };
        } else if to_user_id >= 1000 {
            ResultCode::UserNotFound
        } else {
            ResultCode::Ok
        };
        MayWriteReply { code: code.number(), message: String::new() }
    }

    /// Lets further calls come meanwhile.
    async fn linger(&self) {
        let under_way = self.0.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.0.most_under_way.fetch_max(under_way, Ordering::SeqCst);
        for _ in 0..LINGERING_TURNS {
            tokio::task::yield_now().await;
        }
        self.0.under_way.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl UserIntService for Stub {
    async fn auth(&self, request: Request<AuthRequest>) -> Result<Response<()>, Status> {
        self.note(&request);
        self.0.auth_calls.fetch_add(1, Ordering::SeqCst);
        self.0.arrived.notify_one();
        if self.0.holds_auth.load(Ordering::SeqCst) {
            self.0.let_go.notified().await;
        }
        let request = request.into_inner();
        match request.token.as_str() {
            "banned" => Err(ResultCode::status_of_business(20_001, "banned until Monday")),
            "crash" => Err(Status::internal("secret stack trace")),
            token if token == format!("token-{}", request.user_id) => Ok(Response::new(())),
            _ => Err(Status::unauthenticated("wrong token")),
        }
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserReply>, Status> {
        if self.0.only_auth {
            return Err(Status::unimplemented("only Auth here"));
        }
        self.note(&request);
        self.0.card_calls.fetch_add(1, Ordering::SeqCst);
        if self.0.holds_cards.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        self.linger().await;
        let user_id = request.into_inner().user_id;
        if user_id >= 1000 {
            return Err(ResultCode::UserNotFound.into());
        }
        let user = User { user_id, nickname: format!("nick-{user_id}"), ..User::default() };
        Ok(Response::new(GetUserReply { user: Some(user) }))
    }

    async fn revoke_tokens(&self, _request: Request<RevokeTokensRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("logic does not call it"))
    }

    async fn may_write(&self, request: Request<MayWriteRequest>) -> Result<Response<MayWriteReply>, Status> {
        if self.0.only_auth {
            return Err(Status::unimplemented("only Auth"));
        }
        self.0.may_write_calls.fetch_add(1, Ordering::Relaxed);
        self.linger().await;
        let MayWriteRequest { from_user_id, to_user_id } = request.into_inner();
        Ok(Response::new(self.answer(from_user_id, to_user_id)))
    }

    async fn may_write_to_room(
        &self,
        request: Request<MayWriteToRoomRequest>,
    ) -> Result<Response<MayWriteReply>, Status> {
        let MayWriteToRoomRequest { user_id, room_id } = request.into_inner();
        let closed = self.0.closed_rooms.lock().unwrap();
        let Some(closed) = closed.as_ref() else { return Err(Status::unimplemented("rooms are open")) };
        self.0.room_calls.fetch_add(1, Ordering::Relaxed);
        let code = if closed.contains(&(user_id, room_id)) { ResultCode::NotAllowed.number() } else { 0 };
        Ok(Response::new(MayWriteReply { code, message: "muted".into() }))
    }

    async fn may_add(&self, request: Request<MayAddRequest>) -> Result<Response<MayAddReply>, Status> {
        if self.0.only_auth || self.0.no_may_add {
            return Err(Status::unimplemented("no MayAdd"));
        }
        let MayAddRequest { from_user_id, user_ids, group_id } = request.into_inner();
        self.0.may_add_calls.lock().unwrap().push((from_user_id, group_id, user_ids.len()));
        let answers = user_ids.into_iter().map(|user_id| (user_id, self.answer(from_user_id, user_id)));
        Ok(Response::new(MayAddReply { refused: answers.filter(|(_, answer)| answer.code != 0).collect() }))
    }

    async fn get_blockers(&self, request: Request<GetBlockersRequest>) -> Result<Response<GetBlockersReply>, Status> {
        if self.0.only_auth {
            return Err(Status::unimplemented("only Auth here"));
        }
        self.0.blockers_calls.fetch_add(1, Ordering::Relaxed);
        if self.0.hides_blockers.load(Ordering::Relaxed) {
            return Err(Status::unavailable("restarting"));
        }
        let GetBlockersRequest { user_id, among_user_ids } = request.into_inner();
        let blocked = self.0.blocked.lock().unwrap();
        let user_ids = among_user_ids.into_iter().filter(|&other_id| blocked.contains(&(user_id, other_id))).collect();
        Ok(Response::new(GetBlockersReply { user_ids }))
    }

    async fn get_users(&self, request: Request<GetUsersRequest>) -> Result<Response<GetUsersReply>, Status> {
        if self.0.only_auth {
            return Err(Status::unimplemented("only Auth here"));
        }
        let known = request.into_inner().user_ids.into_keys().filter(|&user_id| user_id < 1000);
        let users = known.map(|user_id| (user_id, User { user_id, ..User::default() })).collect();
        Ok(Response::new(GetUsersReply { users }))
    }
}

#[async_trait]
impl CommandIntService for Stub {
    async fn handle(&self, request: Request<HandleCommandRequest>) -> Result<Response<HandleCommandReply>, Status> {
        self.note(&request);
        if self.0.holds_commands.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        let request = request.into_inner();
        let message = format!("command {} of user {}", request.command, request.user_id);
        Ok(Response::new(HandleCommandReply { code: 42, message, data: request.content }))
    }
}

#[async_trait]
impl PushIntService for Stub {
    async fn hand_out(&self, request: Request<HandOutRequest>) -> Result<Response<HandOutReply>, Status> {
        self.0.hand_out_calls.fetch_add(1, Ordering::SeqCst);
        if !self.0.wakes_devices {
            return Err(Status::unimplemented("wakes nobody"));
        }
        let pushes = request.into_inner().pushes;
        let ids = pushes.iter().map(|push| push.id.clone());
        let unregistered_ids = if self.0.reaches_nobody.load(Ordering::SeqCst) { ids.collect() } else { Vec::new() };
        self.0.pushes.lock().unwrap().extend(pushes);
        Ok(Response::new(HandOutReply { unregistered_ids }))
    }
}
