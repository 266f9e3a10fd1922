//! Claims of pushes: by whoever holds the walk, and by nobody else.

use gim_logic::{
    domain::conversation::Peer,
    store::push_claims::{PushClaim, WALK},
    walk::{Settled, Walk},
};

use super::harness;

#[tokio::test]
async fn who_lost_the_walk_claims_nothing_and_who_took_it_sees_what_was() {
    let harness = harness().await;
    let (claims, walks) = (&harness.store.push_claims, &harness.store.walks);
    walks.begin(WALK, 1).await.unwrap();
    let settled = || Settled::Alone(harness.floor.clone());
    let mut first = Walk::new(WALK, &harness.store, settled());
    let held_before = first.hold().await.unwrap().unwrap();
    let claim = |message_id, device_id, peer| PushClaim { message_id, user_id: 7, device_id, peer };
    let made = [claim(20, 0, None), claim(20, 1, Some(Peer::User(8))), claim(30, 1, Some(Peer::Group(9)))];
    assert!(claims.change(held_before, &made, &[]).await.unwrap());
    assert!(claims.change(held_before, &made[..1], &[]).await.unwrap(), "an answer may have been lost");

    let mut second = Walk::new(WALK, &harness.store, settled());
    let held = second.hold().await.unwrap().unwrap();
    let late = claim(40, 1, None);
    assert!(!claims.change(held_before, &[late], &made).await.unwrap(), "it is another's");
    assert_eq!(claims.after(1).await.unwrap(), made);
    assert!(claims.change(held, &[late], &made[1..2]).await.unwrap());
    assert_eq!(claims.after(20).await.unwrap(), [made[2], late]);
    claims.pass(30).await.unwrap();
    assert_eq!(claims.after(0).await.unwrap(), [late]);
}

#[tokio::test]
async fn many_claims_are_read_however_many_one_message_has() {
    let harness = harness().await;
    let claims = &harness.store.push_claims;
    harness.store.walks.begin(WALK, 1).await.unwrap();
    let mut walk = Walk::new(WALK, &harness.store, Settled::Alone(harness.floor.clone()));
    let holder = walk.hold().await.unwrap().unwrap();
    let of = |message_id: u64, count: u64| {
        (0..count).map(move |user_id| PushClaim { message_id, user_id, device_id: 1, peer: None })
    };
    let made: Vec<PushClaim> = of(10, 3).chain(of(11, 12_000)).chain(of(12, 3)).collect();
    assert!(claims.change(holder, &made, &[]).await.unwrap());
    assert_eq!(claims.after(9).await.unwrap(), made);
}
