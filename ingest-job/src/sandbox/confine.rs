//! What a worker gives up before it reads a byte from outside: memory, time, files, network, other programs.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

/// Exit code of a worker that could not confine itself, and so read nothing.
pub(super) const EXIT_NOT_CONFINED: u8 = 70;

/// System calls a parser needs: memory, its own threads' locks, the open pipes, time and randomness. Nothing
/// here opens a file, a socket or a process; whatever is not listed fails with "operation not permitted".
const ALLOWED: &[libc::c_long] = &[
    libc::SYS_brk,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_close,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_fstat,
    libc::SYS_futex,
    libc::SYS_getpid,
    libc::SYS_getrandom,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_lseek,
    libc::SYS_madvise,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_nanosleep,
    libc::SYS_pread64,
    libc::SYS_read,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_yield,
    libc::SYS_set_robust_list,
    libc::SYS_sigaltstack,
    libc::SYS_write,
    libc::SYS_writev,
];

/// Sets what holds for the life of the process. It is not tied to its parent's death: that signal follows the
/// thread that started it, which may end earlier. An orphan ends at the closed pipe, or when its time is used up.
pub(super) fn limit_resources(memory_bytes: u64) -> anyhow::Result<()> {
    limit(Resource::As, memory_bytes)?;
    for resource in [Resource::Core, Resource::Fsize, Resource::Nofile] {
        limit(resource, 0)?;
    }
    rustix::thread::set_no_new_privs(true).context("failed to give up new privileges")
}

/// From now on there is no new thread and no new process; for root, only the filter sees to it.
pub(super) fn forbid_threads() -> anyhow::Result<()> {
    limit(Resource::Nproc, 0)
}

/// Allows `seconds` of processor time from now on.
pub(super) fn allow_cpu_seconds(seconds: u64) -> anyhow::Result<()> {
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let until = u64::try_from(used.tv_sec).unwrap_or_default() + 1 + seconds;
    setrlimit(Resource::Cpu, Rlimit { current: Some(until), ..getrlimit(Resource::Cpu) })
        .context("failed to limit processor time")
}

/// Applies the filter to every thread there is.
pub(super) fn filter_system_calls() -> anyhow::Result<()> {
    seccompiler::apply_filter_all_threads(&filter()?).context("failed to filter system calls")
}

fn filter() -> anyhow::Result<BpfProgram> {
    let mut rules: Vec<(i64, Vec<SeccompRule>)> = ALLOWED.iter().map(|&call| (call, Vec::new())).collect();
    let own_pid = u64::from(std::process::id());
    let no_code = || when(2, SeccompCmpOp::MaskedEq(u64::from(libc::PROT_EXEC.unsigned_abs())), 0);
    rules.extend([
        (libc::SYS_mmap, vec![no_code()?]),
        (libc::SYS_mprotect, vec![no_code()?]),
        // Its own limits, and its own end.
        (libc::SYS_prlimit64, vec![when(0, SeccompCmpOp::Eq, 0)?]),
        (libc::SYS_tgkill, vec![when(0, SeccompCmpOp::Eq, own_pid)?]),
    ]);
    let filter = SeccompFilter::new(
        rules.into_iter().collect(),
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        SeccompAction::Allow,
        std::env::consts::ARCH.try_into()?,
    )?;
    Ok(filter.try_into()?)
}

fn when(argument: u8, operator: SeccompCmpOp, value: u64) -> anyhow::Result<SeccompRule> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

fn limit(resource: Resource, value: u64) -> anyhow::Result<()> {
    setrlimit(resource, Rlimit { current: Some(value), maximum: Some(value) })
        .with_context(|| format!("failed to limit {resource:?} to {value}"))
}

/// The process's own memory, from a file opened while that was possible.
pub(super) struct Usage(File);

impl Usage {
    pub(super) fn open() -> anyhow::Result<Self> {
        Ok(Self(File::open("/proc/self/status").context("failed to open /proc/self/status")?))
    }

    pub(super) fn resident_bytes(&self) -> anyhow::Result<u64> {
        let mut text = [0; 4096];
        let read = self.0.read_at(&mut text, 0)?;
        let text = String::from_utf8_lossy(&text[..read]);
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no resident size")?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes << 10)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind::PermissionDenied;
    use std::net::{TcpStream, UdpSocket};
    use std::process::Command;

    use super::*;

    #[test]
    fn behind_the_filter_there_is_no_network_no_file_and_no_program() {
        let attempts = std::thread::spawn(|| {
            seccompiler::apply_filter(&filter().unwrap()).unwrap();
            [
                TcpStream::connect("127.0.0.1:9").map(drop),
                UdpSocket::bind("127.0.0.1:0").map(drop),
                File::open("/etc/hostname").map(drop),
                File::create("/tmp/docbrain-escaped").map(drop),
                std::fs::read_dir("/").map(drop),
                Command::new("/bin/true").status().map(drop),
                std::thread::Builder::new().spawn(|| ()).map(drop),
            ]
        });
        for (index, attempt) in attempts.join().unwrap().into_iter().enumerate() {
            assert_eq!(attempt.map_err(|error| error.kind()), Err(PermissionDenied), "attempt {index}");
        }
    }
}
