//! The page about conditions.

use crate::harness::root;

#[test]
fn every_reason_has_its_remedy_in_the_page() {
    let source = std::fs::read_to_string(root().join("operator/src/conditions.rs")).unwrap();
    let reasons = source.split("pub mod reason {").nth(1).unwrap().split("\n}").next().unwrap();
    let reasons: Vec<&str> = reasons.lines().filter_map(|line| line.trim().strip_prefix("pub const ")).collect();
    assert!(reasons.len() > 20, "{reasons:?}");
    let page = std::fs::read_to_string(root().join("docs/guides/conditions.md")).unwrap();
    let section = page.split("## Reasons and remedies").nth(1).unwrap().split("\n## ").next().unwrap();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    for constant in &reasons {
        let word = constant.split('"').nth(1).unwrap();
        let row = rows.iter().find(|row| row.starts_with(&format!("| `{word}` |"))).unwrap_or_else(|| panic!("{word}"));
        assert_eq!(row.matches('|').count(), 5, "{row}");
    }
    // And the page tells of none that there is not.
    let told = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    for word in told {
        let constant = reasons.iter().find(|constant| constant.contains(&format!("\"{word}\"")));
        let name = constant.unwrap_or_else(|| panic!("{word} is no reason")).split(':').next().unwrap();
        assert!(is_given(name), "{word} is never given");
    }
}

/// Whether the operator's source names a reason outside of its list.
fn is_given(constant: &str) -> bool {
    fn any(folder: &std::path::Path, wanted: &str) -> bool {
        std::fs::read_dir(folder).unwrap().map(Result::unwrap).any(|entry| {
            let path = entry.path();
            if path.is_dir() { any(&path, wanted) } else { std::fs::read_to_string(path).unwrap().contains(wanted) }
        })
    }
    any(&root().join("operator/src"), &format!("reason::{constant}"))
}
