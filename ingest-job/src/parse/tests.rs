use super::{Format, ParseError, file_stem, parse};

#[test]
fn the_title_is_the_front_matter_s_then_the_heading_then_the_name() {
    let title = |text: &str| parse("docs/a-page.md", text.as_bytes()).unwrap().title.unwrap();
    assert_eq!(title("---\ntitle: \"Keys: expiry\"\nweight: 2\n---\n\n# Other\n\ntext"), "Keys: expiry");
    assert_eq!(title("---\nweight: 2\n---\nintro\n\n# The `?`\noperator\n"), "The ?");
    assert_eq!(title("## Second\n\n# First of the first level\n"), "First of the first level");
    assert_eq!(title("intro\n\n## A command\n\n### Part\n"), "A command");
    assert_eq!(title("text only"), "a-page");
}

#[test]
fn front_matter_is_not_content_but_a_rule_is() {
    let markdown = |text: &str| parse("a.md", text.as_bytes()).unwrap().markdown;
    assert_eq!(markdown("---\ntitle: A\n---\nbody\n"), "body\n");
    assert_eq!(markdown("---\ntitle: A\ndescription: about A\n---\n"), "# A\n\nabout A\n");
    assert_eq!(markdown("---\nbody\n\n---\nmore\n"), "---\nbody\n\n---\nmore\n");
}

#[test]
fn what_no_reader_sees_goes() {
    let markdown = |text: &str| parse("a.md", text.as_bytes()).unwrap().markdown;
    assert_eq!(markdown("a<!-- b --> c\n\n<!--\nd\n-->\n\n`<!-- e -->`\n"), "a c\n\n\n\n`<!-- e -->`\n");
    assert_eq!(markdown("a\n{{< note >}}\nb <!-- c -->\n{{% /note %}}\n"), "a\nb \n");
    assert_eq!(markdown("a\n\n```rust\n{{#include x.rs:here}}\n```\n\nb\n"), "a\n\n\n\nb\n");
    assert_eq!(markdown("```rust\n{{#include x.rs}}\nfn main() {}\n```\n"), "```rust\nfn main() {}\n```\n");
    assert_eq!(markdown("Write `{{name}}` or {{ name }}.\n"), "Write `{{name}}` or {{ name }}.\n");
}

#[test]
fn a_file_name_without_a_stem_is_its_own_title() {
    assert_eq!(file_stem("a/b\\report.v2.pdf").as_deref(), Some("report.v2"));
    assert_eq!(file_stem(".profile").as_deref(), Some(".profile"));
    assert_eq!(file_stem(""), None);
}

#[test]
fn nothing_but_white_space_is_empty() {
    assert_eq!(parse("a.md", b""), Err(ParseError::Empty));
    assert_eq!(parse("a.txt", b" \n\t\n"), Err(ParseError::Empty));
}

#[test]
fn a_name_that_promises_another_format_is_a_mismatch() {
    let error = parse("scan.pdf", b"\x89PNG\r\n\x1a\n").unwrap_err();
    assert_eq!(error, ParseError::Mismatch { expected: Format::Pdf, found: "a PNG image".to_owned() });
    assert_eq!(parse("a.docx", b"plain words").unwrap_err().code(), "mismatch");
    assert_eq!(parse("a.md", b"%PDF-1.7\n").unwrap_err().code(), "mismatch");
    assert_eq!(parse("photo", b"\xff\xd8\xff\xe0").unwrap_err().code(), "unsupported");
}

#[test]
fn old_encodings_are_recognised() {
    let text = |bytes: &[u8]| parse("a.txt", bytes).unwrap().markdown;
    assert_eq!(text(b"\xef\xbb\xbfcaf\xc3\xa9\r\nnoir\r"), "café\nnoir\n");
    assert_eq!(
        text(b"Le caf\xe9 est ferm\xe9 le dimanche, \xe0 bient\xf4t."),
        "Le café est fermé le dimanche, à bientôt."
    );
    assert_eq!(text(b"\xff\xfeh\x00i\x00"), "hi");
    assert_eq!(text("né à Orléans \u{fffd}".as_bytes()), "né à Orléans \u{fffd}");
    assert_eq!(text(b"n\xc3\xa9 \xc3\xa0 Orl\xc3\xa9ans \xff."), "né à Orléans \u{fffd}.");
}

#[test]
fn a_csv_becomes_one_table() {
    let table = parse("a.csv", b"Name;Price\n\"Nut; large\";1,50\n\nBolt|M4;2\nx;1;2\n").unwrap().markdown;
    assert_eq!(table, "| Name | Price |\n| --- | --- |\n| Nut; large | 1,50 |\n| Bolt\\|M4 | 2 |\n| x | 1 2 |\n");
}

#[test]
fn comments_are_not_content_except_in_code() {
    let markdown = |text: &str| parse("a.md", text.as_bytes()).unwrap().markdown;
    assert_eq!(markdown("a <!-- b --> c\n\n<!-- d\n\n# e -->\nf\n"), "a  c\n\n\nf\n");
    let code = "```html\n<!-- kept -->\n```\n\nand `<!-- kept -->`\n";
    assert_eq!(markdown(code), code);
}
