//! Where clients get in that speak an older dialect: `legacy`.

use gim_config::listen::Endpoint;
use gim_legacy::Dialect;
use serde::{Deserialize, Serialize};

/// One of `legacy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "config/conn.toml documents every key")]
pub struct LegacySettings {
    pub dialect: Dialect,
    #[serde(default)]
    pub tcp: Endpoint,
    #[serde(default)]
    pub websocket: Endpoint,
}

/// Refuses what opens nothing, or the same twice.
pub(super) fn validate(legacy: &[LegacySettings]) -> Result<(), String> {
    for (place, LegacySettings { dialect, tcp, websocket }) in legacy.iter().enumerate() {
        let name = dialect.name();
        if tcp.is_off() && websocket.is_off() {
            return Err(format!("legacy: dialect {name} needs `tcp` or `websocket`"));
        }
        if legacy[..place].iter().any(|other| other.dialect == *dialect) {
            return Err(format!("legacy: dialect {name} is there twice"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dialect_has_one_entry_and_a_listener() {
        let Some(dialect) = Dialect::all().next() else { return };
        let entry = LegacySettings { dialect, tcp: Endpoint::new("127.0.0.1:8102"), websocket: Endpoint::default() };
        validate(std::slice::from_ref(&entry)).unwrap();
        assert!(validate(&[entry.clone(), entry.clone()]).unwrap_err().ends_with("is there twice"));
        let off = LegacySettings { tcp: Endpoint::default(), ..entry };
        assert!(validate(&[off]).unwrap_err().ends_with("needs `tcp` or `websocket`"));
    }
}
