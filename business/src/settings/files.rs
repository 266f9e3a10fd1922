//! The section `[files]`: what users upload, and where it is kept.

use std::path::{Path, PathBuf};

use gim_config::{
    listen::Endpoint,
    webhook::{self, Secret},
};
use serde::{Deserialize, Serialize};

use super::within;

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilesSettings {
    /// Where files are uploaded and downloaded; off where it is empty.
    pub listen: Endpoint,
    /// What URLs of files begin with, as clients reach the listener; empty for the address that a client used.
    pub public_url: String,
    /// Where files are kept; empty for `files` in the data folder.
    pub folder: PathBuf,
    /// What uploads leave free on its file system.
    pub folder_free_bytes_min: u64,
    /// A bucket of S3 in which files are kept in the folder's place; empty for none.
    pub bucket: String,
    /// Where that is, if not at Amazon's.
    pub bucket_endpoint: String,
    /// Its region.
    pub bucket_region: String,
    /// Who asks there.
    pub bucket_access_key_id: String,
    /// What shows that.
    pub bucket_secret_access_key: String,
    /// A file that holds it.
    pub bucket_secret_access_key_file: PathBuf,
    /// Whether clients read from the bucket themselves.
    pub bucket_redirects: bool,
    /// Whether anybody may upload by `POST /upload`, as to gim in Go.
    pub old_upload: bool,
    /// Pages that may upload and read, beside that of `[web]` on the same host.
    pub origins: Vec<String>,
    /// What URLs are signed with; empty for a secret that is made once and kept in the database.
    pub url_secret: String,
    /// A file that holds it.
    pub url_secret_file: PathBuf,
    /// How long a URL is good, at least.
    pub url_ttl_s: u32,
    /// Bytes of one file.
    pub file_bytes_max: u64,
    /// Files of a user within a day.
    pub files_per_day_max: u32,
    /// Bytes of a user within a day.
    pub bytes_per_day_max: u64,
    /// Uploads of a user that are not at their end.
    pub uploads_per_user_max: u32,
    /// How long an upload may rest until it is removed.
    pub upload_ttl_s: u32,
    /// Connections at the same time.
    pub connections_max: usize,
    /// The same from one address.
    pub connections_per_address_max: usize,
    /// How long a connection may be silent.
    pub idle_timeout_ms: u64,
    /// Reads and writes of the disk that are under way at the same time.
    pub disk_tasks_max: usize,
    /// Pictures that are decoded at the same time.
    pub picture_tasks_max: usize,
    /// Bytes of a picture that is decoded.
    pub picture_bytes_max: u64,
    /// Pixels of a picture; four bytes of memory for each.
    pub picture_pixels_max: u64,
    /// The longer side of a thumbnail.
    pub thumbnail_pixels: u32,
    /// Who says whether a file may be read; empty for nobody.
    pub check_webhook: String,
    /// What the calls there are signed with.
    pub check_webhook_secret: String,
    /// A file that holds it.
    pub check_webhook_secret_file: PathBuf,
    /// A call that lasts longer has failed.
    pub check_webhook_timeout_ms: u64,
    /// Calls at the same time.
    pub check_calls_at_once: usize,
}

impl FilesSettings {
    pub(super) fn validate(&self) -> Result<(), String> {
        let is_url = self.public_url.is_empty() || webhook::checked(&self.public_url).is_ok();
        if !is_url || self.public_url.ends_with('/') {
            return Err(
                "files.public_url: must be empty, or as in `https://files.example.com`, without a `/` at its end"
                    .into(),
            );
        }
        if let Some(origin) = self.origins.iter().find(|origin| !is_origin(origin)) {
            return Err(format!("files.origins: `{origin}` has to be as in https://app.example.com, without a path"));
        }
        if !self.url_secret.is_empty() && self.url_secret.len() < 32 {
            return Err("files.url_secret: must have at least 32 bytes".into());
        }
        within("files.folder_free_bytes_min", self.folder_free_bytes_min, 0, 1 << 50)?;
        within("files.url_ttl_s", self.url_ttl_s, 60, 31_536_000)?;
        within("files.file_bytes_max", self.file_bytes_max, 1, 1 << 40)?;
        within("files.files_per_day_max", self.files_per_day_max, 1, 1_000_000_000)?;
        within("files.bytes_per_day_max", self.bytes_per_day_max, 1, 1 << 50)?;
        within("files.uploads_per_user_max", self.uploads_per_user_max, 1, 10_000)?;
        within("files.upload_ttl_s", self.upload_ttl_s, 60, 31_536_000)?;
        within("files.connections_max", self.connections_max as u64, 1, 65_536)?;
        within("files.connections_per_address_max", self.connections_per_address_max as u64, 1, 65_536)?;
        within("files.idle_timeout_ms", self.idle_timeout_ms, 100, 3_600_000)?;
        within("files.disk_tasks_max", self.disk_tasks_max as u64, 1, 256)?;
        within("files.picture_tasks_max", self.picture_tasks_max as u64, 1, 64)?;
        within("files.picture_bytes_max", self.picture_bytes_max, 1, 1 << 30)?;
        within("files.picture_pixels_max", self.picture_pixels_max, 1, 1 << 30)?;
        within("files.thumbnail_pixels", self.thumbnail_pixels, 16, 2_048)?;
        self.validate_webhook()
    }

    fn validate_webhook(&self) -> Result<(), String> {
        if self.check_webhook.is_empty() {
            return Ok(());
        }
        webhook::checked(&self.check_webhook).map_err(|problem| format!("files.check_webhook: {problem}"))?;
        Secret::new(&self.check_webhook_secret)
            .map_err(|problem| format!("files.check_webhook_secret: {problem}, because calls are signed with it"))?;
        within("files.check_calls_at_once", self.check_calls_at_once as u64, 1, webhook::CALLS_MAX as u64)?;
        within("files.check_webhook_timeout_ms", self.check_webhook_timeout_ms, 1, 600_000)
    }

    /// Where files are kept.
    pub fn folder_in(&self, data_dir: &Path) -> PathBuf {
        if self.folder.as_os_str().is_empty() { data_dir.join("files") } else { self.folder.clone() }
    }
}

/// As browsers write it.
fn is_origin(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/'))
}

impl Default for FilesSettings {
    fn default() -> Self {
        Self {
            listen: Endpoint::default(),
            public_url: String::new(),
            folder: PathBuf::new(),
            folder_free_bytes_min: 256 << 20,
            bucket: String::new(),
            bucket_endpoint: String::new(),
            bucket_region: "us-east-1".into(),
            bucket_access_key_id: String::new(),
            bucket_secret_access_key: String::new(),
            bucket_secret_access_key_file: PathBuf::new(),
            bucket_redirects: false,
            old_upload: false,
            origins: Vec::new(),
            url_secret: String::new(),
            url_secret_file: PathBuf::new(),
            url_ttl_s: 86_400,
            file_bytes_max: 1 << 30,
            files_per_day_max: 2_000,
            bytes_per_day_max: 8 << 30,
            uploads_per_user_max: 16,
            upload_ttl_s: 86_400,
            connections_max: 1_024,
            connections_per_address_max: 256,
            idle_timeout_ms: 60_000,
            disk_tasks_max: 16,
            picture_tasks_max: 1,
            picture_bytes_max: 32 << 20,
            picture_pixels_max: 50_000_000,
            thumbnail_pixels: 320,
            check_webhook: String::new(),
            check_webhook_secret: String::new(),
            check_webhook_secret_file: PathBuf::new(),
            check_webhook_timeout_ms: 60_000,
            check_calls_at_once: 8,
        }
    }
}
