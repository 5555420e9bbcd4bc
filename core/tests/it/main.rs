//! The store against a real Postgres (`DATABASE_URL`, which `make test` provides), and telemetry against real receivers.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod boundary;
mod generations;
mod harness;
mod limits;
mod monitoring;
mod provisioning;
mod roles;
mod runs;
mod search;
mod secrets;
mod telemetry;
