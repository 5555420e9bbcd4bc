//! What a person at the terminal sees.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this module is how the program speaks")]

use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// A line on standard output.
pub(crate) fn line(text: &str) {
    println!("{text}");
}

/// A line for people that is not part of the result.
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}

/// A result as JSON.
pub(crate) fn json(value: &impl Serialize) {
    println!("{}", serde_json::to_string_pretty(value).expect("results are JSON"));
}

/// An error with what caused it; what the program ends with.
pub(crate) fn failure(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

/// A bar for long work; silent where nobody watches.
pub(crate) fn progress(unit: &'static str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    let template = format!("{{bar:30}} {{pos}}/{{len}} {unit}  {{msg}}  {{elapsed}}");
    bar.set_style(ProgressStyle::with_template(&template).expect("the template is well formed"));
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}
