//! The operator's program against a real API server (`tools/cluster`) and a real database (`DATABASE_URL`, which
//! `make test` provides).

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "counts of some thousands"
)]
#![expect(clippy::float_cmp, reason = "metrics count whole things")]
#![expect(
    clippy::default_trait_access,
    clippy::duration_suboptimal_units,
    clippy::single_match_else,
    reason = "it reads well as it is"
)]
#![expect(clippy::type_complexity, reason = "a static of one function")]
#![expect(clippy::zombie_processes, reason = "the warden outlives the tests, and ends after them")]
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
mod superuser;
