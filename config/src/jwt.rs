//! What the maker and the checker of JSON Web Tokens agree on: algorithms, and how keys lie in files.

use std::{fs, path::Path};

use serde::{Deserialize, Serialize};

/// The shortest secret: as long as the hash that it keys.
const SECRET_BYTES_MIN: usize = 32;

/// How tokens are signed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum JwtAlgorithm {
    /// HMAC with SHA-256: one secret, known to maker and checker.
    #[default]
    HS256,
    /// Ed25519: the maker has the private key, the checker the public one.
    EdDSA,
}

/// Reads a key file: for HS256 the secret (a line break at its end does not count), for EdDSA a PEM.
pub fn read_key(key: &str, algorithm: JwtAlgorithm, file: &Path) -> Result<Vec<u8>, String> {
    let mut bytes = fs::read(file).map_err(|error| format!("{key}: {}: {error}", file.display()))?;
    if algorithm == JwtAlgorithm::HS256 {
        let end = bytes.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n')).map_or(0, |last| last + 1);
        bytes.truncate(end);
        if bytes.len() < SECRET_BYTES_MIN {
            let problem = format!("the secret must have at least {SECRET_BYTES_MIN} bytes");
            return Err(format!("{key}: {}: {problem}", file.display()));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_without_its_line_break_and_refused_where_it_is_short() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        fs::write(&file, format!("{}\r\n", "s".repeat(32))).unwrap();
        assert_eq!(read_key("jwt.key_file", JwtAlgorithm::HS256, &file), Ok(vec![b's'; 32]));
        fs::write(&file, format!("{}\n", "s".repeat(31))).unwrap();
        let problem = read_key("jwt.key_file", JwtAlgorithm::HS256, &file).unwrap_err();
        assert!(problem.starts_with("jwt.key_file: ") && problem.ends_with("at least 32 bytes"), "{problem}");
        let problem = read_key("jwt.key_file", JwtAlgorithm::EdDSA, &folder.path().join("none")).unwrap_err();
        assert!(problem.starts_with("jwt.key_file: "), "{problem}");
    }
}
