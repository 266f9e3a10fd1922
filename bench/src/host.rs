//! The machine a run was made on, and what the system counts of it: CPU time and memory of a process, kernel memory.
//! Everything is read from /proc when asked for; nothing is kept.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::{Context as _, anyhow, ensure};
use nix::{
    sys::resource::{Resource, getrlimit, setrlimit},
    unistd::{SysconfVar, sysconf},
};
use serde_json::{Value, json};

/// Files that a run needs beside its connections: epoll, gRPC, children, the executable.
const FILES_RESERVED: usize = 100;

/// The commit this binary was built of.
pub const COMMIT: &str = env!("GIM_COMMIT");

/// The machine, for the report.
pub fn to_json() -> Value {
    let cpus = read("/proc/cpuinfo");
    json!({
        "cpu": field(&cpus, "model name").unwrap_or("unknown"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory_bytes": kib("/proc/meminfo", "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
        "files_max": getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard),
    })
}

/// The kind of machine, for the name of a folder: `2-cores-24-gib`.
pub fn class() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let gib = (kib("/proc/meminfo", "MemTotal") as f64 / f64::from(1 << 30)).round();
    format!("{cores}-cores-{gib}-gib")
}

/// Takes as many files as the process may have; the error says that they do not suffice.
pub fn take_files(connections: usize) -> anyhow::Result<()> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).context("cannot read the file limit")?;
    if soft < hard {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).context("cannot raise the file limit")?;
    }
    let needed = (connections + FILES_RESERVED) as u64;
    let (who, what_to_do) = match connections {
        0 => ("gim-bench needs".to_owned(), "raise it"),
        _ => (format!("{connections} connections need"), "spread them with --processes, or raise the limit"),
    };
    ensure!(
        needed <= hard,
        "{who} a file limit of {needed}, and that of a process is {hard} here (ulimit -Hn): {what_to_do}"
    );
    Ok(())
}

/// Kernel memory of sockets and files: what the slab allocator holds, and the buffers of TCP.
pub fn kernel_bytes() -> u64 {
    let sockets = read("/proc/net/sockstat");
    let tcp = sockets.lines().find(|line| line.starts_with("TCP:")).unwrap_or_default();
    let pages = tcp.split(' ').skip_while(|word| *word != "mem").nth(1).and_then(|pages| pages.parse().ok());
    kib("/proc/meminfo", "Slab") + pages.unwrap_or(0) * system(SysconfVar::PAGE_SIZE)
}

/// Memory of the machine that is in use, and could not be given to others at once.
pub fn memory_in_use_bytes() -> u64 {
    kib("/proc/meminfo", "MemTotal").saturating_sub(kib("/proc/meminfo", "MemAvailable"))
}

/// The share of all cores that is in use, observed for a moment.
pub fn busy_share(moment: Duration) -> f64 {
    // user, nice, system, idle, iowait, …, in ticks since the start of the system
    let ticks = || -> Vec<u64> {
        let text = read("/proc/stat");
        let all = text.lines().next().unwrap_or_default();
        all.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect()
    };
    let before = ticks();
    std::thread::sleep(moment);
    let spent: Vec<u64> = ticks().iter().zip(&before).map(|(now, before)| now.saturating_sub(*before)).collect();
    let (all, idle) = (spent.iter().sum::<u64>(), spent.iter().skip(3).take(2).sum::<u64>());
    if all == 0 { 0.0 } else { (all - idle) as f64 / all as f64 }
}

/// A process on this machine.
#[derive(Debug, Clone)]
pub struct Process {
    folder: String,
}

impl Process {
    /// The one that runs this code.
    pub fn this() -> Self {
        Self { folder: "/proc/self".to_owned() }
    }

    /// The one with this id.
    pub fn with_id(id: u32) -> anyhow::Result<Self> {
        let folder = format!("/proc/{id}");
        if Path::new(&folder).exists() { Ok(Self { folder }) } else { Err(anyhow!("there is no process {id}")) }
    }

    /// Those that listen on TCP ports here; the error says how to name them instead.
    pub fn listening_on(addresses: &[SocketAddr]) -> anyhow::Result<Vec<Self>> {
        let folders = fs::read_dir("/proc").context("cannot list processes")?.flatten();
        let folders = folders.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
        let folders: Vec<_> = folders.map(|entry| entry.path().to_string_lossy().into_owned()).collect();
        let mut found = BTreeSet::new();
        for address in addresses {
            let inodes = listening_inodes(*address);
            let folder = folders.iter().find(|folder| holds_one_of(folder, &inodes));
            found.insert(folder.cloned().ok_or_else(|| {
                anyhow!("cannot tell which process of this host listens on {address}: name it with --server-pid")
            })?);
        }
        Ok(found.into_iter().map(|folder| Self { folder }).collect())
    }

