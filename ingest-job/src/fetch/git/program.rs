//! The `git` program: what it is told, and what it is kept from.
//!
//! It works in a bare repository in a folder of its own, whose configuration file is written here and is the only one it
//! reads. So no address, no key and no password stands among its arguments, and nothing of the machine's own set-up has a say.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use docbrain_core::ids::KnowledgeSourceId;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, prlimit};
use tempfile::TempDir;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::fetch::Misfortune;

/// Longest time that one call of the program may take.
const LONGEST: Duration = Duration::from_mins(15);
/// Largest file that it may write: the pack with all of a commit.
const MOST_BYTES: u64 = 2 << 30;
/// Most memory that it may ask for.
const MOST_MEMORY: u64 = 6 << 30;
/// Most that it may say, in bytes.
const MOST_OUTPUT: u64 = 64 << 20;
/// Most of its complaints that is kept, in bytes.
const MOST_COMPLAINTS: u64 = 1 << 20;
/// What it may know of this process's environment.
const ENVIRONMENT: [&str; 4] = ["PATH", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR"];

/// A bare repository that ends with its owner.
pub(crate) struct Repository {
    folder: TempDir,
    ssh: Option<String>,
}

/// Settings as git's configuration files have them: `section.key`, value.
pub(crate) type Settings<'a> = Vec<(&'a str, &'a str, String)>;

impl Repository {
    /// Makes an empty repository. What an earlier process left behind for the same source goes.
    pub(crate) fn create(source: KnowledgeSourceId) -> io::Result<Self> {
        let prefix = format!("docbrain-git-{source}-");
        remove_left(&prefix);
        let folder = tempfile::Builder::new().prefix(&prefix).permissions(Permissions::from_mode(0o700)).tempdir()?;
        for inner in ["objects", "refs"] {
            fs::create_dir(folder.path().join(inner))?;
        }
        fs::write(folder.path().join("HEAD"), "ref: refs/heads/none\n")?;
        let repository = Self { folder, ssh: None };
        repository.configure(&Settings::new())?;
        Ok(repository)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file that only its owner may read.
    pub(crate) fn write_secret(&self, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = self.path(name);
        fs::write(&path, "")?;
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        fs::write(&path, format!("{text}\n"))?;
        Ok(path)
    }

    /// The command by which `ssh` is run.
    pub(crate) fn use_ssh(&mut self, command: String) {
        self.ssh = Some(command);
    }

    /// Replaces the configuration: these settings, and what holds always.
    pub(crate) fn configure(&self, settings: &Settings<'_>) -> io::Result<()> {
        let always: [(&str, &str, &str); 13] = [
            ("core", "repositoryformatversion", "0"),
            ("core", "bare", "true"),
            ("core", "hooksPath", "/dev/null"),
            ("core", "fsmonitor", "false"),
            ("protocol", "allow", "never"),
            ("credential", "helper", ""),
            ("http", "followRedirects", "false"),
            ("http", "proxy", ""),
            ("gc", "auto", "0"),
            ("maintenance", "auto", "false"),
            ("fetch", "recurseSubmodules", "false"),
            ("fetch", "unpackLimit", "1"),
            ("pack", "threads", "1"),
        ];
        let always = always.iter().map(|&(section, key, value)| (section, key, value));
        let all = always.chain(settings.iter().map(|(section, key, value)| (*section, *key, value.as_str())));
        let text: String = all.map(|(section, key, value)| entry(section, key, value)).collect();
        self.write_secret("config", &text).map(drop)
    }

    /// Starts the program.
    pub(crate) fn start(&self, arguments: &[&str]) -> Result<Child, Misfortune> {
        let mut command = Command::new("git");
        command.arg("--git-dir").arg(self.folder.path()).args(arguments).env_clear();
        for name in ENVIRONMENT {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        if let Some(ssh) = &self.ssh {
            command.env("GIT_SSH_COMMAND", ssh).env("GIT_SSH_VARIANT", "ssh");
        }
        command
            .env("HOME", self.folder.path())
            .env("LC_ALL", "C")
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_PROTOCOL_FROM_USER", "0")
            .env("GIT_NO_LAZY_FETCH", "1")
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        if arguments.first() == Some(&"cat-file") {
            command.stdin(Stdio::piped());
        }
        let child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => Misfortune::lasting(
                "the program git, which reads repositories, is not installed where docbrain-ingest runs",
            ),
            _ => Misfortune::passing(format!("the program git could not be started: {}", error.kind())),
        })?;
        limit(&child);
        Ok(child)
    }

    /// Runs the program to its end.
    pub(crate) async fn run(&self, arguments: &[&str]) -> Result<Output, Misfortune> {
        let mut child = self.start(arguments)?;
        let group = group_of(&child);
        let Ok(output) = timeout(LONGEST, output_of(&mut child)).await else {
            end(group);
            let minutes = LONGEST.as_secs() / 60;
            return Err(Misfortune::passing(format!("git was not done within {minutes} minutes")));
        };
        match output {
            Ok(Some(output)) => Ok(output),
            Ok(None) => {
                end(group);
                Err(Misfortune::lasting("the repository has more files than can be listed"))
            }
            Err(error) => Err(Misfortune::passing(format!("git broke off: {}", error.kind()))),
        }
    }
}

/// What the program says until it ends; `None`: more than is kept. A small repository can list its files without end: the
/// same folder again and again within itself.
async fn output_of(child: &mut Child) -> io::Result<Option<Output>> {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (mut said, mut told) = (Vec::new(), Vec::new());
    let saying = async {
        if let Some(stdout) = stdout {
            stdout.take(MOST_OUTPUT).read_to_end(&mut said).await?;
        }
        let is_whole = (said.len() as u64) < MOST_OUTPUT;
        if is_whole { Ok(()) } else { Err(io::Error::from(ErrorKind::FileTooLarge)) }
    };
    let telling = async {
        if let Some(mut stderr) = stderr {
            (&mut stderr).take(MOST_COMPLAINTS).read_to_end(&mut told).await?;
            tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await?;
        }
        io::Result::Ok(())
    };
    match tokio::try_join!(saying, telling) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::FileTooLarge => return Ok(None),
        Err(error) => return Err(error),
    }
    Ok(Some(Output { status: child.wait().await?, stdout: said, stderr: told }))
}

