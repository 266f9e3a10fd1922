//! gim's tokens in its Redis, as they are read: a hash for each user. Nothing is ever written there.

use std::time::Duration;

use redis::{AsyncConnectionConfig, aio::MultiplexedConnection};
use serde::Deserialize;

/// Keys that one step of a scan looks at.
const SCANNED: u32 = 500;

const PREFIX: &str = "auth:";

/// How long Redis may take to answer: it may have to save itself meanwhile.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What Redis says of a key of another type.
const NO_HASH: &str = "WRONGTYPE";

/// Of a hash.
type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// gim's Redis.
pub struct Tokens {
    connection: MultiplexedConnection,
    cursor: Option<u64>,
}

/// A token of a device, or why it cannot be read.
#[derive(Debug)]
pub struct TokenRow {
    /// As in `auth:10001`.
    pub key: String,
    /// The field: a device id in decimal.
    pub field: String,
    /// The ids, where they are some.
    pub ids: Option<(u64, u64)>,
    /// What stands there.
    pub token: Result<Token, serde_json::Error>,
}

/// As gim writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Token {
    pub token: String,
    /// Unix seconds.
    pub expire: i64,
}

impl Tokens {
    /// Connects.
    pub async fn connect(url: &str) -> Result<Self, redis::RedisError> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(TIMEOUT)).set_response_timeout(Some(TIMEOUT));
        let connection = redis::Client::open(url)?.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Self { connection, cursor: Some(0) })
    }

    /// The next tokens, some of them perhaps twice; none once all were told.
    pub async fn next(&mut self) -> Result<Option<Vec<TokenRow>>, redis::RedisError> {
        let Some(cursor) = self.cursor else { return Ok(None) };
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor).arg("MATCH").arg(format!("{PREFIX}*")).arg("COUNT").arg(SCANNED);
        let (next, keys): (u64, Vec<Vec<u8>>) = scan.query_async(&mut self.connection).await?;
        self.cursor = (next != 0).then_some(next);
        if keys.is_empty() {
            return Ok(Some(Vec::new()));
        }
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for key in &keys {
            pipeline.cmd("HGETALL").arg(key);
        }
        let hashes: Vec<redis::RedisResult<Fields>> = pipeline.query_async(&mut self.connection).await?;
        let mut rows = Vec::new();
        for (key, fields) in keys.iter().zip(hashes) {
            match fields {
                Ok(fields) => rows.extend(TokenRow::all(key, fields)),
                // Others may use this Redis too, and have keys of another type that begin alike.
                Err(error) if error.code() == Some(NO_HASH) => rows.push(TokenRow::read(key, b"(no hash)", b"")),
                Err(error) => return Err(error),
            }
        }
        Ok(Some(rows))
    }
}

impl TokenRow {
    fn all(key: &[u8], fields: Fields) -> impl Iterator<Item = Self> {
        fields.into_iter().map(move |(field, value)| Self::read(key, &field, &value))
    }

    fn read(key: &[u8], field: &[u8], value: &[u8]) -> Self {
        let (key, field) = (String::from_utf8_lossy(key).into_owned(), String::from_utf8_lossy(field).into_owned());
        let ids = key.strip_prefix(PREFIX).and_then(|user_id| Some((user_id.parse().ok()?, field.parse().ok()?)));
        Self { key, field, ids, token: serde_json::from_slice(value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_as_gim_writes_it() {
        let value = br#"{"Type":1,"Token":"t\u00e9","Expire":1764547200}"#;
        let row = TokenRow::read(b"auth:10001", b"10007", value);
        let token = row.token.unwrap();
        assert_eq!((row.ids, token.token.as_str(), token.expire), (Some((10_001, 10_007)), "té", 1_764_547_200));
        assert!(TokenRow::read(b"auth:x", b"7", b"nonsense").token.is_err());
        assert_eq!(TokenRow::read(b"auth:\xff", b"7", value).ids, None);
    }
}
