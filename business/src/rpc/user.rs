//! `UserExtService`: sign-in, and what clients ask about users.

use gim_config::grpc;
use gim_proto::{
    business::{
        GetUserReply, GetUserRequest, SearchUserReply, SearchUserRequest, SendCodeReply, SendCodeRequest, SignInReply,
        SignInRequest, SignOutRequest, UpdateUserRequest, user_ext_service_server::UserExtService,
    },
    check::{self, Violation},
    logic::Device,
    metadata,
    page::Page,
};
use tonic::{Request, Response, Status};

use super::caller::{Callers, request_id, user_id};
use crate::{
    clock,
    domain::{code::SentCode, user::Profile},
    settings::Limits,
    store::ALL_DEVICES,
    usecase::{
        Caller,
        attempt_counts::Origin,
        codes::Codes,
        profile::Profiles,
        sign_in::{Applicant, Former, SignIns, SignedIn},
        tokens::Tokens,
    },
};

/// Longest sign-in code, whoever made it.
const CODE_BYTES_MAX: usize = 64;

/// The service for clients.
#[derive(Clone)]
pub struct UserExt {
    pub(super) callers: Callers,
    pub(super) sign_ins: SignIns,
    pub(super) codes: Codes,
    pub(super) tokens: Tokens,
    pub(super) profiles: Profiles,
    pub(super) limits: Limits,
}

impl UserExt {
    /// Signs a device in, whatever way the request came; `former` is who shows to be signed in on it before.
    pub async fn sign_in_from(
        &self,
        origin: Option<Origin>,
        former: Option<Former<'_>>,
        request: SignInRequest,
        request_id: &str,
    ) -> Result<SignInReply, Status> {
        let SignInRequest { phone_number, code, device, on_this_device_only } = request;
        self.check_phone_number(&phone_number)?;
        check::filled("code", &code, CODE_BYTES_MAX)?;
        let device = device.ok_or_else(|| check::invalid("device", "is missing"))?;
        self.check_device(&device)?;
        let applicant = Applicant { phone_number: &phone_number, code: &code, origin, on_this_device_only, former };
        let SignedIn { is_new, user_id, device_id, token } =
            self.sign_ins.sign_in(applicant, device, request_id, clock::now_ms()).await?;
        Ok(SignInReply { is_new, user_id, device_id, token })
    }

    /// Sends a sign-in code, whatever way the request came.
    pub async fn send_code_from(
        &self,
        origin: Option<Origin>,
        request: SendCodeRequest,
        request_id: &str,
    ) -> Result<SendCodeReply, Status> {
        self.check_phone_number(&request.phone_number)?;
        let SentCode { valid_s } = self.codes.send(&request.phone_number, origin, request_id, clock::now_ms()).await?;
        Ok(SendCodeReply { valid_s })
    }

    fn check_phone_number(&self, phone_number: &str) -> Result<(), Violation> {
        check::filled("phone_number", phone_number, self.limits.phone_number_bytes_max)?;
        if phone_number.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(())
        } else {
            Err(check::invalid("phone_number", "must be visible ASCII without spaces"))
        }
    }

    fn check_device(&self, device: &Device) -> Result<(), Violation> {
        if device.id != 0 {
            check::id("device.id", device.id)?;
        }
        let texts = [
            ("device.brand", &device.brand),
            ("device.model", &device.model),
            ("device.system_version", &device.system_version),
            ("device.sdk_version", &device.sdk_version),
            ("device.branch_push_id", &device.branch_push_id),
        ];
        texts.into_iter().try_for_each(|(name, text)| check::size(name, text, self.limits.device_text_bytes_max))
    }
}

#[tonic::async_trait]
impl UserExtService for UserExt {
    async fn sign_in(&self, request: Request<SignInRequest>) -> Result<Response<SignInReply>, Status> {
        let (request_id, origin) = (request_id(&request).to_owned(), origin(&request)?);
        let (metadata, extensions, asked) = request.into_parts();
        let said = Request::from_parts(metadata, extensions, ());
        Ok(Response::new(self.sign_in_from(origin, former(&said), asked, &request_id).await?))
    }

    async fn send_code(&self, request: Request<SendCodeRequest>) -> Result<Response<SendCodeReply>, Status> {
        let (request_id, origin) = (request_id(&request).to_owned(), origin(&request)?);
        Ok(Response::new(self.send_code_from(origin, request.into_inner(), &request_id).await?))
    }

    async fn get_user(&self, request: Request<GetUserRequest>) -> Result<Response<GetUserReply>, Status> {
        let (_, _turn) = self.callers.identify_reader(&request).await?;
        let user_id = check::id("user_id", request.into_inner().user_id)?;
        let user = self.profiles.user(user_id).await?;
        Ok(Response::new(GetUserReply { user: Some(user.into()) }))
    }

    async fn update_user(&self, request: Request<UpdateUserRequest>) -> Result<Response<()>, Status> {
        let caller = self.callers.identify(&request).await?;
        let UpdateUserRequest { nickname, sex, avatar_url, extra } = request.into_inner();
        check::size("nickname", &nickname, self.limits.nickname_bytes_max)?;
        check::size("avatar_url", &avatar_url, self.limits.avatar_url_bytes_max)?;
        check::size("extra", &extra, self.limits.extra_bytes_max)?;
        let profile = Profile { nickname, sex, avatar_url, extra };
        self.profiles.update(caller.user_id, &profile, clock::now_ms()).await?;
        Ok(Response::new(()))
    }

    async fn search_user(&self, request: Request<SearchUserRequest>) -> Result<Response<SearchUserReply>, Status> {
        let caller = self.callers.identify(&request).await?;
        let SearchUserRequest { key, from, limit } = request.into_inner();
        check::filled("key", key.trim(), self.limits.nickname_bytes_max)?;
        let results_max = self.limits.search_results_max;
        let count_max = if limit == 0 { results_max } else { limit.min(results_max) };
        let page = Page::after("from", from, count_max)?;
        let (found, next) = self.profiles.search(caller.user_id, &key, from, count_max).await?;
        let found_ids: Vec<u64> = found.iter().map(|user| user.user_id).collect();
        let (users, _) = page.cut(found.into_iter().map(Into::into).collect());
        let next = found_ids.get(users.len()).copied().unwrap_or(next);
        Ok(Response::new(SearchUserReply { users, next }))
    }

    async fn sign_out(&self, request: Request<SignOutRequest>) -> Result<Response<()>, Status> {
        let Caller { user_id, device_id, request_id } = self.callers.identify(&request).await?;
        let device_id = if request.into_inner().all_devices { ALL_DEVICES } else { device_id };
        self.tokens.revoke(user_id, device_id, &request_id, clock::now_ms()).await?;
        Ok(Response::new(()))
    }
}

/// Who says to have been signed in before. Nobody has to say so, and whether it is so is seen later.
fn former(request: &Request<()>) -> Option<Former<'_>> {
    let id = |name| metadata::text(request, name)?.parse::<u64>().ok();
    let (user_id, device_id) = (id(metadata::USER_ID)?, id(metadata::DEVICE_ID)?);
    Some(Former { user_id, device_id, token: metadata::text(request, metadata::TOKEN)? })
}

/// Who pays for wrong codes: many users whose connections one service holds have its address.
fn origin<T>(request: &Request<T>) -> Result<Option<Origin>, Violation> {
    if grpc::is_vouched(request) {
        return Ok(Some(Origin::User(user_id(request)?)));
    }
    Ok(grpc::caller_address(request).map(Origin::Address))
}
