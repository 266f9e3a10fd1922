//! The one file of a form (`multipart/form-data`, RFC 7578), as it comes.
//!
//! On the task of its request. Always holds: no more of it is kept than one read of the connection brought and a line that ends a part.

use axum::{
    body::{Body, BodyDataStream, Bytes},
    http::{HeaderMap, header},
};
use futures_util::{StreamExt as _, stream};

/// The field that holds the file.
const FIELD: &str = "file";

/// Bytes that may stand before the file.
const HEAD_BYTES_MAX: usize = 64 * 1_024;
/// The longest boundary that RFC 2046 allows.
const BOUNDARY_BYTES_MAX: usize = 70;

/// A file in a form.
pub struct FormFile {
    pub name: String,
    pub body: Body,
}

/// Why there is none; for whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FormProblem {
    #[error("content-type: must be multipart/form-data with a boundary")]
    NoForm,
    #[error("the form has no field `file` at its beginning")]
    NoFile,
}

/// The line that ends a part, with the line break before it.
pub fn delimiter(headers: &HeaderMap) -> Result<Vec<u8>, FormProblem> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).ok_or(FormProblem::NoForm)?;
    let (form, parameters) = kind.split_once(';').ok_or(FormProblem::NoForm)?;
    let mut boundaries = parameters.split(';').filter_map(|parameter| parameter.trim().strip_prefix("boundary="));
    let boundary = boundaries.next().map(|boundary| boundary.trim_matches('"')).ok_or(FormProblem::NoForm)?;
    let is_form = form.trim().eq_ignore_ascii_case("multipart/form-data");
    if !is_form || boundary.is_empty() || boundary.len() > BOUNDARY_BYTES_MAX {
        return Err(FormProblem::NoForm);
    }
    Ok(format!("\r\n--{boundary}").into_bytes())
}

/// Reads a form up to its file.
pub async fn file_of(body: Body, delimiter: Vec<u8>) -> Result<FormFile, FormProblem> {
    let mut body = body.into_data_stream();
    // As if a line had ended before: so the first part begins like the others.
    let mut held = b"\r\n".to_vec();
    loop {
        if let Some(begin) = find(&held, &delimiter)
            && let Some(end) = find(&held[begin..], b"\r\n\r\n")
        {
            let (head, content) = (begin + delimiter.len()..begin + end, begin + end + 4);
            let head = String::from_utf8_lossy(&held[head]).into_owned();
            held.drain(..content);
            if parameter(&head, "name").as_deref() == Some(FIELD) {
                let name = parameter(&head, "filename").unwrap_or_default();
                return Ok(FormFile { name, body: rest(held, body, delimiter) });
            }
            // Its bytes are passed over, up to the next part.
            continue;
        }
        if held.len() > HEAD_BYTES_MAX {
            return Err(FormProblem::NoFile);
        }
        match body.next().await {
            Some(Ok(bytes)) => held.extend_from_slice(&bytes),
            _ => return Err(FormProblem::NoFile),
        }
    }
}

/// What stands in the header of a part as `name="value"`.
fn parameter(head: &str, name: &str) -> Option<String> {
    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-disposition:"))?;
    let mut parameters = line.split(';').map(str::trim);
    let value = parameters.find_map(|parameter| parameter.strip_prefix(name)?.strip_prefix('='))?;
    Some(value.trim_matches('"').to_owned())
}

/// The bytes up to the next part. A form that is cut is an error.
fn rest(held: Vec<u8>, body: BodyDataStream, delimiter: Vec<u8>) -> Body {
    let state = Some((held, body, delimiter));
    Body::from_stream(stream::try_unfold(state, async |state| {
        let Some((mut held, mut body, delimiter)) = state else { return Ok(None) };
        loop {
            if let Some(end) = find(&held, &delimiter) {
                held.truncate(end);
                return Ok::<_, axum::Error>(Some((Bytes::from(held), None)));
            }
            // The beginning of a delimiter may be at the end.
            let safe = held.len().saturating_sub(delimiter.len() - 1);
            if safe > 0 {
                let tail = held.split_off(safe);
                return Ok(Some((Bytes::from(held), Some((tail, body, delimiter)))));
            }
            match body.next().await {
                Some(Ok(bytes)) => held.extend_from_slice(&bytes),
                Some(Err(error)) => return Err(error),
                None => return Err(axum::Error::new(FormProblem::NoFile)),
            }
        }
    }))
}

fn find(bytes: &[u8], sought: &[u8]) -> Option<usize> {
    bytes.windows(sought.len()).position(|window| window == sought)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a form that comes in pieces of this length.
    async fn read(form: &[u8], piece: usize) -> Option<(String, Vec<u8>)> {
        let pieces: Vec<_> =
            form.chunks(piece).map(|piece| Ok::<_, axum::Error>(Bytes::copy_from_slice(piece))).collect();
        let file = file_of(Body::from_stream(stream::iter(pieces)), b"\r\n--line".to_vec()).await.ok()?;
        let mut body = file.body.into_data_stream();
        let mut content = Vec::new();
        while let Some(bytes) = body.next().await {
            content.extend_from_slice(&bytes.ok()?);
        }
        Some((file.name, content))
    }

    #[tokio::test]
    async fn a_file_is_read_however_its_form_is_cut() {
        let form = b"--line\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\nx\r\n--line\r\n\
            content-disposition: form-data; name=\"file\"; filename=\"a b.txt\"\r\nContent-Type: text/plain\r\n\r\n\
            one\r\n--lin\r\ntwo\r\n--line--\r\n";
        for piece in 1..form.len() {
            let read = read(form, piece).await;
            assert_eq!(read, Some(("a b.txt".into(), b"one\r\n--lin\r\ntwo".to_vec())), "{piece}");
        }
        assert_eq!(read(&form[..form.len() - 12], 7).await, None, "its end is missing");
        assert_eq!(read(b"--line\r\ncontent-disposition: form-data; name=\"x\"\r\n\r\n1\r\n--line--", 7).await, None);
        assert_eq!(read(&[b'x'; 100_000], 1_000).await, None);
    }

    #[test]
    fn a_form_says_what_ends_its_parts() {
        let of = |text: &'static str| delimiter(&HeaderMap::from_iter([(header::CONTENT_TYPE, text.parse().unwrap())]));
        assert_eq!(of("multipart/form-data; boundary=\"ab\""), Ok(b"\r\n--ab".to_vec()));
        assert_eq!(of("multipart/form-data; charset=utf-8; boundary=ab"), Ok(b"\r\n--ab".to_vec()));
        for wrong in ["multipart/form-data", "text/plain; boundary=ab", "multipart/form-data; boundary="] {
            assert_eq!(of(wrong), Err(FormProblem::NoForm), "{wrong}");
        }
    }
}
