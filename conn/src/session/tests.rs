//! Sessions without sockets: packets and times go in, actions come out.

use super::*;

const RULES: Rules = Rules {
    unsigned_frame_bytes_max: 4096,
    frame_bytes_max: 65536,
    sign_in_timeout_ms: 10_000,
    failed_sign_ins_max: 3,
    heartbeat_timeout_ms: 720_000,
    in_flight_max: 2,
    calls_in_flight_max: 2,
    packets_per_s: 10,
    packets_burst: 20,
    newest_seq_interval_ms: 1000,
    linger_ms: 1000,
};

const IDENTITY: Identity = Identity { user_id: 1, device_id: 2 };

fn packet(command: PacketCommand) -> PacketView<'static> {
    PacketView { command: command as i32, ..PacketView::default() }
}

fn live() -> Session {
    let mut session = Session::new(0, &RULES);
    assert_eq!(session.on_packet(&packet(PacketCommand::PcSignIn), 0, &RULES), Action::Forward);
    assert!(session.on_signed_in(IDENTITY, 7, 0));
    session
}

#[test]
fn before_the_sign_in_every_other_command_is_refused() {
    let mut session = Session::new(0, &RULES);
    for command in [PacketCommand::PcUnknown, PacketCommand::PcHeartbeat, PacketCommand::PcSync, PacketCommand::PcSend]
    {
        assert_eq!(session.on_packet(&packet(command), 0, &RULES), Action::Refuse(ResultCode::SignInAgain));
    }
    assert_eq!(session.phase(), Phase::Unsigned);
}

#[test]
fn a_sign_in_under_way_pauses_reading() {
    let mut session = Session::new(0, &RULES);
    assert_eq!(session.pause(&RULES), None);
    session.on_packet(&packet(PacketCommand::PcSignIn), 0, &RULES);
    assert_eq!(session.pause(&RULES), Some(PauseReason::SigningIn));
    assert!(session.on_signed_in(IDENTITY, 0, 0));
    assert_eq!(session.pause(&RULES), None);
    assert!(!session.on_signed_in(IDENTITY, 0, 0), "a second answer to one sign-in means nothing");
}

#[test]
fn unknown_commands_are_answered_and_business_commands_travel() {
    let mut session = live();
    for command in [0, 4, 8, 9, 12, 999, -1, i32::MIN] {
        let view = PacketView { command, ..PacketView::default() };
        assert_eq!(session.on_packet(&view, 0, &RULES), Action::Refuse(ResultCode::UnknownCommand), "{command}");
    }
    for command in [PacketCommand::PcRead as i32, 1000] {
        let view = PacketView { command, ..PacketView::default() };
        assert_eq!(session.on_packet(&view, 0, &RULES), Action::Forward);
    }
}

#[test]
fn a_full_window_pauses_until_a_reply() {
    let mut session = live();
    session.on_packet(&packet(PacketCommand::PcSend), 0, &RULES);
    assert_eq!(session.pause(&RULES), None);
    session.on_packet(&packet(PacketCommand::PcSend), 0, &RULES);
    assert_eq!(session.pause(&RULES), Some(PauseReason::InFlightFull));
    session.on_reply();
    assert_eq!(session.pause(&RULES), None);
}

#[test]
fn calls_have_places_of_their_own_and_never_pause_reading() {
    let mut session = live();
    let call = packet(PacketCommand::PcCall);
    for _ in 0..2 {
        assert_eq!(session.on_packet(&call, 0, &RULES), Action::Call);
    }
    assert_eq!(session.on_packet(&call, 0, &RULES), Action::Refuse(ResultCode::TooManyRequests));
    assert_eq!((session.pause(&RULES), session.in_flight(), session.is_answered()), (None, 0, false));
    assert_eq!(session.on_packet(&packet(PacketCommand::PcHeartbeat), 0, &RULES), Action::Heartbeat);
    assert_eq!(session.on_packet(&packet(PacketCommand::PcSend), 0, &RULES), Action::Forward);
    session.on_call_over();
    assert_eq!(session.on_packet(&call, 0, &RULES), Action::Call);
    (0..2).for_each(|_| session.on_call_over());
    session.on_reply();
    assert!(session.is_answered());
    // Refused sign-ins take no places of calls.
    let mut session = Session::new(0, &RULES);
    assert_eq!(session.on_packet(&call, 0, &RULES), Action::Refuse(ResultCode::SignInAgain));
    for _ in 0..2 {
        assert_eq!(session.on_packet(&packet(PacketCommand::PcSignIn), 0, &RULES), Action::Forward);
        session.on_sign_in_refused(&RULES);
    }
    session.on_packet(&packet(PacketCommand::PcSignIn), 0, &RULES);
    assert!(session.on_signed_in(IDENTITY, 7, 0) && session.is_answered());
    assert_eq!(session.on_packet(&call, 0, &RULES), Action::Call);
}

