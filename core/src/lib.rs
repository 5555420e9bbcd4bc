//! The domain of DocBrain: what every service shares.
//!
//! | module | what it holds |
//! |---|---|
//! | [`answer`] | passages and a question in, a cited answer out |
//! | [`chat`] | the one client for OpenAI-compatible chat models |
//! | [`config`] | keys as the environment lists them |
//! | [`embed`] | text to vectors: the built-in model or an OpenAI-compatible endpoint |
//! | [`mod@env`] | every environment variable, named once |
//! | [`fetch`] | reaching addresses that a tenant chose, and no others |
//! | [`ids`] | typed identifiers |
//! | [`keyring`] | the keys that secrets at rest are encrypted with |
//! | [`lexical`] | text to weighted terms: the BM25 arm's analysis |
//! | [`limits`] | how often and how much, counted for all processes together |
//! | [`openai`] | connecting, retrying and failing: shared by the clients of model servers |
//! | [`models`] | which models an installation uses |
//! | [`providers`] | which models a tenant uses |
//! | [`provision`] | a custom resource's spec to rows in Postgres |
//! | [`retrieve`] | a question to ranked passages |
//! | [`schedule`] | when a knowledge source is fetched again |
//! | [`signals`] | when a process is asked to end |
//! | [`store`] | all SQL |
//! | [`superuser`] | who may act for the installation |
//! | [`telemetry`] | logs and metrics |
//!
//! Invariants: this crate knows neither axum nor a Kubernetes client; SQL stands only in [`store`];
//! prompt building, text analysis and score fusion do no IO.
#![warn(missing_docs)]

pub mod answer;
pub mod chat;
pub mod config;
pub mod embed;
pub mod env;
pub mod fetch;
pub mod ids;
pub mod keyring;
pub mod lexical;
pub mod limits;
pub mod models;
pub mod openai;
pub mod providers;
pub mod provision;
pub mod retrieve;
pub mod schedule;
pub mod signals;
pub mod store;
pub mod superuser;
pub mod telemetry;
