//! The API against a real database, with the role it has in production.

mod access;
mod chat;
mod documents;
mod harness;
mod openapi;
mod operation;
mod page;
mod problems;
mod runs;