    /// Memory that it occupies.
    pub fn rss_bytes(&self) -> anyhow::Result<u64> {
        let path = format!("{}/statm", self.folder);
        let text = fs::read_to_string(&path).context("the server process is gone")?;
        let pages: Option<u64> = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
        Ok(pages.context("/proc has no resident size of the server")? * system(SysconfVar::PAGE_SIZE))
    }

    /// Its threads, each looked at as a process.
    pub fn threads(&self) -> impl Iterator<Item = Self> {
        let tasks = fs::read_dir(format!("{}/task", self.folder)).into_iter().flatten().flatten();
        tasks.map(|task| Self { folder: task.path().to_string_lossy().into_owned() })
    }

    /// Where the system tells of it, which no other one shares.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Its name; empty where it is gone.
    pub fn name(&self) -> String {
        read(&format!("{}/comm", self.folder)).trim().to_owned()
    }

    /// CPU time that it used so far, in all threads.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        let text = fs::read_to_string(format!("{}/stat", self.folder)).context("the server process is gone")?;
        // The name in parentheses may have spaces; user and system time are fields 14 and 15, the 12th and 13th after it.
        let after_name = text.rsplit(") ").next().unwrap_or_default();
        let ticks: u64 = after_name.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
        Ok(Duration::from_secs_f64(ticks as f64 / system(SysconfVar::CLK_TCK) as f64))
    }
}

fn system(variable: SysconfVar) -> u64 {
    sysconf(variable).ok().flatten().and_then(|value| u64::try_from(value).ok()).unwrap_or(1)
}

/// Empty where the system does not tell.
fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

fn kib(path: &str, name: &str) -> u64 {
    let text = read(path);
    let value = field(&text, name).and_then(|value| value.split(' ').next()?.parse::<u64>().ok());
    value.unwrap_or(0) * 1024
}

/// Inodes of the sockets that listen where a connect to this address is taken.
fn listening_inodes(address: SocketAddr) -> Vec<String> {
    const LISTEN: &str = "0A";
    let tables = [read("/proc/net/tcp"), read("/proc/net/tcp6")];
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let sockets = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let suffix = format!(":{:04X}", address.port());
    let own = match address.ip() {
        IpAddr::V4(ip) => format!("{:08X}", u32::from_ne_bytes(ip.octets())),
        IpAddr::V6(_) => String::new(),
    };
    // An address of zeros takes them all, and those of version 6 are 32 digits.
    let takes = |ip: &str| ip == own || ip.len() > 8 || ip.bytes().all(|digit| digit == b'0');
    let is_ours = |local: &str| local.strip_suffix(&suffix).is_some_and(takes);
    let ours = sockets.filter(|fields| fields.len() > 9 && is_ours(fields[1]) && fields[3] == LISTEN);
    ours.map(|fields| format!("socket:[{}]", fields[9])).collect()
}

fn holds_one_of(folder: &str, sockets: &[String]) -> bool {
    // Processes of others do not let us look.
    let Ok(files) = fs::read_dir(format!("{folder}/fd")) else { return false };
    files.flatten().any(|file| {
        let target = fs::read_link(file.path()).unwrap_or_default();
        sockets.iter().any(|socket| target.as_os_str() == socket.as_str())
    })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_process_that_listens_is_found_and_measured() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let processes = Process::listening_on(&[address, address]).unwrap();
        let [process] = &processes[..] else { panic!("one process: {processes:?}") };
        assert_eq!(process.folder, format!("/proc/{}", std::process::id()));
        assert!(process.rss_bytes().unwrap() > 100_000);
        assert!(process.cpu_time().unwrap() < Duration::from_secs(3600));
        assert!(process.threads().any(|thread| thread.name() == process.name() && thread.folder() != process.folder()));
        drop(listener);
        let error = Process::listening_on(&[address]).unwrap_err().to_string();
        assert!(error.ends_with("name it with --server-pid"), "{error}");
    }

    #[test]
    fn too_few_files_are_one_sentence() {
        take_files(1).unwrap();
        let error = take_files(usize::MAX / 2).unwrap_err().to_string();
        assert!(error.contains("connections need a file limit of") && error.contains("ulimit -Hn"), "{error}");
    }

    #[test]
    fn the_host_is_described() {
        let host = to_json();
        assert!(host["cores"].as_u64().unwrap() > 0 && host["memory_bytes"].as_u64().unwrap() > 0);
        assert!(kernel_bytes() > 0);
        assert!((0.0..=1.0).contains(&busy_share(Duration::from_millis(50))));
    }
}
