//! `docbrain migrate` as the migration Job of a cluster runs it.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use docbrain_core::env;
use docbrain_core::store::{self, schema};

use crate::harness::{Machine, stderr, stdout};

const PASSWORD: &str = "0123456789abcdefABCDEF";

/// `docbrain postgres`, running until it is dropped: a database of its owner's, who is no superuser.
struct Database {
    process: std::process::Child,
    url: String,
}

impl Database {
    fn start(machine: &Machine) -> Self {
        let mut process = machine.command().arg("postgres").stdout(Stdio::piped()).spawn().unwrap();
        let mut url = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut url).unwrap();
        Self { process, url: url.trim().to_owned() }
    }

    fn for_the_api(&self, password: &str) -> String {
        let (_, host) = self.url.split_once('@').unwrap();
        format!("postgres://docbrain_api:{password}@{host}")
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let id = rustix::process::Pid::from_child(&self.process);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        let _ = self.process.wait();
    }
}

/// With a home that cannot be made: the Job's root file system is read-only.
fn migration(machine: &Machine, url: &str, password: &str) -> Command {
    let mut command = machine.command();
    command.arg("migrate").env("DOCBRAIN_HOME", "/proc/nothing/can/be/made/here");
    command.env(env::DATABASE_URL, url).env(env::API_PASSWORD, password);
    command.env(env::ROLE_SECRET, "of no use to a migration, but the Job has it").env(env::LOG_FORMAT, "json");
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clusters_database_is_migrated_without_a_home_and_its_api_logs_in() {
    let Some(machine) = Machine::new() else { return };
    let database = Database::start(&machine);
    for password in [PASSWORD, PASSWORD, "rotatedrotatedrotated1"] {
        let told = stdout(&migration(&machine, &database.url, password).output().unwrap());
        assert_eq!(told, "the database's schema is up to date\n");
        let pool = store::connect(&database.for_the_api(password), 1).await.unwrap();
        schema::check(&pool).await.unwrap();
        pool.close().await;
    }
    assert!(store::connect(&database.for_the_api(PASSWORD), 1).await.is_err(), "the old password still holds");

    for unfit in ["short1", "with a quote ' and spaces", "with/slash/0123456789"] {
        let output = migration(&machine, &database.url, unfit).output().unwrap();
        let told = stderr(&output);
        assert!(!output.status.success());
        assert!(told.contains(env::API_PASSWORD) && told.contains("openssl rand") && !told.contains(unfit), "{told}");
    }
}

#[test]
fn a_database_that_starts_is_awaited_and_one_that_never_does_is_told_of() {
    let Some(machine) = Machine::new() else { return };
    // Initialised, so that the second start has the same address.
    let url = Database::start(&machine).url.clone();
    let began = Instant::now();
    let output = migration(&machine, &url, PASSWORD).args(["--wait", "1"]).output().unwrap();
    assert!(!output.status.success() && began.elapsed() >= Duration::from_secs(1));
    assert!(stderr(&output).contains("cannot reach the database"), "{}", stderr(&output));

    let waiting = migration(&machine, &url, PASSWORD).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(1_500));
    let database = Database::start(&machine);
    assert_eq!(database.url, url);
    stdout(&waiting.wait_with_output().unwrap());
}

#[test]
fn a_password_alone_is_refused() {
    let Some(machine) = Machine::new() else { return };
    let output = machine.command().arg("migrate").env(env::API_PASSWORD, PASSWORD).output().unwrap();
    let told = stderr(&output);
    assert!(!output.status.success() && told.contains(env::DATABASE_URL), "{told}");
}
