//! A file's name to a path within a knowledge source.

use crate::problem::{Problem, ProblemKind};

/// Longest path in characters.
const LONGEST_PATH: usize = 512;

/// The path as it is stored. Refused is whatever leads out of the knowledge source or cannot be shown.
pub(super) fn checked(file_name: &str) -> Result<String, Problem> {
    let path = file_name.strip_prefix("./").unwrap_or(file_name).replace('\\', "/");
    let wrong = if path.is_empty() {
        "is empty"
    } else if path.chars().count() > LONGEST_PATH {
        "is longer than 512 characters"
    } else if path.chars().any(char::is_control) {
        "holds a control character"
    } else if path.starts_with('/') || path.get(1..3) == Some(":/") {
        "is absolute"
    } else if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        "holds an empty, `.` or `..` part"
    } else {
        return Ok(path);
    };
    let shown: String = file_name.chars().take(80).collect();
    Err(Problem::new(
        ProblemKind::InvalidPath,
        format!("the file name {shown:?} {wrong}; use a relative path such as `guide/install.md`"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_within_the_source_pass() {
        for (given, stored) in [
            ("a.md", "a.md"),
            ("./guide/a b.md", "guide/a b.md"),
            ("guide\\a.md", "guide/a.md"),
            ("ü/…/x.pdf", "ü/…/x.pdf"),
            ("..a/b..", "..a/b.."),
        ] {
            assert_eq!(checked(given).unwrap(), stored);
        }
    }

    #[test]
    fn others_are_refused_with_their_name() {
        let long = "x".repeat(513);
        for given in [
            "",
            "/etc/passwd",
            "../a",
            "a/../../b",
            "a//b",
            "a/.",
            "C:\\a.md",
            "a\nb",
            "a\0b",
            "..",
            "\\\\host\\a",
            long.as_str(),
        ] {
            assert_eq!(checked(given).unwrap_err().kind, ProblemKind::InvalidPath, "{given:?}");
        }
    }
}
