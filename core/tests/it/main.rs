//! The store against a real Postgres (`DATABASE_URL`, which `make test` provides).

mod boundary;
mod generations;
mod harness;
mod provisioning;
mod runs;
mod search;
