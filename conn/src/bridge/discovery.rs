//! Which logic nodes there are: a fixed list, and names that are resolved again and again (a headless service of Kubernetes
//! has an address per node). One task per name.
//!
//! [`Answers`] decides without IO, with the time passed in. Always holds: an answer that fails, or is empty, takes no node
//! away; a node is retired only after it was missing in [`MISSING_MAX`] answers in a row. A node may have an address of each
//! family, and two streams to it would replace each other for ever: where there are addresses of IPv4, only these count.

use std::{collections::BTreeMap, io, net::SocketAddr, sync::Arc, time::Duration};

use gim_config::dns_name::{DnsName, nodes_at};
use tokio_util::sync::CancellationToken;
use tonic::async_trait;

use super::link::LinkMaker;
use crate::settings::LinkSettings;

/// Answers in a row that a node may be missing from: some name servers leave addresses out of one.
const MISSING_MAX: u32 = 2;

/// Addresses of one name; those beyond are left out.
const ADDRESSES_MAX: usize = 1024;

/// How long one question may take.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Asks for the addresses of a name.
#[async_trait]
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of `host`, each with `port`.
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// The resolver of the system.
#[derive(Debug, Clone, Copy)]
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// What became of the answers so far.
#[derive(Debug)]
struct Answers {
    /// The nodes that are attached to, and how many answers in a row they were missing from.
    nodes: BTreeMap<SocketAddr, u32>,
    interval: Duration,
    first_retry: Duration,
    retry: Duration,
    is_failing: bool,
}

/// What an answer asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    attach: Vec<SocketAddr>,
    retire: Vec<SocketAddr>,
    ask_again_in: Duration,
    /// Whether this is the first failure after an answer, or the first answer after failures.
    is_news: bool,
}

impl Answers {
    fn new(settings: &LinkSettings) -> Self {
        let first_retry = Duration::from_millis(settings.reconnect_first_ms);
        let interval = Duration::from_millis(settings.resolve_interval_ms);
        Self { nodes: BTreeMap::new(), interval, first_retry, retry: first_retry, is_failing: false }
    }

    /// Takes an answer; an empty one is as good as none.
    fn take(&mut self, addresses: &[SocketAddr]) -> Changes {
        let addresses = nodes_at(addresses.iter().copied(), ADDRESSES_MAX);
        let is_failure = addresses.is_empty();
        let is_news = std::mem::replace(&mut self.is_failing, is_failure) != is_failure;
        if is_failure {
            let ask_again_in = self.retry;
            self.retry = (self.retry * 2).min(self.interval);
            return Changes { ask_again_in, is_news, ..Changes::default() };
        }
        self.retry = self.first_retry;
        let attach: Vec<SocketAddr> =
            addresses.iter().copied().filter(|address| !self.nodes.contains_key(address)).collect();
        self.nodes.extend(attach.iter().map(|&address| (address, 0)));
        for (address, missing) in &mut self.nodes {
            *missing = if addresses.contains(address) { 0 } else { *missing + 1 };
        }
        let is_retired = |missing: u32| missing >= MISSING_MAX;
        let retire =
            self.nodes.iter().filter(|(_, missing)| is_retired(**missing)).map(|(&address, _)| address).collect();
        self.nodes.retain(|_, missing| !is_retired(*missing));
        Changes { attach, retire, ask_again_in: self.interval, is_news }
    }
}

/// Asks for the addresses of a name until `stop`, and has a link for each.
pub(super) async fn run(
    name: DnsName,
    resolver: Arc<dyn Resolve>,
    settings: LinkSettings,
    links: LinkMaker,
    stop: CancellationToken,
) {
    let mut answers = Answers::new(&settings);
    let mut retired: BTreeMap<SocketAddr, CancellationToken> = BTreeMap::new();
    loop {
        let question = tokio::time::timeout(RESOLVE_TIMEOUT, resolver.resolve(&name.host, name.port));
        let (addresses, problem) = tokio::select! {
            answer = question => match answer {
                Ok(Ok(addresses)) => (addresses, "the name has no addresses".to_owned()),
                Ok(Err(error)) => (Vec::new(), error.to_string()),
                Err(_) => (Vec::new(), format!("no answer within {RESOLVE_TIMEOUT:?}")),
            },
            () = stop.cancelled() => return,
        };
        let changes = answers.take(&addresses);
        let known = answers.nodes.len();
        if changes.is_news && answers.is_failing {
            tracing::warn!(name = name.host, problem, known, "logic nodes cannot be looked up; those known stay");
        } else if changes.is_news {
            tracing::info!(name = name.host, known, "logic nodes can be looked up again");
        }
        for address in changes.attach {
            tracing::info!(name = name.host, %address, "a logic node appeared");
            match links.start(name.node_at(address), Some(&name.host)).await {
                Ok(retire) => drop(retired.insert(address, retire)),
                Err(problem) => tracing::error!(%address, problem, "no link to a logic node is possible"),
            }
        }
        for address in changes.retire {
            tracing::info!(name = name.host, %address, "a logic node disappeared; its users move");
            if let Some(retire) = retired.remove(&address) {
                retire.cancel();
            }
        }
        tokio::select! {
            () = tokio::time::sleep(changes.ask_again_in) => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, number], 8010))
    }

    fn answers() -> Answers {
        let settings = LinkSettings { reconnect_first_ms: 100, resolve_interval_ms: 350, ..LinkSettings::default() };
        Answers::new(&settings)
    }

    fn retry_ms(changes: &Changes) -> u128 {
        changes.ask_again_in.as_millis()
    }

    #[test]
    fn nodes_that_appear_are_attached_and_those_that_disappear_retired() {
        let mut answers = answers();
        assert_eq!(answers.take(&[address(1), address(2), address(1)]).attach, [address(1), address(2)]);
        let changes = answers.take(&[address(2), address(3)]);
        assert_eq!((changes.attach, changes.retire), (vec![address(3)], vec![]), "missing once may be an accident");
        let changes = answers.take(&[address(2), address(3)]);
        assert_eq!((changes.attach, changes.retire), (vec![], vec![address(1)]));
        assert_eq!(answers.take(&[address(1), address(2), address(3)]).attach, [address(1)], "it may come back");
        answers.take(&[address(1), address(2)]);
        answers.take(&[address(1), address(2), address(3)]);
        assert_eq!(answers.take(&[address(1), address(2)]).retire, [], "not missing in a row");
    }

    #[test]
    fn a_node_with_an_address_of_each_family_is_attached_to_once() {
        let six = SocketAddr::from(([0xfd00, 0, 0, 0, 0, 0, 0, 1], 8010));
        let mut both = answers();
        assert_eq!(both.take(&[six, address(1)]).attach, [address(1)]);
        assert_eq!(answers().take(&[six]).attach, [six]);
    }

    #[test]
    fn a_name_without_addresses_is_asked_again_and_takes_no_node_away() {
        let mut answers = answers();
        let failures: Vec<_> = (0..4).map(|_| answers.take(&[])).collect();
        assert_eq!(failures.iter().map(retry_ms).collect::<Vec<_>>(), [100, 200, 350, 350]);
        assert_eq!(failures.iter().map(|changes| changes.is_news).collect::<Vec<_>>(), [true, false, false, false]);
        let changes = answers.take(&[address(1)]);
        assert_eq!((&changes.attach[..], changes.is_news, retry_ms(&changes)), (&[address(1)][..], true, 350));
        for _ in 0..5 {
            assert_eq!(answers.take(&[]).retire, []);
        }
        assert_eq!(answers.nodes.len(), 1);
    }
}
