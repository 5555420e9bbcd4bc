//! The files of a commit, as `git ls-tree -r -z` lists them, and which of them are documents: pure.

use crate::fetch::media;
use crate::fetch::patterns::Patterns;
use crate::parse::Format;

/// A file of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) path: String,
    pub(crate) object: String,
}

/// Reads a listing. Only files: a symbolic link is not followed, a submodule is another repository. A name that is no text
/// cannot be a document's path.
pub(crate) fn files(listing: &[u8]) -> Vec<File> {
    listing.split(|&byte| byte == 0).filter_map(file).collect()
}

fn file(entry: &[u8]) -> Option<File> {
    let tab = entry.iter().position(|&byte| byte == b'\t')?;
    let mut words = std::str::from_utf8(&entry[..tab]).ok()?.split_ascii_whitespace();
    let (mode, kind, object) = (words.next()?, words.next()?, words.next()?);
    let path = std::str::from_utf8(&entry[tab + 1..]).ok()?;
    let is_file = matches!(mode, "100644" | "100755" | "100664") && kind == "blob";
    let is_object = matches!(object.len(), 40 | 64) && object.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_path = !path.is_empty() && path.len() <= 1_000 && !path.contains(char::is_control);
    (is_file && is_object && is_path).then(|| File { path: path.to_owned(), object: object.to_owned() })
}

/// Whether a file is one of the source's documents: by its patterns, else if it is of a format that is read.
pub(crate) fn is_document(path: &str, patterns: &Patterns) -> bool {
    let readable = || Format::from_extension(path.rsplit('/').next().unwrap_or(path)).is_some();
    !patterns.excludes(path)
        && patterns.includes(path).map_or_else(readable, |included| included && !media::is_no_document(path))
}

/// What `git cat-file --batch` says of an object: its size; `None`: it is not there, or no file.
pub(crate) fn size(line: &str, object: &str) -> Option<u64> {
    let mut words = line.split_ascii_whitespace();
    (words.next() == Some(object) && words.next() == Some("blob")).then(|| words.next()?.parse().ok())?
}

/// Whether a file only says where Git LFS keeps the real one.
pub(crate) fn is_lfs_pointer(bytes: &[u8]) -> bool {
    bytes.len() < 1_024 && bytes.starts_with(b"version https://git-lfs.github.com/spec/")
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: &str = "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";

    fn listing(entries: &[(&str, &str, &[u8])]) -> Vec<u8> {
        let mut listing = Vec::new();
        for (mode, kind, path) in entries {
            listing.extend(format!("{mode} {kind} {OBJECT}\t").bytes());
            listing.extend(*path);
            listing.push(0);
        }
        listing
    }

    #[test]
    fn only_files_are_listed() {
        let found = files(&listing(&[
            ("100644", "blob", b"docs/a b.md"),
            ("100755", "blob", b"run.txt"),
            ("120000", "blob", b"passwd.txt"),
            ("160000", "commit", b"vendor.md"),
            ("100644", "blob", b"\xff\xfe.md"),
            ("100644", "blob", b"tab\there.md"),
            ("100644", "blob", b"new\nline.md"),
            ("100644", "blob", b""),
        ]));
        let paths: Vec<&str> = found.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["docs/a b.md", "run.txt"]);
        assert_eq!(found[0].object, OBJECT);
    }

    #[test]
    fn documents_are_what_is_read_or_what_patterns_say() {
        let patterns = |include: &[&str], exclude: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
            Patterns::new(&owned(include), &owned(exclude)).unwrap()
        };
        let all = patterns(&[], &["**/CHANGELOG.md"]);
        let docs = patterns(&["docs/**"], &[]);
        for (path, by_default, by_pattern) in [
            ("README.md", true, false),
            ("docs/a.rst", true, true),
            ("docs/LICENSE", false, true),
            ("docs/logo.png", false, false),
            ("src/main.rs", false, false),
            ("x/CHANGELOG.md", false, false),
        ] {
            assert_eq!((is_document(path, &all), is_document(path, &docs)), (by_default, by_pattern), "{path}");
        }
    }

    #[test]
    fn sizes_are_read_and_what_is_missing_has_none() {
        assert_eq!(size(&format!("{OBJECT} blob 12"), OBJECT), Some(12));
        for line in [format!("{OBJECT} missing"), format!("{OBJECT} tree 12"), "x blob 12".into(), String::new()] {
            assert_eq!(size(&line, OBJECT), None, "{line}");
        }
        assert!(is_lfs_pointer(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n"));
        assert!(!is_lfs_pointer(b"# Git LFS"));
    }

    proptest::proptest! {
        #[test]
        fn any_listing_is_read(listing: Vec<u8>) {
            for file in files(&listing) {
                proptest::prop_assert!(!file.path.contains(char::is_control));
            }
        }
    }
}
