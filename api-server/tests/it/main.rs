//! The API against a real database (`DATABASE_URL`, which `make test` provides), with the role it has in production.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails by panicking and skips with a line")]

mod access;
mod accounts;
mod chat;
mod chatbots;
mod clients;
mod cluster;
mod control_plane;
mod conversations;
mod documents;
mod drain;
mod export;
mod fuzz;
mod harness;
mod limits;
mod mcp;
mod oidc;
mod openai;
mod openapi;
mod operation;
mod own_models;
mod page;
mod problems;
mod program;
mod providers;
mod runs;
mod sources;
mod stats;
mod tenants;
mod tokens;
mod upkeep;
mod widget;
