//! Budgets against measurements, and the block in the Markdown page that shows them.

use std::fmt::{self, Write};
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::machine::Machine;

/// One line of the table of budgets.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    what: String,
    budget: Budget,
    measured: Option<f64>,
    /// Said behind the number, such as a spread or what limits it.
    note: String,
}

/// A limit in the unit it is followed by.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Budget {
    AtLeast(f64, &'static str),
    AtMost(f64, &'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Met,
    Missed,
    NotMeasured,
}

impl Row {
    pub(crate) fn measured(what: impl Into<String>, budget: Budget, value: f64, note: impl Into<String>) -> Self {
        Self { what: what.into(), budget, measured: Some(value), note: note.into() }
    }

    pub(crate) fn not_measured(what: impl Into<String>, budget: Budget, reason: impl Into<String>) -> Self {
        Self { what: what.into(), budget, measured: None, note: reason.into() }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let met = |value| match self.budget {
            Budget::AtLeast(limit, _) => value >= limit,
            Budget::AtMost(limit, _) => value <= limit,
        };
        self.measured.map_or(Verdict::NotMeasured, |value| if met(value) { Verdict::Met } else { Verdict::Missed })
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtLeast(limit, unit) => write!(f, "≥ {} {unit}", number(*limit)),
            Self::AtMost(limit, unit) => write!(f, "≤ {} {unit}", number(*limit)),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Met => "met",
            Self::Missed => "**missed**",
            Self::NotMeasured => "not measured",
        })
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, budget, measured, note } = self;
        let unit = match budget {
            Budget::AtLeast(_, unit) | Budget::AtMost(_, unit) => unit,
        };
        let value = measured.map(|value| format!("{} {unit}", number(value)));
        let cell =
            [value, (!note.is_empty()).then(|| note.clone())].into_iter().flatten().collect::<Vec<_>>().join("; ");
        write!(f, "| {what} | {budget} | {cell} | {} |", self.verdict())
    }
}

/// Three significant digits, and thousands in groups.
pub(crate) fn number(value: f64) -> String {
    if value.abs() < 1000.0 {
        let decimals =
            if value.abs() < 1.0 { 3 } else { usize::from(value.abs() < 100.0) + usize::from(value.abs() < 10.0) };
        let text = format!("{value:.decimals$}");
        return if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text };
    }
    let digits = format!("{value:.0}");
    let (sign, digits) = digits.strip_prefix('-').map_or(("", digits.as_str()), |digits| ("-", digits));
    let mut grouped = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A further table: what was measured beside the budgets.
pub(crate) struct Table {
    pub(crate) title: &'static str,
    pub(crate) columns: &'static [&'static str],
    pub(crate) rows: Vec<Vec<String>>,
}

/// Everything one run found.
pub(crate) struct Report {
    /// Line by line: machine, command, date, and what a reader has to know.
    pub(crate) conditions: Vec<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) tables: Vec<Table>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.conditions {
            writeln!(f, "- {condition}")?;
        }
        writeln!(f, "\n| what | budget | measured | verdict |\n|---|---|---|---|")?;
        for row in &self.rows {
            writeln!(f, "{row}")?;
        }
        for Table { title, columns, rows } in &self.tables {
            writeln!(f, "\n{title}\n\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()))?;
            for row in rows {
                writeln!(f, "| {} |", row.join(" | "))?;
            }
        }
        Ok(())
    }
}

/// What the numbers of a run hold for: machine, command and date.
pub(crate) fn conditions(machine: &Machine) -> Vec<String> {
    vec![
        format!("Machine: {machine}"),
        format!("Command: `{}`", command_line()),
        format!("Date: {}, commit {}", chrono::Utc::now().format("%Y-%m-%d %H:%M UTC"), commit()),
    ]
}

/// The command without the folders of this machine.
fn command_line() -> String {
    let last_part = |word: &String| Path::new(word).file_name().map(|name| name.to_string_lossy().into_owned());
    let outside = |word: &str| word.starts_with('/') || word.starts_with("..");
    let mut words: Vec<String> = std::env::args().collect();
    for (at, word) in words.iter_mut().enumerate() {
        if at == 0 || outside(word) {
            *word = last_part(word).unwrap_or_default();
        }
    }
    words.join(" ")
}

