//! The apps of a conn node: `apps`, and the one that `logic` stands for.

use std::{collections::HashSet, path::PathBuf};

use gim_config::{
    dns_name::DnsName,
    grpc::{CallerTls, GrpcSettings},
    listen::Endpoint,
};
use serde::{Deserialize, Serialize};

use super::{ConnSettings, LinkSettings};
use crate::ids::APPS_MAX;

/// One of `apps`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config/conn.toml documents every key")]
pub struct AppSettings {
    pub id: u32,
    pub logic: Vec<Endpoint>,
    #[serde(default)]
    pub internal_token: String,
    #[serde(default)]
    pub internal_token_file: PathBuf,
    #[serde(default)]
    pub certificate: PathBuf,
    #[serde(default)]
    pub key: PathBuf,
    #[serde(default)]
    pub server_ca: PathBuf,
    #[serde(default)]
    pub connections_max: usize,
    #[serde(default)]
    pub requests_max: usize,
}

/// An app with everything that its bridge needs.
#[derive(Debug, Clone)]
pub struct App {
    /// What clients name in their sign-in.
    pub id: u32,
    /// Its logic nodes.
    pub logic: Vec<Endpoint>,
    /// How this node shows itself to them.
    pub grpc: GrpcSettings,
    /// The links to them.
    pub link: LinkSettings,
    /// How many connections it may have; 0 for no cap of its own.
    pub connections_max: usize,
}

impl ConnSettings {
    /// All apps: the one of `logic`, unless there is none or `apps` has it, and those of `apps`.
    pub fn all_apps(&self) -> Vec<App> {
        let first = App {
            id: 0,
            logic: self.logic.clone(),
            grpc: self.grpc.clone(),
            link: self.link.clone(),
            connections_max: 0,
        };
        let has_first = !self.logic.is_empty() && self.apps.iter().all(|app| app.id != 0);
        let others = self.apps.iter().map(|app| app.with(&self.link, &self.grpc.caller_tls));
        has_first.then_some(first).into_iter().chain(others).collect()
    }

    pub(super) fn validate_apps(&self) -> Result<(), String> {
        if self.logic.is_empty() && self.apps.is_empty() {
            return Err("logic: must have at least one address, or there must be apps".into());
        }
        if self.all_apps().len() > APPS_MAX {
            return Err(format!("apps: must be at most {APPS_MAX}"));
        }
        let mut entries = HashSet::new();
        for entry in &self.logic {
            DnsName::check(entry).map_err(|problem| format!("logic: {problem}"))?;
            if !entries.insert(entry.to_string()) {
                return Err(format!("logic: `{entry}` is there twice"));
            }
        }
        let mut ids = HashSet::new();
        for app in &self.apps {
            app.validate()?;
            if !ids.insert(app.id) {
                return Err(format!("apps: id {} is there twice", app.id));
            }
        }
        Ok(())
    }
}

impl AppSettings {
    fn with(&self, link: &LinkSettings, caller_tls: &CallerTls) -> App {
        // Nothing of [grpc] is shown to another app: with its token one could call this node for all of them.
        let grpc = GrpcSettings {
            internal_token: self.internal_token.clone(),
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            server_ca: self.server_ca.clone(),
            caller_tls: caller_tls.clone(),
            ..GrpcSettings::default()
        };
        let requests_max = if self.requests_max == 0 { link.requests_max } else { self.requests_max };
        let link = LinkSettings { requests_max, ..link.clone() };
        App { id: self.id, logic: self.logic.clone(), grpc, link, connections_max: self.connections_max }
    }

    fn validate(&self) -> Result<(), String> {
        let refuse = |problem: &str| Err(format!("apps: id {}: {problem}", self.id));
        let is_set = |path: &PathBuf| !path.as_os_str().is_empty();
        if self.logic.is_empty() || self.logic.iter().any(Endpoint::is_off) {
            return refuse("needs the addresses of its `logic`");
        }
        if let Some(problem) = self.logic.iter().find_map(|entry| DnsName::check(entry).err()) {
            return refuse(&problem);
        }
        if is_set(&self.certificate) != is_set(&self.key) {
            return refuse("`key` must be set where `certificate` is, and only there");
        }
        if !self.internal_token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return refuse("`internal_token` must be printable ASCII without spaces");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use gim_config::Settings as _;

    use super::*;

    fn app(id: u32) -> AppSettings {
        AppSettings { id, logic: vec![Endpoint::new("http://127.0.0.1:1")], ..AppSettings::default() }
    }

    fn ids(settings: &ConnSettings) -> Vec<u32> {
        settings.all_apps().iter().map(|app| app.id).collect()
    }

    #[test]
    fn without_apps_there_is_one_and_an_entry_may_take_its_place() {
        let mut settings = ConnSettings::default();
        settings.grpc.internal_token = "ours".into();
        assert_eq!(ids(&settings), [0]);
        assert_eq!(settings.all_apps()[0].grpc.internal_token, "ours");
        settings.apps = vec![app(7)];
        assert_eq!(ids(&settings), [0, 7]);
        assert_eq!(settings.all_apps()[1].grpc.internal_token, "", "our token is none of another app's business");
        settings.apps = vec![app(7), app(0)];
        assert_eq!(ids(&settings), [7, 0]);
        settings.logic.clear();
        settings.apps = vec![app(7)];
        assert_eq!(ids(&settings), [7]);
        settings.validate().unwrap();
    }

    #[test]
    fn apps_that_make_no_sense_are_refused_by_name() {
        let refused = |apps: Vec<AppSettings>| ConnSettings { apps, ..ConnSettings::default() }.validate().unwrap_err();
        assert_eq!(refused(vec![app(7), app(7)]), "apps: id 7 is there twice");
        assert_eq!(
            refused(vec![AppSettings { id: 7, ..AppSettings::default() }]),
            "apps: id 7: needs the addresses of its `logic`"
        );
        assert!(refused(vec![AppSettings { key: "k".into(), ..app(7) }]).contains("`certificate`"));
        assert!(refused((0..=APPS_MAX as u32).map(app).collect()).starts_with("apps: must be at most 255"));
        let nobody = ConnSettings { logic: Vec::new(), ..ConnSettings::default() };
        assert!(nobody.validate().unwrap_err().starts_with("logic: "));
    }
}
