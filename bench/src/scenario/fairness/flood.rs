//! A flood of calls in JSON at the clients' listener, at a fixed rate whatever becomes of them (an open loop): those of the one user, or of
//! somebody who is nobody yet, whose every call tries a sign-in code.
//!
//! On the runtime of the target. Always holds: at most [`UNDER_WAY_MAX`] calls are under way; one that would be more is not made.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use gim_config::grpc::unary;
use gim_proto::metadata::{DEVICE_ID, TOKEN, USER_ID};
use http::{Request, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::{
    sync::{Semaphore, watch},
    time::{self, MissedTickBehavior},
};
use tonic::{Status, transport::Channel};
use tower::{Service as _, ServiceExt as _};

use super::aggressor::{Phase, Tally};
use crate::{swarm::DEADLINE, users::User};

/// Connections over which the calls go by turns.
pub const CONNECTIONS: usize = 16;

const UNDER_WAY_MAX: usize = 16_384;

/// Calls that are begun together, so often a second.
const TICKS_PER_S: u32 = 200;

/// Who calls.
pub enum Caller {
    /// A user who is signed in, and lists groups.
    User(User),
    /// Nobody, with codes for phone numbers.
    Stranger,
}

/// Calls while the phase is on, until it is over.
pub async fn go_on(
    caller: Caller,
    doors: Vec<Channel>,
    per_s: u32,
    mut phase: watch::Receiver<Phase>,
    tally: Arc<Tally>,
) {
    let (caller, places, next) = (Arc::new(caller), Arc::new(Semaphore::new(UNDER_WAY_MAX)), AtomicUsize::new(0));
    let mut ticks = time::interval(Duration::from_secs(1) / TICKS_PER_S);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut due = 0.0_f64;
    // Ends with the run, whose sender is gone then.
    while phase.wait_for(|phase| *phase != Phase::Quiet).await.is_ok_and(|phase| *phase == Phase::On) {
        ticks.reset();
        due = due.fract();
        while *phase.borrow() == Phase::On {
            ticks.tick().await;
            due += f64::from(per_s) / f64::from(TICKS_PER_S);
            while due >= 1.0 {
                due -= 1.0;
                let Ok(place) = places.clone().try_acquire_owned() else { continue };
                let number = next.fetch_add(1, Relaxed);
                let (caller, door, tally) = (caller.clone(), doors[number % doors.len()].clone(), tally.clone());
                tally.begin_call();
                tokio::spawn(async move {
                    let answer = time::timeout(DEADLINE, call(&caller, number, door)).await;
                    tally.end_call(!matches!(answer, Ok(Ok(StatusCode::OK))));
                    drop(place);
                });
            }
        }
    }
}

async fn call(caller: &Caller, number: usize, mut door: Channel) -> Result<StatusCode, Status> {
    let failed = |error: &dyn std::fmt::Display| Status::unavailable(error.to_string());
    let request = match caller {
        Caller::User(user) => Request::post("/logic.GroupExtService/ListMine")
            .header(USER_ID, user.id)
            .header(DEVICE_ID, user.device_id)
            .header(TOKEN, &user.token)
            .body("{}".to_owned()),
        Caller::Stranger => Request::post("/business.UserExtService/SignIn")
            .body(format!(r#"{{"phoneNumber":"+1{number:010}","code":"x","device":{{"type":1}}}}"#)),
    };
    let mut request = request.map_err(|error| failed(&error))?.map(|text| unary::whole(text.into()));
    request.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    let door = door.ready().await.map_err(|error| failed(&error))?;
    let answer = door.call(request).await.map_err(|error| failed(&error))?;
    let status = answer.status();
    answer.into_body().collect().await?;
    Ok(status)
}