#[test]
fn refused_sign_ins_end_the_connection_at_the_limit() {
    let mut session = Session::new(0, &RULES);
    for attempt in 1..=3 {
        assert_eq!(session.on_packet(&packet(PacketCommand::PcSignIn), 0, &RULES), Action::Forward);
        let expected = (attempt == 3).then_some(CloseReason::CrRateLimited);
        assert_eq!(session.on_sign_in_refused(&RULES), expected);
    }
}

#[test]
fn each_phase_has_its_deadline() {
    let unsigned = Session::new(0, &RULES);
    assert_eq!(unsigned.on_deadline(9_999, &RULES), None);
    assert_eq!(unsigned.on_deadline(10_000, &RULES), Some(CloseReason::CrSignInDeadline));
    let mut session = live();
    assert_eq!(session.on_deadline(719_999, &RULES), None);
    assert_eq!(session.on_packet(&packet(PacketCommand::PcHeartbeat), 300_000, &RULES), Action::Heartbeat);
    assert_eq!(session.on_deadline(720_000, &RULES), None);
    assert_eq!(session.on_deadline(1_020_000, &RULES), Some(CloseReason::CrHeartbeatTimeout));
}

#[test]
fn a_client_that_tells_its_interval_is_gone_after_twice_that() {
    let session = live();
    for (heartbeat_s, patience_ms) in [(0, 720_000), (90, 180_000), (1, 2_000), (600, 720_000), (u16::MAX, 720_000)] {
        let rules = RULES.for_heartbeat(heartbeat_s);
        assert_eq!(session.on_deadline(patience_ms - 1, &rules), None);
        assert_eq!(session.on_deadline(patience_ms, &rules), Some(CloseReason::CrHeartbeatTimeout), "{heartbeat_s}");
    }
}

#[test]
fn packets_before_the_sign_in_do_not_move_its_deadline() {
    let mut session = Session::new(0, &RULES);
    session.on_packet(&packet(PacketCommand::PcHeartbeat), 9_000, &RULES);
    assert_eq!(session.on_deadline(10_000, &RULES), Some(CloseReason::CrSignInDeadline));
}

#[test]
fn over_the_rate_packets_are_refused_and_in_the_end_the_connection_is() {
    let mut session = live();
    let mut outcomes = Vec::new();
    for _ in 0..60 {
        outcomes.push(session.on_packet(&packet(PacketCommand::PcHeartbeat), 0, &RULES));
    }
    let count = |action| outcomes.iter().filter(|outcome| **outcome == action).count();
    assert_eq!(count(Action::Heartbeat), 19, "the sign-in took one of twenty");
    assert_eq!(count(Action::Refuse(ResultCode::TooManyRequests)), 20);
    assert_eq!(count(Action::Close(CloseReason::CrRateLimited)), 21);
    assert_eq!(session.on_packet(&packet(PacketCommand::PcHeartbeat), 10_000, &RULES), Action::Heartbeat);
}

#[test]
fn who_keeps_to_a_low_rate_is_never_refused() {
    let rules = Rules { packets_per_s: 15, packets_burst: 4, ..RULES };
    let mut session = Session::new(0, &rules);
    assert_eq!(session.on_packet(&packet(PacketCommand::PcSignIn), 0, &rules), Action::Forward);
    assert!(session.on_signed_in(IDENTITY, 7, 0));
    for number in 1..1_500 {
        let action = session.on_packet(&packet(PacketCommand::PcHeartbeat), number * 1000 / 15, &rules);
        assert_eq!(action, Action::Heartbeat, "packet {number}");
    }
}

#[test]
fn frequent_heartbeats_do_not_each_ask_logic() {
    let mut session = live();
    assert!(session.asks_newest_seq(10, &RULES));
    assert!(!session.asks_newest_seq(900, &RULES));
    assert!(session.asks_newest_seq(1_100, &RULES));
}

#[test]
fn an_older_seq_is_no_news() {
    let mut session = live();
    assert!(session.on_newest_seq(9));
    assert!(!session.on_newest_seq(8));
    assert_eq!(session.newest_seq(), 9);
}

#[test]
fn what_a_client_sent_is_known_only_where_nothing_was_missed_before() {
    let mut session = live();
    for (own, known) in [(0, 7), (8, 8), (10, 8), (9, 9), (8, 9)] {
        session.on_own_message(own);
        assert_eq!(session.newest_seq(), known, "after {own}");
    }
}
