//! A home folder of its own that borrows the prepared tools, and the program run in it.

use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};

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

    pub(crate) fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.home.path().join(path);
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