/// The checkout's short commit id, with a mark when files differ from it.
fn commit() -> String {
    let described = Command::new("git").args(["describe", "--always", "--dirty", "--exclude=*"]).output();
    described
        .ok()
        .filter(|output| output.status.success())
        .map_or_else(|| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Puts `content` between the markers named `name` of a page and leaves the rest as it is; a missing page or block is made.
pub(crate) fn write_block(page: &Path, name: &str, content: &str) -> anyhow::Result<()> {
    let old = match fs::read_to_string(page) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => "# Benchmarks\n".to_owned(),
        Err(error) => return Err(error).with_context(|| format!("failed to read {}", page.display())),
    };
    let new = replace_block(&old, name, content).with_context(|| format!("failed to update {}", page.display()))?;
    if let Some(folder) = page.parent() {
        fs::create_dir_all(folder).with_context(|| format!("failed to make the folder {}", folder.display()))?;
    }
    fs::write(page, new).with_context(|| format!("failed to write {}", page.display()))
}

fn replace_block(page: &str, name: &str, content: &str) -> anyhow::Result<String> {
    let (begin, end) = (format!("<!-- {name}:begin -->"), format!("<!-- {name}:end -->"));
    let block = format!("{begin}\n{}\n{end}", content.trim_end());
    match (page.find(&begin), page.find(&end)) {
        (None, None) => {
            let mut page = page.trim_end().to_owned();
            let gap = if page.is_empty() { "" } else { "\n\n" };
            // Writing into a string cannot fail.
            let _ = writeln!(page, "{gap}{block}");
            Ok(page)
        }
        (Some(from), Some(to)) if from < to => Ok(format!("{}{block}{}", &page[..from], &page[to + end.len()..])),
        _ => bail!("the markers {begin} and {end} must both be there, in this order; put them right by hand"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_text_between_the_markers_changes() {
        let page = "# Page\nbefore\n<!-- bench:begin -->\nold\n<!-- bench:end -->\nafter\n<!-- eval:begin -->kept<!-- eval:end -->\n";
        let new = replace_block(page, "bench", "new\n\n").unwrap();
        assert_eq!(new, page.replace("\nold\n", "\nnew\n"));
        assert_eq!(replace_block(&new, "bench", "new").unwrap(), new, "a second time changes nothing");
    }

    #[test]
    fn missing_markers_are_added_at_the_end_and_half_ones_refused() {
        let new = replace_block("# Page\n", "bench", "text").unwrap();
        assert_eq!(new, "# Page\n\n<!-- bench:begin -->\ntext\n<!-- bench:end -->\n");
        for broken in ["<!-- bench:begin -->", "<!-- bench:end --><!-- bench:begin -->"] {
            assert!(replace_block(broken, "bench", "text").is_err(), "{broken}");
        }
    }

    #[test]
    fn a_page_is_made_with_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let page = folder.path().join("docs/benchmarks.md");
        write_block(&page, "bench", "text").unwrap();
        assert_eq!(
            fs::read_to_string(&page).unwrap(),
            "# Benchmarks\n\n<!-- bench:begin -->\ntext\n<!-- bench:end -->\n"
        );
    }

    #[test]
    fn verdicts_follow_the_budget() {
        let rate = |value| Row::measured("chat", Budget::AtLeast(500.0, "req/s"), value, "").verdict();
        assert_eq!((rate(500.0), rate(499.9)), (Verdict::Met, Verdict::Missed));
        let time = |value| Row::measured("chat", Budget::AtMost(5.0, "ms"), value, "").verdict();
        assert_eq!((time(5.0), time(5.1), time(f64::NAN)), (Verdict::Met, Verdict::Missed, Verdict::Missed));
        let open = Row::not_measured("sql", Budget::AtMost(1.3, "×"), "needs eval");
        assert_eq!(open.to_string(), "| sql | ≤ 1.3 × | needs eval | not measured |");
    }

    #[test]
    fn numbers_show_three_digits() {
        let shown = [0.0, 0.4567, 4.567, 45.67, 456.7, 2000.4, 1_234_567.0, -1234.0].map(number);
        assert_eq!(shown, ["0", "0.457", "4.57", "45.7", "457", "2,000", "1,234,567", "-1,234"]);
    }
}
