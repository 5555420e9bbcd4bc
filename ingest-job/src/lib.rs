//! One ingestion run: fetch, parse, split, embed, store.
//!
//! - [`pipeline`]: the run as a whole, and why it may be killed at any instruction
//! - [`fetch`]: the documents of a web site or a git repository, brought in line with it
//! - [`index`]: one document's bytes to chunks with vectors and weights
//! - [`parse`]: bytes to Markdown; pure
//! - [`sandbox`]: the same in a confined child process, for everything that comes from outside
//! - [`split`]: Markdown to chunks; pure
//! - [`config`]: what the environment says

pub mod config;
pub mod fetch;
pub mod index;
pub mod parse;
pub mod pipeline;
pub mod sandbox;
pub mod split;
