//! The operator's program against a real API server (`tools/cluster`) and a real database (`DATABASE_URL`, which
//! `make test` provides).
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and skips with a line")]

mod access;
mod apply;
mod changes;
mod conditions;
mod deletion;
mod faults;
mod harness;
mod hostile;
mod runs;
mod scale;
