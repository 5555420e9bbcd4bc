//! The operator: custom resources to namespaces, rows and Jobs.
//!
//! Each kind has one file that tells its reconcile from top to bottom; beside it stand its pure parts.
//!
//! | module | what it is |
//! |---|---|
//! | [`tenant`], [`chatbot`], [`knowledge_source`] | the three reconciles: look, decide, apply, report |
//! | [`conditions`] | verdicts to conditions, and every reason there is |
//! | [`reconcile`] | what the three share: errors, finalizers, statuses, events |
//! | [`controller`] | streams of changes to bounded reconciles, with pauses after failures |
//! | [`secret_watch`] | changes of Secrets that resources name |
//! | [`lease`] | at most one operator writes |
//! | [`program`], [`config`], [`http`], [`metrics`] | around it |
//! | [`definitions`] | writes the definitions of the resources |
//!
//! Invariants: the operator never writes a spec; a status is written only where it changes; a run is a row before it is a
//! Job, and its Job's name follows from its id; a late reconcile never undoes a newer one
//! ([`docbrain_core::store::specs::Origin`]).

pub mod chatbot;
pub mod conditions;
pub mod config;
pub mod context;
pub mod controller;
pub mod definitions;
pub mod http;
pub mod knowledge_source;
pub mod lease;
pub mod metrics;
pub mod program;
pub mod reconcile;
pub mod secret_watch;
pub mod tenant;
