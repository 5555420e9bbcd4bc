//! The built product as its users meet it: the real programs, the embedded database, the built-in model.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![expect(clippy::print_stdout, reason = "a skipped test says so")]

mod accounts;
mod business;
mod documentation;
mod harness;
mod keys;
mod logs;
mod manifests;
mod migrate;
mod product;
mod sources;
