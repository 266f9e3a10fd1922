//! Where clients call that speak an older dialect: `legacy`.

use gim_config::listen::Endpoint;
use gim_legacy::Dialect;
use serde::{Deserialize, Serialize};

/// One of `legacy`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LegacySettings {
    /// What they speak.
    pub dialect: Dialect,
    /// Where they call.
    pub listen: Endpoint,
}

/// Refuses what opens nothing, or the same twice.
pub(super) fn validate(legacy: &[LegacySettings]) -> Result<(), String> {
    for (place, LegacySettings { dialect, listen }) in legacy.iter().enumerate() {
        let name = dialect.name();
        if listen.is_off() {
            return Err(format!("legacy: dialect {name} needs `listen`"));
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
        let entry = LegacySettings { dialect, listen: Endpoint::new("127.0.0.1:8110") };
        validate(std::slice::from_ref(&entry)).unwrap();
        assert!(validate(&[entry.clone(), entry.clone()]).unwrap_err().ends_with("is there twice"));
        assert!(
            validate(&[LegacySettings { listen: Endpoint::default(), ..entry }])
                .unwrap_err()
                .ends_with("needs `listen`")
        );
    }

    #[test]
    fn an_unknown_dialect_is_refused_with_the_nearest() {
        let Some(name) = Dialect::all().next().map(Dialect::name) else { return };
        let text = format!("dialect = \"{}\"\nlisten = \"\"", name.replace('-', "."));
        let problem = toml::from_str::<LegacySettings>(&text).unwrap_err().to_string();
        assert!(problem.contains(&format!("`{name}` may be meant")), "{problem}");
    }
}
