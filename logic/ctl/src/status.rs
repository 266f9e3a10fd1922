//! `status`: what runs where, whether it can do its work, and how much of it there is. Asks admin listeners, which ask nobody back.

use std::{collections::BTreeMap, net::SocketAddr};

use gim_config::{admin_page, listen::Endpoint};
use serde_json::{Value, json};

use crate::answer::{Answer, table};

/// What the services listen on where nobody said otherwise.
const DEFAULT_ADMINS: [&str; 3] = ["127.0.0.1:8001", "127.0.0.1:8011", "127.0.0.1:8021"];

/// In which metric it is said what runs.
const BUILD_INFO: &str = "gim_build_info";

/// What is told of each service: its metrics, added up over their labels.
const FIGURES: [(&str, &str); 9] = [
    ("conn_connections", "connections"),
    ("conn_signed_in", "signed in"),
    ("conn_rooms", "rooms"),
    ("conn_requests_pending", "requests with logic"),
    ("logic_link_nodes", "conn nodes"),
    ("logic_inbox_queue_jobs", "requests wait for the database"),
    ("database_usable", "database usable"),
    ("business_limits_beyond_logics", "limits beyond logic's"),
    ("log_lines_dropped_total", "lines of log lost"),
];

/// Whom to ask.
#[derive(Debug, clap::Args)]
pub struct Admins {
    /// Admin listeners of services, as their settings have them in [admin] listen; without any those of one host:
    /// 127.0.0.1:8001, 127.0.0.1:8011 and 127.0.0.1:8021
    #[arg(value_name = "ADDRESS")]
    admins: Vec<String>,
    /// Added to the ports of these defaults
    #[arg(long, value_name = "N", default_value_t = 0)]
    port_offset: u16,
}

/// An address is none.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {problem}")]
pub struct NoAddress {
    address: String,
    problem: String,
}

/// What one said.
struct Service {
    address: String,
    /// `conn`, with its version and commit; none where nobody answers, or an older one that does not say.
    build: Option<[String; 3]>,
    /// Empty where it is ready.
    problem: String,
    figures: Vec<(&'static str, f64)>,
}

/// Asks all of them; all is well where each is ready.
pub fn run(admins: &Admins) -> Result<Answer, NoAddress> {
    let services: Vec<Service> = admins.sockets()?.into_iter().map(ask).collect();
    let rows: Vec<_> = services.iter().map(row).collect();
    let text = table(&["service", "admin", "version", "is", "has"], &rows);
    let json = json!({"services": services.iter().map(json_of).collect::<Vec<_>>()});
    Ok(Answer { text, json, is_good: services.iter().all(|service| service.problem.is_empty()) })
}

impl Admins {
    /// As they were given, and where that is.
    pub fn sockets(&self) -> Result<Vec<(String, SocketAddr)>, NoAddress> {
        let (addresses, offset) = match self.admins.is_empty() {
            false => (self.admins.clone(), 0),
            true => (DEFAULT_ADMINS.map(str::to_owned).to_vec(), self.port_offset),
        };
        let socket = |address: String| {
            let endpoint = address.parse::<Endpoint>().and_then(|endpoint| endpoint.shifted(offset));
            let found = endpoint.and_then(|endpoint| {
                let socket = socket_of(&endpoint)?;
                Ok((endpoint.to_string(), socket))
            });
            found.map_err(|problem| NoAddress { address, problem })
        };
        addresses.into_iter().map(socket).collect()
    }
}

/// Where an admin listener is.
pub fn socket_of(endpoint: &Endpoint) -> Result<SocketAddr, String> {
    let text = endpoint.to_string();
    if text.contains("://") {
        return Err("write HOST:PORT, without a scheme".to_owned());
    }
    endpoint.socket_address().map_err(|error| error.to_string())
}

fn ask((address, socket): (String, SocketAddr)) -> Service {
    match pages(socket) {
        Err(problem) => Service { address, build: None, problem, figures: Vec::new() },
        Ok((problem, metrics)) => {
            Service { address, build: build_of(&metrics), problem, figures: figures_of(&metrics) }
        }
    }
}

/// What is in the way of a service's being ready (empty for nothing), and its page of metrics.
///
/// # Errors
/// Where nobody answers, in words.
pub fn pages(socket: SocketAddr) -> Result<(String, String), String> {
    let pages = admin_page::get(socket, "/readyz").and_then(|ready| Ok((ready, admin_page::get(socket, "/metrics")?)));
    let ((status, said), (_, metrics)) = pages.map_err(|error| format!("nobody answers: {error}"))?;
    let problem = match status {
        200 => String::new(),
        503 => said.trim().to_owned(),
        _ => format!("this is no service of gim: it answers {status}"),
    };
    Ok((problem, metrics))
}

/// Which service answers, its version and its commit; none where it does not say.
pub fn build_of(metrics: &str) -> Option<[String; 3]> {
    let line = metrics.lines().find(|line| line.starts_with(BUILD_INFO))?;
    let label = |name: &str| {
        let (_, rest) = line.split_once(&format!("{name}=\""))?;
        rest.split_once('"').map(|(value, _)| value.to_owned())
    };
    Some([label("service")?, label("version")?, label("commit")?])
}

fn figures_of(metrics: &str) -> Vec<(&'static str, f64)> {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let name = name.split_once('{').map_or(name, |(name, _)| name);
        *sums.entry(name).or_default() += value.parse::<f64>().unwrap_or(0.0);
    }
    FIGURES.into_iter().filter_map(|(metric, words)| Some((words, *sums.get(metric)?))).collect()
}

fn row(service: &Service) -> Vec<String> {
    let [name, version, commit] = service.build.clone().unwrap_or_default();
    let version = if version.is_empty() { version } else { format!("{version} ({commit})") };
    let is = if service.problem.is_empty() { "ready" } else { &service.problem };
    let figures: Vec<_> = service.figures.iter().map(|(words, sum)| format!("{words}: {sum}")).collect();
    vec![name, service.address.clone(), version, is.to_owned(), figures.join(", ")]
}

fn json_of(service: &Service) -> Value {
    let [name, version, commit] = service.build.clone().unwrap_or_default();
    let figures: BTreeMap<&str, f64> = service.figures.iter().copied().collect();
    json!({
        "service": name,
        "admin": service.address,
        "version": version,
        "commit": commit,
        "is_ready": service.problem.is_empty(),
        "problem": service.problem,
        "figures": figures,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_added_up_over_their_labels() {
        let page = "# HELP conn_connections open\nconn_connections{reactor=\"0\"} 2\nconn_connections{reactor=\"1\"} 3\nother 7\n\
                    gim_build_info{service=\"conn\",version=\"0.1.0\",commit=\"abc\"} 1\n";
        assert_eq!(figures_of(page), [("connections", 5.0)]);
        assert_eq!(build_of(page).unwrap(), ["conn", "0.1.0", "abc"]);
        assert_eq!(build_of("up 1\n"), None);
    }
}
