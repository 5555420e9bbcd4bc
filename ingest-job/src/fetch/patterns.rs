//! Which paths a source takes, by glob patterns: `*` within a folder, `**` over folders.

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use super::Misfortune;

/// What is taken and what is left out.
#[derive(Clone, Debug)]
pub(crate) struct Patterns {
    include: Option<GlobSet>,
    exclude: GlobSet,
}

impl Patterns {
    /// Reads the patterns of a spec, whose fields are `include` and `exclude`.
    pub(crate) fn new(include: &[String], exclude: &[String]) -> Result<Self, Misfortune> {
        Ok(Self {
            include: if include.is_empty() { None } else { Some(set("include", include)?) },
            exclude: set("exclude", exclude)?,
        })
    }

    /// Whether a path is to be left alone altogether.
    pub(crate) fn excludes(&self, path: &str) -> bool {
        self.exclude.is_match(path)
    }

    /// Whether a path that is not excluded is taken; `None`: no pattern says so.
    pub(crate) fn includes(&self, path: &str) -> Option<bool> {
        self.include.as_ref().map(|include| include.is_match(path))
    }
}

fn set(field: &str, patterns: &[String]) -> Result<GlobSet, Misfortune> {
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(
            glob(pattern).map_err(|error| {
                Misfortune::lasting(format!("{pattern:?} in {field} is no pattern: {}", error.kind()))
            })?,
        );
    }
    set.build()
        .map_err(|error| Misfortune::lasting(format!("the patterns in {field} are too many or too long: {error}")))
}

fn glob(pattern: &str) -> Result<Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(include: &[&str], exclude: &[&str]) -> Patterns {
        let owned = |patterns: &[&str]| patterns.iter().map(|&pattern| pattern.to_owned()).collect::<Vec<_>>();
        Patterns::new(&owned(include), &owned(exclude)).unwrap()
    }

    #[test]
    fn a_star_stays_in_its_folder() {
        let patterns = patterns(&["docs/*.md", "guide/**"], &["**/draft-*", "guide/old/**"]);
        for (path, excluded, included) in [
            ("docs/a.md", false, true),
            ("docs/deep/a.md", false, false),
            ("docs/a.txt", false, false),
            ("guide/a.html", false, true),
            ("guide/b/c/d", false, true),
            ("guide/old/x", true, true),
            ("guide/draft-1", true, true),
        ] {
            assert_eq!((patterns.excludes(path), patterns.includes(path)), (excluded, Some(included)), "{path}");
        }
    }

    #[test]
    fn without_patterns_nothing_is_said() {
        let patterns = patterns(&[], &[]);
        assert_eq!((patterns.excludes("a"), patterns.includes("a")), (false, None));
    }

    #[test]
    fn a_bad_pattern_is_named() {
        let error = Patterns::new(&["docs/[a".to_owned()], &[]).unwrap_err();
        assert!(error.is_lasting && error.reason.starts_with("\"docs/[a\" in include is no pattern"), "{error}");
    }
}
