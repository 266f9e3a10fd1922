use std::io::{Read as _, Seek as _};

use gim_proto::business::MayWriteReply;

use super::{permissions::to_permission, *};
use crate::domain::out_of_date::OutOfDate;

fn auth_code(status: Status) -> ResultCode {
    refusal_of_auth(status).code()
}

#[test]
fn a_refused_token_is_told_from_a_business_that_is_away_or_broken() {
    assert_eq!(auth_code(Status::unauthenticated("expired")), ResultCode::SignInAgain);
    assert_eq!(auth_code(Status::permission_denied("banned")), ResultCode::SignInAgain);
    assert_eq!(auth_code(Status::not_found("who?")), ResultCode::SignInAgain);
    assert_eq!(auth_code(Status::unavailable("down")), ResultCode::TryAgainLater);
    assert_eq!(auth_code(Status::cancelled("timeout")), ResultCode::TryAgainLater);
    assert_eq!(auth_code(Status::internal("bug")), ResultCode::Internal);
    assert_eq!(auth_code(Status::unimplemented("no Auth")), ResultCode::Internal);
}

#[test]
fn a_business_that_distrusts_us_says_nothing_about_tokens_or_users() {
    let status = || ResultCode::untrusted("the internal token is wrong");
    assert_eq!(auth_code(status()), ResultCode::TryAgainLater);
    assert_eq!(failure("MayWrite", status()).code(), ResultCode::TryAgainLater);
    assert_eq!(failure("MayWrite", ResultCode::NotAllowed.into()).code(), ResultCode::NotAllowed);
}

#[test]
fn a_permission_is_what_the_code_says() {
    let permission = |code, message: &str| to_permission(MayWriteReply { code, message: message.into() });
    assert_eq!(permission(0, ""), Permission::Given);
    let denied = |code, message: &str| match permission(code, message) {
        Permission::Denied(code, message) => BusinessError::of_business(code, &message),
        permission => panic!("{permission:?}"),
    };
    let said = |code, message: &str| said(&denied(code, message));
    assert_eq!(said(10210, ""), (10210, "not friends".into()));
    assert_eq!(said(10006, "blocked"), (10006, "blocked".into()));
    assert_eq!(said(77777, "your account is new"), (77777, "your account is new".into()));
    assert_eq!(said(10999, "kept for gim"), (10006, "kept for gim".into()));
    assert!(permission(77777, "").is_lasting() && !permission(10004, "").is_lasting());
}

#[test]
fn a_code_of_the_business_passes_whichever_call_it_answers() {
    let status = || ResultCode::status_of_business(20_001, "banned until Monday");
    for error in [refusal_of_auth(status()), failure("Handle", status()), failure("GetUser", status())] {
        assert_eq!(said(&error), (20_001, "banned until Monday".into()));
    }
}

fn said(error: &BusinessError) -> (i32, String) {
    let BusinessError::Refused(status) = error else { panic!("{error:?}") };
    (ResultCode::number_of_status(status), status.message().to_owned())
}

#[test]
fn a_card_that_would_not_fit_a_frame_is_bare() {
    let user = |extra: &str| gim_proto::business::User { user_id: 7, extra: extra.into(), ..Default::default() };
    assert_eq!(to_card(user("x")).extra, "x");
    let bare = to_card(user(&"x".repeat(CARD_BYTES_MAX + 1)));
    assert_eq!(bare, logic::User { user_id: 7, ..logic::User::default() });
}

#[tokio::test]
async fn thousands_of_notices_forget_what_they_name_and_nothing_else() {
    const USERS: u64 = 20_000;
    const NOTICES: u64 = 4_000;
    let business = Business::new(&BusinessSettings::default(), &GrpcSettings::default()).unwrap();
    let now = Instant::now();
    let token = |user_id, device_id| (Caller { user_id, device_id }, format!("token-{user_id}"));
    for user_id in 1..=USERS {
        business.good_tokens.put(token(user_id, 1), (), now);
        business.good_tokens.put(token(user_id, 2), (), now);
        business.room_writers.answers.put((user_id, 5), Permission::Given, now);
        business.room_writers.answers.put((user_id, 6), Permission::Given, now);
        business.cards.put(user_id, CardAnswer::NotOffered, now);
    }
    // Of the first ones all devices, of the next ones one; the same with rooms.
    let notices = (1..=NOTICES).flat_map(|user_id| {
        let device_id = if user_id <= NOTICES / 2 { 0 } else { 2 };
        [OutOfDate::Tokens { user_id, device_id }, OutOfDate::RoomWriter { user_id, room_id: 5 }]
    });
    let room = OutOfDate::RoomWriter { user_id: 0, room_id: 6 };
    let notices: Vec<OutOfDate> = notices.chain([room, OutOfDate::Card(7), OutOfDate::Pair(7, 8)]).collect();
    business.forget(&notices).await;

    for user_id in 1..=USERS {
        let has_token = [1, 2].map(|device_id| business.good_tokens.get(&token(user_id, device_id), now).is_some());
        let expected = [user_id > NOTICES / 2, user_id > NOTICES];
        assert_eq!(has_token, expected, "tokens of {user_id}");
        let may_write = [5, 6].map(|room_id| business.room_writers.answers.get(&(user_id, room_id), now).is_some());
        assert_eq!(may_write, [user_id > NOTICES, false], "rooms of {user_id}");
        assert_eq!(business.cards.get(&user_id, now).is_some(), user_id != 7, "card of {user_id}");
    }
}

