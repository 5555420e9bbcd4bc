//! The embedded PostgreSQL: initialised once, started as a child, stopped with it.
//!
//! It listens on a Unix socket alone, asks for passwords, and runs as an unprivileged user where this program is root
//! (PostgreSQL refuses root). After a crash of this program the server may still run: then it is taken over.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use docbrain_core::env;
use docbrain_core::signals::stop_on_signal;
use docbrain_core::store::{self, Pool};
use rustix::process::{Pid, Signal, kill_process};
use secrecy::{ExposeSecret, SecretString};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::home::{Home, UNPRIVILEGED, is_root};
use crate::installation::InstallationArguments;
use crate::show;

/// The longest path a Unix socket may have is 107 bytes (`man 7 unix`); `/.s.PGSQL.5432` takes 14.
const MAX_SOCKET_FOLDER_BYTES: usize = 93;

#[derive(Args)]
pub(crate) struct PostgresArguments {
    /// Use a database that is thrown away at the end, and is not safe against a loss of power
    #[arg(long)]
    ephemeral: bool,
    /// The command, which finds DATABASE_URL in its environment; without one, the URL is printed
    #[arg(last = true)]
    command: Vec<String>,
}

/// A running server.
pub(crate) struct Postgres {
    superuser_url: SecretString,
    owner_url: SecretString,
    folder: PathBuf,
    child: Option<Child>,
}

/// Whether a loss of power may lose what was committed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Durability {
    Safe,
    Throwaway,
}

impl Postgres {
    /// Starts the server of this home, or finds it running; the first time, makes its database.
    pub(crate) async fn start(home: &Home, binaries: &Path, durability: Durability) -> anyhow::Result<Self> {
        let folder = home.path("postgres");
        let socket = folder.join("socket");
        if socket.as_os_str().len() > MAX_SOCKET_FOLDER_BYTES {
            bail!("the path {} is too long for a Unix socket: choose a shorter folder with --home", socket.display());
        }
        let password = home.secret("postgres")?;
        let url = |user: &str, database: &str| -> SecretString {
            let (password, socket) = (password.expose_secret(), socket.display());
            format!("postgres://{user}:{password}@localhost/{database}?host={socket}").into()
        };
        let mut server = Self {
            superuser_url: url("postgres", "postgres"),
            owner_url: url("docbrain_owner", "docbrain"),
            folder: folder.clone(),
            child: None,
        };
        if !folder.join("data/PG_VERSION").exists() {
            initialise(&folder, binaries, &password).await?;
        }
        if store::connect(server.superuser_url.expose_secret(), 1).await.is_err() {
            server.child = Some(spawn(&folder, binaries, durability)?);
        }
        let superuser = server.wait_until_ready().await?;
        create_database(&superuser, &password).await?;
        Ok(server)
    }

    /// The URL of the owner of the schema, who is no superuser.
    pub(crate) fn owner_url(&self) -> &SecretString {
        &self.owner_url
    }

    /// Whether this process started the server.
    pub(crate) fn is_ours(&self) -> bool {
        self.child.is_some()
    }

    /// Stops the server: connections end, everything is on disk.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        let pid = match &self.child {
            Some(child) => child.id().and_then(|pid| i32::try_from(pid).ok()),
            None => pid_of(&self.folder),
        };
        let Some(pid) = pid.and_then(Pid::from_raw) else {
            return Ok(());
        };
        // SIGINT is the "fast" shutdown of PostgreSQL.
        kill_process(pid, Signal::INT).context("cannot stop PostgreSQL")?;
        let gone = async {
            match &mut self.child {
                Some(child) => drop(child.wait().await),
                None => {
                    while pid_of(&self.folder).is_some() {
                        sleep(Duration::from_millis(50)).await;
                    }
                }
            }
        };
        timeout(Duration::from_secs(30), gone).await.context("PostgreSQL did not stop within 30 seconds")
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<Pool> {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            let attempt = timeout(Duration::from_secs(5), store::connect(self.superuser_url.expose_secret(), 1)).await;
            match attempt {
                Ok(Ok(pool)) => return Ok(pool),
                Ok(Err(error)) if Instant::now() > deadline => return Err(error).context(self.advice()),
                Err(_) if Instant::now() > deadline => bail!(self.advice()),
                _ => {}
            }
            if let Some(status) = self.child.as_mut().map(Child::try_wait).transpose()?.flatten() {
                bail!("PostgreSQL ended at once ({status}); {}", self.advice());
            }
            sleep(Duration::from_millis(30)).await;
        }
    }

    fn advice(&self) -> String {
        format!("PostgreSQL does not start; its log is {}", self.folder.join("log").display())
    }
}

fn pid_of(folder: &Path) -> Option<i32> {
    fs::read_to_string(folder.join("data/postmaster.pid")).ok()?.lines().next()?.trim().parse().ok()
}

