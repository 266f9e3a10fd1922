//! The addresses of one service that has several nodes, as settings give them: `http://a:8010,http://b:8010`, a list of such, or a name
//! whose addresses are its nodes (`dns+http://logic:8010`).

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{dns_name::DnsName, listen::Endpoint};

/// What cut the login of a URL short, for messages, which do not show the rest of it.
pub const BARE_SIGNS: &str = "signs such as @ / ? # % in a user or password are written %40 %2F %3F %23 %25";

/// None where the service is off. Written with commas between.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints(Vec<Endpoint>);

/// What a settings file may have.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    List(Vec<String>),
}

impl Endpoints {
    /// Addresses that are known to be well-formed, as defaults are.
    ///
    /// # Panics
    /// Where they are not.
    pub fn new(text: &str) -> Self {
        Self::parse(&[text.to_owned()]).expect("a default address is well-formed")
    }

    /// Whether there is none.
    pub fn is_off(&self) -> bool {
        self.0.is_empty()
    }

    /// Each of them.
    pub fn all(&self) -> &[Endpoint] {
        &self.0
    }

    /// Each of them, to be moved.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Endpoint> {
        self.0.iter_mut()
    }

    /// Refuses what is no address of a gRPC service, or is there twice; and none at all.
    pub fn check_service(&self) -> Result<(), String> {
        if self.0.is_empty() {
            return Endpoint::default().check_service();
        }
        for (index, entry) in self.0.iter().enumerate() {
            DnsName::check(entry)?;
            if self.0[..index].contains(entry) {
                return Err(format!("`{entry}` is there twice"));
            }
        }
        Ok(())
    }

    fn parse(texts: &[String]) -> Result<Self, String> {
        let entries = texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|entry| !entry.is_empty());
        entries.map(str::parse).collect::<Result<_, _>>().map(Self)
    }
}

impl From<Endpoint> for Endpoints {
    fn from(endpoint: Endpoint) -> Self {
        Self(if endpoint.is_off() { Vec::new() } else { vec![endpoint] })
    }
}

impl fmt::Display for Endpoints {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(Endpoint::to_string).collect();
        formatter.write_str(&texts.join(","))
    }
}

impl Serialize for Endpoints {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Endpoints {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let texts = match Written::deserialize(deserializer)? {
            Written::Text(text) => vec![text],
            Written::List(texts) => texts,
        };
        Self::parse(&texts).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, Serialize)]
    struct Section {
        endpoint: Endpoints,
    }

    fn read(value: &str) -> Result<Endpoints, String> {
        let section: Result<Section, _> = toml::from_str(&format!("endpoint = {value}"));
        section.map(|section| section.endpoint).map_err(|error| error.message().to_owned())
    }

    #[test]
    fn one_or_several_stand_in_a_text_or_in_a_list() {
        let both = Endpoints::new("http://a:1,https://b:2");
        assert_eq!(read("'http://a:1, https://b:2'").unwrap(), both);
        assert_eq!(read("['http://a:1', 'https://b:2']").unwrap(), both);
        assert_eq!(
            toml::to_string(&Section { endpoint: both }).unwrap().trim(),
            r#"endpoint = "http://a:1,https://b:2""#
        );
        assert!(read("''").unwrap().is_off());
        assert!(read("'http://a'").unwrap_err().starts_with("`http://a` is no address"));
    }

    #[test]
    fn what_is_no_service_is_refused() {
        let problem = |text: &str| Endpoints::new(text).check_service().err();
        assert_eq!(problem("http://a:1,dns+http://b:2"), None);
        assert_eq!(problem("http://a:1,http://a:1").unwrap(), "`http://a:1` is there twice");
        assert!(problem("http://a:1,b:2").unwrap().starts_with("`b:2` must have the form http://host:port"));
        assert!(problem("dns+ftp://a:1").unwrap().starts_with("`dns+ftp://a:1` needs the form dns+http://"));
        assert!(problem("").is_some());
    }
}
