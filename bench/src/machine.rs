//! What Linux tells in `/proc` about this machine and about the processes measured.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;
use std::{fmt, fs, thread};

use anyhow::Context;

/// Kernel clock ticks per second in `/proc/*/stat`: 100 on every Linux this program builds for.
const TICKS_PER_SECOND: u64 = 100;

pub(crate) struct Machine {
    cores: usize,
    memory_gib: f64,
    cpu: String,
    kernel: String,
    /// Runnable tasks, averaged over the minute before the benchmark.
    load_before: String,
}

impl Machine {
    /// Reads it now; call before the benchmark loads the machine itself.
    pub(crate) fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let first_word =
            |path| fs::read_to_string(path).unwrap_or_default().split_whitespace().next().map(str::to_owned);
        let unknown = || "unknown".to_owned();
        Self {
            cores: thread::available_parallelism().map_or(1, usize::from),
            memory_gib: kilobytes(&meminfo, "MemTotal:").unwrap_or_default() / 1024.0 / 1024.0,
            cpu: cpuinfo
                .lines()
                .find_map(|line| line.strip_prefix("model name")?.split_once(": ").map(|(_, name)| name.to_owned()))
                .unwrap_or_else(unknown),
            kernel: first_word("/proc/sys/kernel/osrelease").unwrap_or_else(unknown),
            load_before: first_word("/proc/loadavg").unwrap_or_else(unknown),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, memory_gib, cpu, kernel, load_before } = self;
        write!(
            f,
            "{cores} cores ({cpu}), {memory_gib:.0} GiB memory, Linux {kernel}, load average before the run {load_before}"
        )
    }
}

/// Proportional set size of one process, in MiB: its own pages and its share of those it shares.
pub(crate) fn memory_mib(pid: u32) -> anyhow::Result<f64> {
    let path = format!("/proc/{pid}/smaps_rollup");
    let rollup = fs::read_to_string(&path).with_context(|| format!("failed to read {path}"))?;
    let kilobytes = kilobytes(&rollup, "Pss:").with_context(|| format!("{path} has no line Pss"))?;
    Ok(kilobytes / 1024.0)
}

fn kilobytes(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}

/// CPU time used so far by the product, this program and its model server; subtract two to get a window.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CpuTimes {
    /// The server and its children, without Postgres.
    pub(crate) product: Duration,
    pub(crate) postgres: Duration,
    /// Load generator and model server: they compete with the product for the same cores.
    pub(crate) bench: Duration,
}

impl CpuTimes {
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            product: self.product.saturating_sub(earlier.product),
            postgres: self.postgres.saturating_sub(earlier.postgres),
            bench: self.bench.saturating_sub(earlier.bench),
        }
    }
}

/// The processes whose CPU time is told apart.
#[derive(Clone, Copy)]
pub(crate) struct Watched {
    pub(crate) product: u32,
    /// The postmaster, when it is not a child of the product.
    pub(crate) postmaster: Option<u32>,
    pub(crate) stub: u32,
}

impl Watched {
    pub(crate) fn cpu_times(&self) -> anyhow::Result<CpuTimes> {
        let processes = processes()?;
        let mut times = CpuTimes::default();
        for (&pid, process) in &processes {
            let within = |root: u32| descends(&processes, pid, root);
            if pid == std::process::id() || within(self.stub) {
                times.bench += process.cpu;
            } else if self.postmaster.is_some_and(within) || (within(self.product) && process.name == "postgres") {
                times.postgres += process.cpu;
            } else if within(self.product) {
                times.product += process.cpu;
            }
        }
        Ok(times)
    }
}

#[derive(Debug, PartialEq)]
struct Process {
    name: String,
    parent: u32,
    /// Its own and that of its children that ended.
    cpu: Duration,
}

fn processes() -> anyhow::Result<HashMap<u32, Process>> {
    let entries = fs::read_dir("/proc").context("failed to list /proc; the benchmark needs Linux")?;
    // A process that ends while the list is read is left out; its time is then its parent's.
    Ok(entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| Some((pid, parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
        .collect())
}

/// `pid (name) state ppid …`; the name may hold spaces and parentheses.
fn parse_stat(stat: &str) -> Option<Process> {
    let (_, rest) = stat.split_once('(')?;
    let (name, rest) = rest.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    // utime, stime, cutime, cstime: fields 14 to 17 of proc(5), counted from the state, which is field 3.
    let ticks: u64 = fields.get(11..15)?.iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    Some(Process {
        name: name.to_owned(),
        parent: fields.get(1)?.parse().ok()?,
        cpu: Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND),
    })
}

fn descends(processes: &HashMap<u32, Process>, mut pid: u32, root: u32) -> bool {
    while pid != root {
        match processes.get(&pid) {
            Some(process) if process.parent != 0 => pid = process.parent,
            _ => return false,
        }
    }
    true
}

/// The process id in the `postmaster.pid` of a data folder at most three levels below `home`.
pub(crate) fn postmaster_below(home: &Path) -> Option<u32> {
    fn find(folder: &Path, levels: u32) -> Option<u32> {
        if let Ok(text) = fs::read_to_string(folder.join("postmaster.pid")) {
            return text.lines().next()?.trim().parse().ok();
        }
        let folders =
            fs::read_dir(folder).ok()?.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir());
        folders.into_iter().find_map(|folder| if levels > 0 { find(&folder, levels - 1) } else { None })
    }
    find(home, 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_may_look_like_fields() {
        let stat = "4711 (a) R 1 (b) S 42 4711 4711 0 -1 4194560 100 0 0 0 30 12 5 3 20 0 1 0 100 0 0";
        let expected = Process { name: "a) R 1 (b".to_owned(), parent: 42, cpu: Duration::from_millis(500) };
        assert_eq!(parse_stat(stat), Some(expected));
        assert_eq!(parse_stat("4711 (cut"), None);
    }

    #[test]
    fn this_process_is_seen_with_its_memory_and_time() {
        let spinning = std::time::Instant::now();
        while spinning.elapsed() < Duration::from_millis(60) {
            std::hint::black_box(0);
        }
        let me = std::process::id();
        let processes = processes().unwrap();
        assert!(descends(&processes, me, me));
        assert!(descends(&processes, me, processes[&me].parent));
        assert!(!descends(&processes, processes[&me].parent, me));
        assert!(processes[&me].cpu >= Duration::from_millis(20), "{:?}", processes[&me].cpu);
        assert!((1.0..10_000.0).contains(&memory_mib(me).unwrap()));
    }

    #[test]
    fn the_postmaster_is_found_in_a_folder_below() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(postmaster_below(home.path()), None);
        let data = home.path().join("postgres/data");
        fs::create_dir_all(&data).unwrap();
        fs::write(data.join("postmaster.pid"), "4711\n/data\n").unwrap();
        assert_eq!(postmaster_below(home.path()), Some(4711));
    }
}