async fn initialise(folder: &Path, binaries: &Path, password: &SecretString) -> anyhow::Result<()> {
    let initdb = binaries.join("bin/initdb");
    if !initdb.exists() {
        bail!(
            "there is no PostgreSQL in {}: `make up` prepares one, or set {} to a server of yours",
            binaries.display(),
            env::DATABASE_URL
        );
    }
    fs::create_dir_all(folder.join("socket"))?;
    // A killed initialisation leaves a folder without meaning; only a complete one gets the name `data`.
    let fresh = folder.join("data.new");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    let password_file = folder.join("password");
    fs::write(&password_file, password.expose_secret())?;
    if is_root() {
        for path in [folder, &folder.join("socket"), &password_file] {
            chown(path, Some(UNPRIVILEGED), Some(UNPRIVILEGED))?;
        }
    }
    let output = unprivileged(&initdb)
        .args([
            "--locale=C.UTF-8",
            "--encoding=UTF8",
            "--username=postgres",
            "--auth=scram-sha-256",
            "--no-instructions",
        ])
        .arg(format!("--pwfile={}", password_file.display()))
        .arg(format!("--pgdata={}", fresh.display()))
        .output()
        .await;
    fs::remove_file(&password_file)?;
    let output = output.with_context(|| format!("cannot run {}", initdb.display()))?;
    if !output.status.success() {
        bail!("PostgreSQL could not be initialised: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    fs::rename(fresh, folder.join("data"))?;
    Ok(())
}

fn spawn(folder: &Path, binaries: &Path, durability: Durability) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(folder.join("log"))?;
    let mut command = unprivileged(&binaries.join("bin/postgres"));
    command.arg("-D").arg(folder.join("data")).arg("-k").arg(folder.join("socket"));
    // Small enough for any machine; parallel index builds want the maintenance memory.
    let mut settings = vec![
        "listen_addresses=",
        "max_connections=200",
        "shared_buffers=128MB",
        "maintenance_work_mem=128MB",
        "jit=off",
    ];
    if durability == Durability::Throwaway {
        settings.extend(["fsync=off", "full_page_writes=off", "synchronous_commit=off"]);
    }
    for setting in settings {
        command.args(["-c", setting]);
    }
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        // A terminal's Ctrl-C reaches its whole process group; the server is stopped last, by us.
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run PostgreSQL in {}", binaries.display()))
}

fn unprivileged(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8").current_dir("/");
    if is_root() {
        command.uid(UNPRIVILEGED).gid(UNPRIVILEGED);
    }
    command
}

/// The database with an owner who is no superuser. Each step may have been done before.
async fn create_database(superuser: &Pool, password: &SecretString) -> anyhow::Result<()> {
    store::bootstrap::create_database(superuser, "docbrain_owner", password, "docbrain").await?;
    Ok(())
}

/// `docbrain postgres`: runs a command beside a server.
pub(crate) async fn run(arguments: &InstallationArguments, postgres: &PostgresArguments) -> ExitCode {
    run_beside(arguments, postgres).await.unwrap_or_else(|error| show::failure(&error))
}

async fn run_beside(arguments: &InstallationArguments, postgres: &PostgresArguments) -> anyhow::Result<ExitCode> {
    // Before there is a server that would be left behind.
    let stop = stop_on_signal()?;
    let binaries = arguments.postgres_folder();
    let throwaway = tempfile::Builder::new().prefix("docbrain-").permissions(readable()).tempdir()?;
    let (home, durability) = if postgres.ephemeral {
        (Home::open(throwaway.path())?, Durability::Throwaway)
    } else {
        (arguments.open_home()?, Durability::Safe)
    };
    let server = Postgres::start(&home, &binaries, durability).await?;
    // Tests make databases and roles as they please; everybody else is the owner.
    let url = if postgres.ephemeral { &server.superuser_url } else { &server.owner_url };
    let code = match postgres.command.split_first() {
        None => {
            show::line(url.expose_secret());
            stop.cancelled().await;
            ExitCode::SUCCESS
        }
        Some((program, rest)) => {
            let child = Command::new(program).args(rest).env(env::DATABASE_URL, url.expose_secret()).spawn();
            let mut child = child.with_context(|| format!("cannot run {program}"))?;
            let status = tokio::select! {
                status = child.wait() => status,
                () = stop.cancelled() => {
                    // A terminal tells the command as well, others tell this program alone.
                    if let Some(id) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
                        let _ = kill_process(id, Signal::TERM);
                    }
                    child.wait().await
                }
            };
            let status = status.with_context(|| format!("cannot wait for {program}"))?;
            status.code().and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
        }
    };
    if server.is_ours() {
        server.stop().await?;
    }
    Ok(code)
}

fn readable() -> fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o755)
}
