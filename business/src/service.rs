//! Start and stop of the service: admin listener, database, logic channel, gRPC; stopped in the reverse order.

use std::{net::SocketAddr, process::ExitCode, sync::Arc, time::Duration};

use gim_config::{
    Readiness, ServiceArguments, Settings as _,
    admin::{self, Admin},
    bounded_http::HttpServer,
    data_folder::{DataFolder, DataFolderError},
    grpc::{self, GrpcServer, GrpcSettings},
    listen::ListenError,
    ready::ReadyPart,
    request_shares::RequestShares,
    service::Running,
    sql::{self, Database, DatabaseError},
};
use tokio::task::JoinHandle;

use crate::{
    domain::code::{ANYTHING, CodeCheck, DevelopmentCode},
    files::{FileServer, FilesError},
    jwt::JwtMaker,
    logic::Logic,
    metrics,
    rpc::{self, UseCases},
    settings::{BusinessSettings, FilesSettings, Limits, SignInSettings},
    store::{Store, StoreError, migrations},
    usecase::{codes::Codes, contact::Contacts, friend::Friends, profile::Profiles, sign_in::SignIns, tokens::Tokens},
    web::{self, FilesAt, SignInBy},
    webhook_codes::WebhookCodes,
};

/// The embedded database in the data folder.
pub const DATABASE_FILE: &str = "business.db";
/// Calls under way when the service is stopped get this long to end.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// A running business service.
#[derive(Debug)]
pub struct Business {
    grpc: GrpcServer,
    grpc_ready: ReadyPart,
    database: Database,
    database_ready: ReadyPart,
    database_watch: JoinHandle<()>,
    limits_watch: JoinHandle<()>,
    request_shares: Arc<RequestShares>,
    grpc_settings: GrpcSettings,
    web: HttpServer,
    files: FileServer,
    admin: Admin,
    readiness: Readiness,
    /// Given back last.
    _data_folder: Option<DataFolder>,
}

/// Why the service did not start. Each is one sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The settings make no sense.
    #[error("settings: {0}")]
    Settings(String),
    /// A listener could not be opened.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The database could not be opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// Another process has the data folder.
    #[error(transparent)]
    DataFolder(#[from] DataFolderError),
    /// The first look into the database.
    #[error("the database {database}: {source}")]
    Store {
        /// Which.
        database: String,
        /// What came of it.
        source: StoreError,
    },
}

impl StartError {
    fn of_files(error: FilesError, database: &Database) -> Self {
        match error {
            FilesError::Settings(problem) => Self::Settings(problem),
            FilesError::Listen(error) => error.into(),
            FilesError::Threads(error) => Self::Settings(error.to_string()),
            FilesError::Store(source) => Self::Store { database: database.name().to_owned(), source },
        }
    }
}

/// Runs the service from its command line to its exit code.
///
/// It stands here, and `main` calls nothing else, because generic code is built where it is used: in the library, once, and not again
/// for the binary and for every test.
pub fn run(arguments: &ServiceArguments) -> ExitCode {
    gim_config::service::run(arguments, |settings: &BusinessSettings| &settings.log, start)
}

/// Starts the service with what the settings say of sign-in codes: a webhook that sends them, or the development code, of which it
/// warns loudly.
///
/// # Errors
/// Where a setting, a listener or the database is refused.
pub async fn start(settings: BusinessSettings) -> Result<Business, StartError> {
    settings.validate_development_code().map_err(StartError::Settings)?;
    start_parts(settings, None).await
}

/// Starts the service with a check of sign-in codes of the customer's own; neither the development code nor the webhook of the settings
/// is used.
///
/// # Errors
/// As [`start`].
pub async fn start_with_code_check(
    settings: BusinessSettings,
    code_check: Arc<dyn CodeCheck>,
) -> Result<Business, StartError> {
    start_parts(settings, Some(code_check)).await
}

/// Only what is kept there has to be ours: nodes of one host share a database server in any folder.
pub(crate) fn take_folder(settings: &BusinessSettings) -> Result<Option<DataFolder>, StartError> {
    let folder = settings.database.folder(&settings.data_dir, DATABASE_FILE)?;
    Ok(folder.map(|folder| DataFolder::take(&folder, "business")).transpose()?)
}

