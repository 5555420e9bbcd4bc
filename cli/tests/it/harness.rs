//! A home folder of its own that borrows the prepared tools, and the programs run in it.

use std::fs::{File, Permissions};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use reqwest::{Client, StatusCode};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

pub(crate) struct Machine {
    home: TempDir,
}

impl Machine {
    /// `None` where `make tools` has not run; the test then says that it was skipped.
    pub(crate) fn new() -> Option<Self> {
        let tools = std::env::var_os("DOCBRAIN_HOME").map(|home| PathBuf::from(home).join("tools"));
        let Some(tools) = tools.filter(|tools| tools.join("postgres/bin/postgres").exists()) else {
            println!("skipped: DOCBRAIN_HOME names no folder with prepared tools; `make test` sees to it");
            return None;
        };
        let home =
            tempfile::Builder::new().prefix("docbrain-").permissions(Permissions::from_mode(0o755)).tempdir().unwrap();
        symlink(tools, home.path().join("tools")).unwrap();
        Some(Self { home })
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docbrain"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("DOCBRAIN_HOME", self.home.path());
        command
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command().args(arguments).output().unwrap()
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.home.path().join(below)
    }

    /// What `docbrain up` and the processes it started have logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.home.path().join("log")).unwrap()
    }

    pub(crate) fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }
}

pub(crate) fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{}", stderr(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Guards the servers of the tests.
pub(crate) const TOKEN: &str = "a-token-for-the-tests";

/// `docbrain up`, running.
pub(crate) struct Up {
    process: Child,
    pub(crate) url: String,
    pub(crate) client: Client,
}

impl Up {
    pub(crate) async fn start(machine: &Machine, settings: &[(&str, &str)]) -> Self {
        let log = File::options().create(true).append(true).open(machine.home.path().join("log")).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = machine
            .command()
            .args(["up", "--listen", &format!("127.0.0.1:{port}"), "--admin-token", TOKEN])
            .envs(settings.iter().copied())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let up = Self { process, url: format!("http://127.0.0.1:{port}"), client: Client::new() };
        let deadline = Instant::now() + Duration::from_mins(2);
        while up.client.get(format!("{}/readyz", up.url)).send().await.is_err() {
            assert!(Instant::now() < deadline, "docbrain up did not become ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        up
    }

    pub(crate) async fn chat(&self, message: &str) -> Value {
        let request = self.client.post(format!("{}/conversation/chat", self.url)).bearer_auth(TOKEN);
        let reply = request.json(&json!({ "chatbot": "demo", "message": message })).send().await.unwrap();
        assert_eq!(reply.status(), StatusCode::OK);
        reply.json().await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        self.client.get(format!("{}{path}", self.url)).bearer_auth(TOKEN).send().await.unwrap().json().await.unwrap()
    }

    pub(crate) async fn until_indexed(&self, documents: u64) -> Value {
        let deadline = Instant::now() + Duration::from_mins(3);
        loop {
            let list = self.get("/chatbots/demo/documents").await;
            if list["counts"]["indexed"].as_u64() == Some(documents) && list["counts"]["pending"] == 0 {
                return list;
            }
            assert!(Instant::now() < deadline, "{list}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    pub(crate) fn stop(mut self) {
        let status = self.end().expect("docbrain up stops");
        assert!(status.success(), "{status}");
    }

    /// Asks it to stop, and waits until it has.
    fn end(&mut self) -> Option<ExitStatus> {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).unwrap()).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let deadline = Instant::now() + Duration::from_secs(40);
        while Instant::now() < deadline {
            if let Some(status) = self.process.try_wait().unwrap() {
                return Some(status);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        None
    }
}

impl Drop for Up {
    /// A test that fails leaves nothing running: who is asked to stop stops the database, too.
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) && self.end().is_none() {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }
}

/// The deterministic model server of `bench/`, running until it is dropped.
pub(crate) struct ModelServer {
    process: Child,
    pub(crate) base_url: String,
}

impl ModelServer {
    /// `None` where only this package was built; the test then says that it was skipped.
    pub(crate) fn start() -> Option<Self> {
        let program = Path::new(env!("CARGO_BIN_EXE_docbrain")).with_file_name("docbrain-bench");
        if !program.exists() {
            println!("skipped: there is no {}; `cargo build --workspace` makes it", program.display());
            return None;
        }
        let mut process = Command::new(program).args(["stub", "--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let base_url = line.trim().strip_prefix("model server on ").unwrap().to_owned();
        Some(Self { process, base_url })
    }
}

impl Drop for ModelServer {
    fn drop(&mut self) {
        // It may have ended by itself, which is what is wanted.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
