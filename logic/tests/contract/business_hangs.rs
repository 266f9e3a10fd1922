//! A business some of whose calls hang: what goes on meanwhile, and who may write.

use std::sync::atomic::Ordering;

use gim_logic::{LogicSettings, settings::WhileAway};
use gim_proto::{
    ResultCode,
    connect::{SendRequest, send_request::Target},
    logic::GroupKind,
};

use crate::support::{Server, business::StubBusiness, conn::Conn, server_with, soon};

/// Nothing is remembered, and nothing is waited for long.
async fn hasty_server(while_away: WhileAway, change: impl FnOnce(&mut LogicSettings)) -> Server {
    let hasty = |settings: &mut LogicSettings| {
        settings.business.call_timeout_ms = 250;
        (settings.business.may_write_cache_ms, settings.business.user_cache_ms) = (0, 0);
        settings.business.while_away = while_away;
        change(settings);
    };
    server_with(StubBusiness::start().await, hasty).await
}

fn send_to(target: Target, number: usize) -> SendRequest {
    SendRequest { target: Some(target), client_msg_id: number.to_string(), ..SendRequest::default() }
}

#[tokio::test]
async fn who_is_blocked_cannot_write_while_another_call_hangs() {
    let server = hasty_server(WhileAway::Allow, |_| ()).await;
    let state = server.business.state.clone();
    state.blocked.lock().unwrap().push((7, 8));
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    for hangs in [&state.holds_commands, &state.holds_cards] {
        hangs.store(true, Ordering::SeqCst);
        // Several seconds of failures, after two of which a call that fails is not waited for.
        for number in 0..16 {
            conn.packet(9, 1_001, Vec::new()).await;
            let refused = conn.send_message(7, send_to(Target::UserId(8), number)).await.unwrap_err();
            assert_eq!(refused.code, 4711, "{}", refused.message);
        }
        hangs.store(false, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn no_message_waits_for_a_name_while_cards_hang() {
    let not_asking = |settings: &mut LogicSettings| settings.business.asks_may_write = false;
    for while_away in [WhileAway::Refuse, WhileAway::Allow, WhileAway::Cached] {
        let server = hasty_server(while_away, not_asking).await;
        let mut targets = vec![Target::GroupId(server.make(GroupKind::GkNormal, &[7, 8]).await)];
        // What is asked then is whether there is such a user.
        targets.extend((while_away == WhileAway::Allow).then_some(Target::UserId(8)));
        let state = server.business.state.clone();
        let mut conn = Conn::attach(&server, "conn-1", 1).await;
        let mut number = 0;
        let mut asks = async |target| {
            let before = state.card_calls.load(Ordering::SeqCst);
            number += 1;
            conn.send_message(7, send_to(target, number)).await.unwrap();
            state.card_calls.load(Ordering::SeqCst) > before
        };
        for target in targets {
            state.holds_cards.store(true, Ordering::SeqCst);
            soon(async { while asks(target).await {} }).await;
            state.holds_cards.store(false, Ordering::SeqCst);
            soon(async { while !asks(target).await {} }).await;
        }
    }
}

#[tokio::test]
async fn a_send_that_the_business_has_to_allow_is_put_off_while_cards_hang() {
    let server = hasty_server(WhileAway::Refuse, |settings| settings.business.asks_may_write = false).await;
    server.business.state.holds_cards.store(true, Ordering::SeqCst);
    let mut conn = Conn::attach(&server, "conn-1", 1).await;
    for number in 0..16 {
        let put_off = conn.send_message(7, send_to(Target::UserId(8), number)).await.unwrap_err();
        assert_eq!(put_off.code, ResultCode::TryAgainLater.number());
    }
    server.business.state.holds_cards.store(false, Ordering::SeqCst);
    conn.send_message(7, send_to(Target::UserId(8), 16)).await.expect("it is asked at each of them");
}
