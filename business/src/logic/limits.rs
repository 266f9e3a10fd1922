//! Our limits, held against those of logic: whoever is let in here with more than logic takes hears it from there, late and in other
//! words. A task of Tokio asks; what fits and what does not is a pure function.

use std::{future::Future, time::Duration};

use gim_proto::logic::{GetLimitsReply, access_int_service_client::AccessIntServiceClient};
use metrics::gauge;
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use super::Logic;
use crate::{metrics::LIMITS_BEYOND_LOGICS, settings::Limits};

/// How soon logic is asked again that did not answer, and one that did: it may be another one by then, with other settings.
const ASK_AGAIN: Duration = Duration::from_secs(5);
const ASK_ANEW: Duration = Duration::from_secs(60);

/// What logic puts around the content of a message: the card of who sent it.
const CARD_BYTES: usize = 4096;

impl Logic {
    /// Compares limits with logic's, now and every minute, and warns where ours allow more.
    pub fn watch_limits(&self, limits: &Limits) -> JoinHandle<()> {
        let (access, limits) = (self.access.clone(), limits.clone());
        tokio::spawn(async move { compare(&limits, || ask(access.clone()), tokio::time::sleep).await })
    }
}

async fn ask(mut access: AccessIntServiceClient<gim_config::grpc::PeerChannel>) -> Result<GetLimitsReply, Status> {
    Ok(access.get_limits(()).await?.into_inner())
}

/// Ends where logic does not know the question.
async fn compare<A, P>(limits: &Limits, ask: impl Fn() -> A, pause: impl Fn(Duration) -> P)
where
    A: Future<Output = Result<GetLimitsReply, Status>>,
    P: Future<Output = ()>,
{
    let mut said = Vec::new();
    loop {
        let wanted = match ask().await {
            Ok(theirs) => {
                let problems = beyond(limits, &theirs);
                gauge!(LIMITS_BEYOND_LOGICS).set(problems.len() as f64);
                if problems != said {
                    problems.iter().for_each(|problem| tracing::warn!(problem, "a limit allows more than logic takes"));
                }
                said = problems;
                ASK_ANEW
            }
            Err(status) if status.code() == Code::Unimplemented => return,
            Err(_) => ASK_AGAIN,
        };
        pause(wanted).await;
    }
}

/// Each of our limits that allows more than logic does, and what to set.
fn beyond(ours: &Limits, theirs: &GetLimitsReply) -> Vec<String> {
    let limits = [
        ("content_bytes_max", ours.content_bytes_max + CARD_BYTES, theirs.content_bytes_max, CARD_BYTES),
        ("token_bytes_max", ours.token_bytes_max, theirs.token_bytes_max, 0),
        ("device_text_bytes_max", ours.device_text_bytes_max, theirs.device_text_bytes_max, 0),
    ];
    let beyond = limits.into_iter().filter(|&(_, needed, allowed, _)| needed > allowed as usize);
    let text = |(name, needed, allowed, around): (&str, usize, u32, usize)| match around {
        0 => format!("limits.{name} is {needed}, logic's of the same name {allowed}"),
        _ => {
            format!("limits.{name} is {}, and with {around} bytes around it beyond logic's {allowed}", needed - around)
        }
    };
    beyond.map(text).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::*;

    fn theirs() -> GetLimitsReply {
        GetLimitsReply { content_bytes_max: 61_440, token_bytes_max: 12_288, device_text_bytes_max: 4_096 }
    }

    #[test]
    fn the_defaults_fit_and_what_allows_more_is_named() {
        let mut ours = Limits::default();
        assert_eq!(beyond(&ours, &theirs()), Vec::<String>::new());
        ours.content_bytes_max += 1;
        ours.token_bytes_max = 20_000;
        assert_eq!(
            beyond(&ours, &theirs()),
            [
                "limits.content_bytes_max is 57345, and with 4096 bytes around it beyond logic's 61440",
                "limits.token_bytes_max is 20000, logic's of the same name 12288",
            ]
        );
    }

    #[tokio::test]
    async fn logic_is_asked_until_it_answers_and_not_where_it_does_not_know() {
        let asked = Cell::new(0);
        let answer = || {
            asked.set(asked.get() + 1);
            let answer = match asked.get() {
                1 => Err(Status::unavailable("down")),
                2 => Ok(theirs()),
                _ => Err(Status::unimplemented("an older logic")),
            };
            std::future::ready(answer)
        };
        let pauses = RefCell::new(Vec::new());
        let pause = |wanted| {
            pauses.borrow_mut().push(wanted);
            std::future::ready(())
        };
        compare(&Limits::default(), answer, pause).await;
        assert_eq!((asked.get(), &pauses.into_inner()[..]), (3, &[ASK_AGAIN, ASK_ANEW][..]));
    }
}