/// Ends the program and all that it has started.
fn end(group: Option<Pid>) {
    if let Some(group) = group {
        // It may have ended in this moment, which is what is wanted.
        let _ = kill_process_group(group, Signal::KILL);
    }
}

/// The program's last complaint, in one short line. What a server says of itself is left out.
pub(crate) fn complaint(output: &Output) -> String {
    use std::os::unix::process::ExitStatusExt;
    if output.status.signal() == Some(Signal::XFSZ.as_raw()) {
        return format!("it is larger than {} GB", MOST_BYTES >> 30);
    }
    let text = String::from_utf8_lossy(&output.stderr);
    let told =
        text.lines().rev().find_map(|line| line.strip_prefix("fatal: ").or_else(|| line.strip_prefix("error: ")));
    let told = told.unwrap_or("it ended without saying why");
    told.chars().filter(|c| !c.is_control()).take(200).collect()
}

fn group_of(child: &Child) -> Option<Pid> {
    child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw)
}

/// Limits hold for what the program starts, too.
fn limit(child: &Child) {
    let Some(pid) = group_of(child) else { return };
    for (resource, most) in [(Resource::Fsize, MOST_BYTES), (Resource::As, MOST_MEMORY), (Resource::Core, 0)] {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        // It has ended already, or this process's own limits are lower.
        let _ = prlimit(Some(pid), resource, limit);
    }
}

/// A setting as it stands in a configuration file.
fn entry(section: &str, key: &str, value: &str) -> String {
    let section = match section.split_once('.') {
        Some((name, rest)) => format!("{name} {}", quoted(rest)),
        None => section.to_owned(),
    };
    format!("[{section}]\n\t{key} = {}\n", quoted(value))
}

/// A value in a configuration file.
fn quoted(value: &str) -> String {
    let mut quoted = String::from("\"");
    for character in value.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            // None has a place in a value that was judged.
            character if character.is_control() => {}
            character => quoted.push(character),
        }
    }
    quoted + "\""
}

/// A word for the shell by which git runs `ssh`.
pub(crate) fn shell_word(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// A process that was killed leaves its folder. Only one of the same source can have been there.
fn remove_left(prefix: &str) {
    let own = rustix::process::getuid().as_raw();
    let Ok(entries) = fs::read_dir(std::env::temp_dir()) else { return };
    for entry in entries.filter_map(Result::ok) {
        let is_ours = entry.metadata().is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == own);
        if is_ours && starts_with(&entry.file_name(), prefix) {
            let _ = remove(&entry.path());
        }
    }
}

fn starts_with(name: &OsStr, prefix: &str) -> bool {
    name.to_str().is_some_and(|name| name.starts_with(prefix))
}

fn remove(path: &Path) -> io::Result<()> {
    fs::remove_dir_all(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_leave_its_line() {
        assert_eq!(quoted("a\"b\\c\n[core]\tx"), "\"a\\\"b\\\\c[core]x\"");
        assert_eq!(shell_word("/tmp/it's"), "'/tmp/it'\\''s'");
    }

    #[tokio::test]
    async fn the_program_reads_this_configuration_and_no_other() {
        let repository = Repository::create(KnowledgeSourceId::new()).unwrap();
        let url = "https://example.com/a b\"c".to_owned();
        repository.configure(&vec![("remote.origin", "url", url.clone())]).unwrap();
        let Ok(listed) = repository.run(&["config", "--list", "--show-origin"]).await else {
            panic!("git is not installed");
        };
        let text = String::from_utf8(listed.stdout).unwrap();
        assert!(text.lines().all(|line| line.starts_with("file:config\t") || line.contains("/config\t")), "{text}");
        assert!(text.contains(&format!("remote.origin.url={url}")), "{text}");
        let refused = repository.run(&["ls-remote", "origin"]).await.unwrap();
        assert!(complaint(&refused).contains("transport 'https' not allowed"), "{}", complaint(&refused));
        let mode = fs::metadata(repository.path("config")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn what_a_killed_process_left_goes_and_nothing_else() {
        let source = KnowledgeSourceId::new();
        let left = Repository::create(source).unwrap().folder.keep();
        let other = Repository::create(KnowledgeSourceId::new()).unwrap();
        let now = Repository::create(source).unwrap();
        assert!(!left.exists() && other.folder.path().exists() && now.folder.path().exists());
    }
}
