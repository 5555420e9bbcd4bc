//! Clients that are programs of their own: the official ones of other people, out of `tools/clients.sh`.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::harness::{TOKEN, World};

/// A program of the folder `DOCBRAIN_CLIENTS`, which `make test` sets.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("DOCBRAIN_CLIENTS") else {
        println!("SKIPPED: no real client was run, for DOCBRAIN_CLIENTS is not set; `make clients` installs them");
        return None;
    };
    Some(Path::new(&folder).join(name))
}

/// Runs a script of `tests/clients` as the admin of `acme`.
pub(crate) async fn run(script: &str, world: &World) {
    let Some(python) = program("python") else { return };
    let mut command = Command::new(python);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(script)).envs([
        ("DOCBRAIN_URL", world.serve().await.as_str()),
        ("DOCBRAIN_TOKEN", TOKEN),
        ("DOCBRAIN_TENANT", "acme"),
    ]);
    succeed(command, world).await;
}

/// Runs a program to its end, which must be a good one; then the API is served no longer.
pub(crate) async fn succeed(mut command: Command, world: &World) {
    let output = command.kill_on_drop(true).output().await.unwrap();
    let (said, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("{said}");
    assert!(output.status.success(), "{command:?}\n{complained}");
    world.api.close().await;
}