#[tokio::test]
async fn what_never_had_a_place_says_nothing_about_the_business() {
    let settings = BusinessSettings { call_timeout_ms: 20, ..BusinessSettings::default() };
    let business = Business::new(&settings, &GrpcSettings::default()).unwrap();
    for (places, counts) in [(0, false), (1, true)] {
        let (places, breaker) = (Semaphore::new(places), Breaker::default());
        let never = std::future::pending::<Result<tonic::Response<()>, Status>>();
        let status = business.ask(&places, Some(&breaker), never).await.unwrap_err();
        assert!(is_away(&status));
        let much_later = Instant::now() + Duration::from_secs(60);
        breaker.failed(much_later);
        assert_eq!(breaker.is_worth_a_try(much_later), !counts, "it has failed for a minute, or for the first time");
    }
}

#[tokio::test]
async fn a_business_that_puts_calls_off_is_not_blamed_for_what_it_lacks() {
    let mut log = tempfile::tempfile().unwrap();
    let writer = std::sync::Arc::new(log.try_clone().unwrap());
    let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
    let _for_this_test = tracing::subscriber::set_default(subscriber);
    let business = Business::new(&BusinessSettings::default(), &GrpcSettings::default()).unwrap();
    let places = Semaphore::new(1);
    let mut said_of = async |status: Status| {
        business.ask::<()>(&places, None, std::future::ready(Err(status))).await.unwrap_err();
        let mut said = String::new();
        log.rewind().unwrap();
        log.read_to_string(&mut said).unwrap();
        log.set_len(0).unwrap();
        log.rewind().unwrap();
        said
    };
    let put_off = said_of(ResultCode::TryAgainLater.into()).await;
    assert!(put_off.contains("the business service puts calls off") && !put_off.contains("away"), "{put_off}");
    let away = said_of(Status::unavailable("http://business:8020: Connection refused")).await;
    assert!(away.contains("is away") && away.contains("http://business:8020: Connection refused"), "{away}");
    assert_eq!(said_of(ResultCode::TryAgainLater.into()).await, "", "it is said once");
    let late = said_of(Status::deadline_exceeded("http://business:8020: no answer within 3000 ms")).await;
    let (words, why) =
        ("the business service does not answer in time", "http://business:8020: no answer within 3000 ms");
    assert!(late.contains(words) && late.contains(why) && !late.contains("away"), "{late}");
}

#[tokio::test]
async fn a_call_that_is_not_answered_in_time_says_so_with_the_address() {
    let mut settings = BusinessSettings { call_timeout_ms: 20, ..BusinessSettings::default() };
    settings.endpoint = gim_config::endpoints::Endpoints::new("http://business:8020");
    let business = Business::new(&settings, &GrpcSettings::default()).unwrap();
    let never = std::future::pending::<Result<tonic::Response<()>, Status>>();
    let status = business.ask(&Semaphore::new(1), None, never).await.unwrap_err();
    assert_eq!(status.message(), "http://business:8020: no answer within 20 ms");
    let told = failure("Auth", status);
    assert_eq!(told.code(), ResultCode::TryAgainLater);
    assert_eq!(told.to_string(), "the business service did not answer in time, try again later");
}

#[tokio::test]
async fn a_business_that_takes_calls_and_does_not_end_them_is_told_as_that() {
    // It is connected to, and hears nothing of us.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let mut log = tempfile::tempfile().unwrap();
    let writer = std::sync::Arc::new(log.try_clone().unwrap());
    let subscriber = tracing_subscriber::fmt().with_writer(writer).with_ansi(false).finish();
    let _for_this_test = tracing::subscriber::set_default(subscriber);
    let settings = BusinessSettings {
        endpoint: gim_config::endpoints::Endpoints::new(&address),
        call_timeout_ms: 40,
        ..BusinessSettings::default()
    };
    let business = Business::new(&settings, &GrpcSettings::default()).unwrap();
    let refused = business.auth(Caller { user_id: 7, device_id: 1 }, "token", "r").await.unwrap_err();
    assert_eq!(refused.code(), ResultCode::TryAgainLater);
    let mut said = String::new();
    log.rewind().unwrap();
    log.read_to_string(&mut said).unwrap();
    // In how many milliseconds depends on who gives up first: the call, or the channel that it goes through.
    let expected = format!("the business service does not answer in time error={address}: no answer within ");
    assert!(said.contains(&expected) && !said.contains("away"), "{said}");
}
