//! What the process takes of its host, read when somebody looks at `/metrics`. Costs a few calls of the system, however many files are open.
//!
//! Always holds: what the system does not tell is not there, rather than 0.

use std::fs;

use metrics::{counter, gauge};
use nix::sys::resource::{Resource, UsageWho, getrlimit, getrusage};

use crate::metrics as names;

/// Takes it down.
pub(crate) fn record() {
    if let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) {
        let cpu = usage.user_time() + usage.system_time();
        counter!(names::PROCESS_CPU_SECONDS).absolute(cpu.tv_sec().unsigned_abs());
    }
    if let Some(bytes) = resident_bytes(&fs::read_to_string("/proc/self/status").unwrap_or_default()) {
        gauge!(names::PROCESS_RESIDENT_MEMORY_BYTES).set(bytes);
    }
    // The system tells it so since Linux 6.2. To count them one by one would take long where there are many.
    if let Some(files) = fs::metadata("/proc/self/fd").ok().map(|folder| folder.len()).filter(|files| *files > 0) {
        gauge!(names::PROCESS_OPEN_FDS).set(files as f64);
    }
    if let Ok((files_max, _)) = getrlimit(Resource::RLIMIT_NOFILE) {
        gauge!(names::PROCESS_MAX_FDS).set(files_max as f64);
    }
}

fn resident_bytes(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u32 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(f64::from(kib) * 1024.0)
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::*;

    #[test]
    fn a_process_tells_what_it_takes() {
        let recorder = PrometheusBuilder::new().build_recorder();
        metrics::with_local_recorder(&recorder, record);
        let page = recorder.handle().render();
        let value = |name: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("no {name}: {page}")).parse::<f64>().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1024.0 * 1024.0);
        assert!(value("process_max_fds") > 8.0 && value("process_cpu_seconds_total") >= 0.0);
        assert_eq!(resident_bytes("Name:\tgim\nVmRSS:\t    2048 kB\n"), Some(2_097_152.0));
        assert_eq!([resident_bytes(""), resident_bytes("VmRSS:\tmuch")], [None, None]);
    }
}