async fn start_parts(
    settings: BusinessSettings,
    code_check: Option<Arc<dyn CodeCheck>>,
) -> Result<Business, StartError> {
    settings.validate().map_err(StartError::Settings)?;
    let data_folder = take_folder(&settings)?;
    let readiness = Readiness::default();
    let (database_ready, grpc_ready) = (readiness.part("database"), readiness.part("grpc"));
    let admin = admin::start(&settings.admin, metrics::DESCRIPTIONS, readiness.clone()).await?;

    let database = Database::open(&settings.database, &settings.data_dir, DATABASE_FILE, &migrations()).await?;

    let store = Store::new(database.clone());
    let filled = sql::persevere(async || store.fill_search_names().await).await;
    filled.map_err(|source| StartError::Store { database: database.name().to_owned(), source })?;
    database_ready.set(true);
    let database_watch = database.watch(database_ready.clone());
    let logic = Logic::new(&settings.logic, &settings.grpc).map_err(StartError::Settings)?;
    let limits_watch = logic.watch_limits(&settings.limits);
    let jwt = JwtMaker::new(&settings.jwt).map_err(StartError::Settings)?;
    let sign_in_by = match &code_check {
        Some(_) => SignInBy::Other,
        None => SignInBy::of(&settings.sign_in),
    };
    let code_check = match code_check {
        Some(code_check) => code_check,
        None => code_check_of(&settings.sign_in, &store)?,
    };
    let use_cases = UseCases {
        codes: Codes::new(&settings.sign_in, code_check.clone()),
        tokens: Tokens::new(store.clone(), logic.clone()),
        sign_ins: SignIns::new(&settings.sign_in, jwt, store.clone(), logic.clone(), code_check),
        profiles: Profiles::new(&settings.search, store.clone(), logic.clone()),
        contacts: Contacts::new(&settings.friends, store.clone()),
        friends: Friends::new(&settings.friends, &settings.limits, store.clone(), logic.clone()),
    };
    let Limits { user_requests_per_s, user_requests_burst, .. } = settings.limits;
    let request_shares = Arc::new(RequestShares::new(user_requests_per_s, user_requests_burst));
    let (routes, user_ext, callers) =
        rpc::routes(use_cases, &settings.limits, database.user_reads.clone(), request_shares.clone());
    let grpc = grpc::serve(&settings.grpc, routes, &rpc::SERVICE_NAMES).await?;
    let page_port = settings.web.listen.port();
    let files = FileServer::start(&settings.files, &settings.data_dir, page_port, store, callers).await;
    let files = files.map_err(|error| StartError::of_files(error, &database))?;
    let files_at = files_at(&settings.files, files.address());
    let web = web::start(&settings.web, sign_in_by, files_at, user_ext, logic).await?;
    grpc_ready.set(true);
    Ok(Business {
        grpc,
        web,
        files,
        grpc_ready,
        database,
        database_ready,
        database_watch,
        limits_watch,
        request_shares,
        grpc_settings: settings.grpc,
        admin,
        readiness,
        _data_folder: data_folder,
    })
}

impl Business {
    /// Where gRPC is served.
    pub fn grpc_address(&self) -> SocketAddr {
        self.grpc.address()
    }

    /// Where the chat page is, if it is.
    pub fn web_address(&self) -> Option<SocketAddr> {
        self.web.address()
    }

    /// Where files are, if they are.
    pub fn files_address(&self) -> Option<SocketAddr> {
        self.files.address()
    }

    /// Where metrics and health are, if they are.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.address()
    }

    /// Whether each part is ready: `database`, `grpc`.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }
}

impl Running for Business {
    type Settings = BusinessSettings;

    fn summary(&self) -> String {
        let admin = self.admin_address().map(|address| format!(", admin on {address}")).unwrap_or_default();
        let web = self.web_address().map(|address| format!(", the chat page on http://{address}/")).unwrap_or_default();
        let files = self.files_address().map(|address| format!(", files on http://{address}")).unwrap_or_default();
        format!("gRPC on {}{web}{files}{admin}", self.grpc_address())
    }

    fn check(&self, settings: &BusinessSettings) -> Result<(), String> {
        self.grpc_settings.check_tokens(&settings.grpc)
    }

    async fn reload(&mut self, settings: Option<&BusinessSettings>) -> Result<(), String> {
        if let Some(BusinessSettings { limits, grpc, .. }) = settings {
            self.grpc_settings.set_tokens(grpc);
            self.request_shares.set(limits.user_requests_per_s, limits.user_requests_burst);
        }
        grpc::all_of([self.grpc.reload(None), self.grpc_settings.reload_caller_tls()])
    }

    fn admin(&mut self) -> &mut Admin {
        &mut self.admin
    }

    async fn failed(&mut self) -> String {
        self.grpc.failed().await
    }

    async fn stop(self) {
        self.grpc_ready.set(false);
        self.web.stop().await;
        self.files.stop().await;
        self.grpc.stop(STOP_DEADLINE).await;
        self.limits_watch.abort();
        self.database_watch.abort();
        self.database_ready.set(false);
        self.database.close().await;
        self.admin.stop().await;
    }
}

/// Where the page uploads files.
fn files_at(settings: &FilesSettings, address: Option<SocketAddr>) -> FilesAt {
    match address {
        None => FilesAt::Nowhere,
        Some(_) if !settings.public_url.is_empty() => FilesAt::Url(settings.public_url.clone()),
        Some(address) => FilesAt::Port(address.port()),
    }
}

/// A webhook that sends codes, or else the development code.
fn code_check_of(settings: &SignInSettings, store: &Store) -> Result<Arc<dyn CodeCheck>, StartError> {
    if let Some(codes) = WebhookCodes::new(settings, store).map_err(StartError::Settings)? {
        return Ok(Arc::new(codes));
    }
    warn_of_development_code(settings);
    Ok(Arc::new(DevelopmentCode::new(&settings.development_code)))
}

fn warn_of_development_code(settings: &SignInSettings) {
    if settings.development_code.is_empty() {
        tracing::warn!(
            "NOBODY CAN SIGN IN: sign_in.code_webhook and sign_in.development_code are empty, and no other check of sign-in codes is \
             plugged in"
        );
    } else if settings.development_code == ANYTHING {
        tracing::warn!(
            "DEVELOPMENT SIGN-IN: any code is accepted for every phone number (sign_in.development_code), so anybody can sign in \
             as anybody; set sign_in.code_webhook in its place before strangers can reach this service"
        );
    } else {
        tracing::warn!(
            "DEVELOPMENT SIGN-IN: the fixed code of sign_in.development_code is accepted for every phone number, so \
             anybody can sign in as anybody; set sign_in.code_webhook in its place before strangers can reach this service"
        );
    }
}
