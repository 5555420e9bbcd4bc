//! The API against a real database (`DATABASE_URL`, which `make test` provides), with the role it has in production.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod access;
mod accounts;
mod chat;
mod chatbots;
mod documents;
mod drain;
mod harness;
mod openapi;
mod operation;
mod page;
mod problems;
mod program;
mod runs;
mod sources;
mod tenants;
mod tokens;
mod widget;
