//! Everything that needs the built program.

mod hostile;

use std::path::PathBuf;

use docbrain_ingest::sandbox::{Limits, Sandbox};

/// A sandbox around the program under test.
fn sandbox(limits: Limits) -> Sandbox {
    Sandbox::new(PathBuf::from(env!("CARGO_BIN_EXE_docbrain-ingest")), limits)
}
