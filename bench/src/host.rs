//! The machine a run was made on, and what the system counts of it: CPU time and memory of a process, kernel memory.
//! Everything is read from /proc when asked for; nothing is kept.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, anyhow, bail, ensure};
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
        let folders = processes()?;
        let mut found = BTreeSet::new();
        for address in addresses {
            let listeners = listeners_of(&BTreeSet::from([*address]));
            let folder = folders.iter().find(|folder| holds_one_of(folder, &listeners));
            found.insert(folder.cloned().ok_or_else(|| {
                anyhow!("cannot tell which process of this host listens on {address}: name it with --server-pid")
            })?);
        }
        Ok(found.into_iter().map(|folder| Self { folder }).collect())
    }

    /// Those of this machine that listen where it has connected to; none where the system does not let us look.
    pub fn connected_listeners(&self) -> Vec<Self> {
        let sockets: BTreeSet<String> = self.open_files().filter(|file| file.starts_with("socket:")).collect();
        // A server has as many connections as it has clients: who listens is looked up once for all of them.
        let listeners = listeners_of(&peers_of(&sockets));
        let others = processes().unwrap_or_default().into_iter();
        others.filter(|folder| holds_one_of(folder, &listeners)).map(|folder| Self { folder }).collect()
    }

    fn open_files(&self) -> impl Iterator<Item = String> {
        let files = fs::read_dir(format!("{}/fd", self.folder)).into_iter().flatten().flatten();
        files.filter_map(|file| Some(fs::read_link(file.path()).ok()?.to_string_lossy().into_owned()))
    }

    /// Memory that it occupies.
    pub fn rss_bytes(&self) -> anyhow::Result<u64> {
        self.resident().map(|[all, _]| all)
    }

    /// The part of it that is no page of a file. Of the program's own file more is in memory with each thing that it does for the first time.
    pub fn own_bytes(&self) -> anyhow::Result<u64> {
        self.resident().map(|[all, of_files]| all.saturating_sub(of_files))
    }

    fn resident(&self) -> anyhow::Result<[u64; 2]> {
        let path = format!("{}/statm", self.folder);
        let text = fs::read_to_string(&path).context("the server process is gone")?;
        let pages: Vec<u64> = text.split(' ').map_while(|pages| pages.parse().ok()).collect();
        let [_, all, of_files, ..] = pages[..] else { bail!("/proc has no resident size of the server") };
        Ok([all, of_files].map(|pages| pages * system(SysconfVar::PAGE_SIZE)))
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

/// The folders of all processes.
fn processes() -> anyhow::Result<Vec<String>> {
    let folders = fs::read_dir("/proc").context("cannot list processes")?.flatten();
    let folders = folders.filter(|entry| entry.file_name().to_string_lossy().parse::<u32>().is_ok());
    Ok(folders.map(|entry| entry.path().to_string_lossy().into_owned()).collect())
}

/// The sockets of this machine in a state: their own address, that of the other side, and how open files name them.
fn sockets_in(state: &str) -> Vec<(SocketAddr, SocketAddr, String)> {
    let tables = [read("/proc/net/tcp"), read("/proc/net/tcp6")];
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let sockets = lines.map(|line| line.split_whitespace().collect::<Vec<_>>());
    let sockets = sockets.filter(|fields| fields.len() > 9 && fields[3] == state);
    let socket =
        |fields: Vec<&str>| Some((address_of(fields[1])?, address_of(fields[2])?, format!("socket:[{}]", fields[9])));
    sockets.filter_map(socket).collect()
}

/// The sockets that take a connect to one of these addresses.
fn listeners_of(addresses: &BTreeSet<SocketAddr>) -> BTreeSet<String> {
    const LISTEN: &str = "0A";
    let ports: BTreeSet<u16> = addresses.iter().map(SocketAddr::port).collect();
    let takes = |own: &SocketAddr| match own.ip().is_unspecified() {
        true => ports.contains(&own.port()),
        false => addresses.contains(own),
    };
    sockets_in(LISTEN).into_iter().filter(|(own, ..)| takes(own)).map(|(.., socket)| socket).collect()
}

/// Where the connections with these sockets lead to.
fn peers_of(sockets: &BTreeSet<String>) -> BTreeSet<SocketAddr> {
    const ESTABLISHED: &str = "01";
    let connections = sockets_in(ESTABLISHED).into_iter().filter(|(.., socket)| sockets.contains(socket));
    connections.map(|(_, peer, _)| peer).collect()
}

/// An address as it stands in /proc/net: words of 32 bits in the order of this machine's bytes, and the port.
fn address_of(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let word = |digits: &[u8]| Some(u32::from_str_radix(str::from_utf8(digits).ok()?, 16).ok()?.to_ne_bytes());
    let octets: Vec<u8> = ip.as_bytes().chunks(8).map(word).collect::<Option<Vec<_>>>()?.concat();
    let ip = match octets.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(octets).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(octets).ok()?).to_canonical(),
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// Bytes of the tables on disk that a process has: the files of a SQLite that it has open, which have a log beside them, or those of
/// InnoDB below its working directory. Logs are not in it. Nothing where it has no tables, or we may not look.
pub fn table_bytes(process: &Process) -> Option<u64> {
    let (sqlite, innodb) = table_files(process);
    let size = |path: &String| fs::metadata(path).ok().map(|metadata| metadata.len());
    let sizes: Vec<u64> = sqlite.iter().chain(&innodb).filter_map(size).collect();
    (!sizes.is_empty()).then(|| sizes.iter().sum())
}

/// Where those tables are, and the log that commits wait for.
pub fn table_folder(process: &Process) -> Option<PathBuf> {
    let (sqlite, innodb) = table_files(process);
    let of_server = || (!innodb.is_empty()).then(|| PathBuf::from(format!("{}/cwd", process.folder)));
    sqlite.first().and_then(|file| Some(Path::new(file).parent()?.to_owned())).or_else(of_server)
}

fn table_files(process: &Process) -> (Vec<String>, Vec<String>) {
    let files: BTreeSet<String> = process.open_files().collect();
    let is_table = |file: &&String| files.contains(&format!("{file}-wal"));
    let schemas = fs::read_dir(format!("{}/cwd", process.folder)).into_iter().flatten().flatten();
    let innodb = schemas.flat_map(|schema| fs::read_dir(schema.path()).into_iter().flatten().flatten());
    let innodb = innodb.filter(|file| file.path().extension().is_some_and(|extension| extension == "ibd"));
    let innodb: Vec<String> = innodb.map(|file| file.path().to_string_lossy().into_owned()).collect();
    (files.iter().filter(is_table).cloned().collect(), innodb)
}

fn holds_one_of(folder: &str, sockets: &BTreeSet<String>) -> bool {
    // Processes of others do not let us look.
    Process { folder: folder.to_owned() }.open_files().any(|file| sockets.contains(&file))
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
        let (all, own) = (process.rss_bytes().unwrap(), process.own_bytes().unwrap());
        assert!(all > own && own > 100_000, "{own} of {all}");
        assert!(process.cpu_time().unwrap() < Duration::from_secs(3600));
        assert!(process.threads().any(|thread| thread.name() == process.name() && thread.folder() != process.folder()));
        drop(listener);
        let error = Process::listening_on(&[address]).unwrap_err().to_string();
        assert!(error.ends_with("name it with --server-pid"), "{error}");
    }

    #[test]
    fn who_listens_where_a_process_has_connected_to_is_found() {
        for listener in ["127.0.0.1:0", "[::1]:0"].into_iter().filter_map(|address| TcpListener::bind(address).ok()) {
            let address = listener.local_addr().unwrap();
            let _connection = std::net::TcpStream::connect(address).unwrap();
            let sockets: BTreeSet<String> = Process::this().open_files().collect();
            assert!(peers_of(&sockets).contains(&address), "{address}");
            let own = format!("/proc/{}", std::process::id());
            assert!(Process::this().connected_listeners().iter().any(|process| process.folder == own));
        }
        let mapped = "0000000000000000FFFF00000100007F:1F90";
        assert_eq!(address_of(mapped).unwrap().to_string(), "127.0.0.1:8080");
    }

    #[test]
    fn tables_are_the_files_with_a_log_and_the_log_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(table_bytes(&Process::this()), None);
        let open = ["logic.db", "logic.db-wal", "other.db"].map(|name| {
            let path = folder.path().join(name);
            fs::write(&path, [0; 100]).unwrap();
            fs::File::open(path).unwrap()
        });
        assert_eq!(table_bytes(&Process::this()), Some(100));
        assert_eq!(table_folder(&Process::this()).as_deref(), Some(folder.path()));
        drop(open);
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
