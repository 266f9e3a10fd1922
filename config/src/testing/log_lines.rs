//! What a process of tests logs, kept so that its tests can ask for it. Any thread.

use std::{
    io,
    sync::{Mutex, Once, PoisonError},
};

static LINES: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Lines;

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.lock().unwrap_or_else(PoisonError::into_inner).push(String::from_utf8_lossy(bytes).into_owned());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// From now on it is kept, of all tests of the process.
pub fn keep_log_lines() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| tracing_subscriber::fmt().with_ansi(false).with_writer(|| Lines).init());
}

/// The warnings and errors so far in which all of these words are.
pub fn logged_warnings(words: &[&str]) -> Vec<String> {
    let is_wanted = |line: &&String| {
        (line.contains("WARN") || line.contains("ERROR")) && words.iter().all(|word| line.contains(word))
    };
    LINES.lock().unwrap_or_else(PoisonError::into_inner).iter().filter(is_wanted).cloned().collect()
}
