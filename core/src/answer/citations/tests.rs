use proptest::prelude::*;

use super::super::tests::passage;
use super::*;

/// Passages 1 and 3 stand in one section, 2 in another document.
fn passages() -> Vec<Passage> {
    let first = passage("EXPIRE", &["Options"], "text");
    let second = passage("DEL", &[], "text");
    let third = Passage { chunk_id: crate::ids::ChunkId::new(), ..first.clone() };
    vec![first, second, third]
}

fn rewritten(pieces: &[&str]) -> (String, Vec<usize>) {
    let mut rewriter = CitationRewriter::new(&passages());
    let mut shown: String = pieces.iter().map(|piece| rewriter.push(piece)).collect();
    let (rest, text, cited) = rewriter.finish();
    shown.push_str(&rest);
    assert_eq!(shown, text, "what was shown is the text");
    (text, cited.into_iter().map(|cited| cited.passage).collect())
}

fn text(said: &str) -> String {
    rewritten(&[said]).0
}

#[test]
fn numbers_go_by_first_use_and_sections_count_once() {
    assert_eq!(rewritten(&["A [2]. B [1]. C [3][2]."]), ("A [1]. B [2]. C [2][1].".into(), vec![1, 0]));
    assert_eq!(rewritten(&["A [3][1]."]), ("A [1].".into(), vec![2]));
    assert_eq!(text("A [1], [2] and [3]."), "A [1], [2] and [1].");
}

#[test]
fn every_way_to_write_a_citation() {
    for said in [
        "A [1, 2].",
        "A [1,2].",
        "A [1; 2].",
        "A [1-2].",
        "A [1–3].",
        "A [^1][^2].",
        "A ［１］［２］.",
        "A 【1】【2】.",
        "A 【1†source】【2:0†source】.",
        "A [Passage 1, 2].",
        "A [source 1][2].",
        "A [#1] [2].",
        "A [1 & 2].",
    ] {
        let text = text(said);
        assert!(["A [1][2].", "A [1] [2]."].contains(&text.as_str()), "{said} became {text}");
    }
}

#[test]
fn numbers_that_are_no_passages_disappear_with_their_space() {
    assert_eq!(text("A [99]. B [0] c [4,1] d[7] [8]."), "A. B c [1] d.");
    assert_eq!(text("A [99999999999999999999]."), "A.");
    assert_eq!(text("[9] A [9]"), "A");
    assert_eq!(text("A [1][9]\nB [9] [1]"), "A [1]\nB [1]");
    assert_eq!(text("- [9]\n- B [2]"), "-\n- B [1]");
}

#[test]
fn code_is_no_citation() {
    for said in [
        "Use `array[1]` and ``a ` b[9]``.",
        "```rust\nlet x = a[99];\n```",
        "1. Do:\n   ~~~\n   a[9] `\n   ~~~",
        "> ```\n> x[9]\n> ```",
        "````\n```\na[9]\n```\n````",
    ] {
        assert_eq!(text(said), said);
    }
    assert_eq!(text("`a[9]` [9] ```b[9]``` [2]"), "`a[9]` ```b[9]``` [1]");
    assert_eq!(text("A lone ` tick\n\nends with the paragraph [9]."), "A lone ` tick\n\nends with the paragraph.");
}

#[test]
fn other_brackets_stay() {
    for said in ["[a link](http://x) and [x] and [ ] and []", "an [open", "a \\[9\\] b", "[see 1a]", "[[x]]", "a ] b"] {
        assert_eq!(text(said), said);
    }
}

#[test]
fn a_citation_never_becomes_a_link() {
    assert_eq!(text("A [1](http://evil.example)."), "A [1] (http://evil.example).");
    assert_eq!(text("A [9](http://evil.example)."), "A (http://evil.example).");
    assert_eq!(text("A [1].\n\n[1]: http://evil.example"), "A [1].\n\n[1] : http://evil.example");
    assert_eq!(text("As in [1]: yes"), "As in [1]: yes");
}

#[test]
fn white_space_around_the_text_goes() {
    assert_eq!(text("\n\n A  b \n\nc [1] \n"), "A  b \n\nc [1]");
    assert_eq!(without_markers("Use `a[1]` [1], [2][3]."), "Use `a[1]`,.");
}

proptest! {
    #[test]
    fn cutting_the_text_changes_nothing(
        parts in prop::collection::vec(
            "[a-c \\n.,:()\\\\\\[\\]`~>-]{0,4}|\\[[0-4]{1,2}\\]|\\[1, ?[0-9]\\]|```|【2】|［３］| \\[9\\]|é",
            0..16,
        ),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
    ) {
        let whole = parts.concat();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| whole.floor_char_boundary(cut.index(whole.len() + 1))).collect();
        ends.extend([0, whole.len()]);
        ends.sort_unstable();
        let pieces: Vec<&str> = ends.windows(2).map(|ends| &whole[ends[0]..ends[1]]).collect();
        let expected = rewritten(&[&whole]);
        prop_assert_eq!(&rewritten(&pieces), &expected);
        let letters: Vec<String> = whole.chars().map(String::from).collect();
        let letters: Vec<&str> = letters.iter().map(String::as_str).collect();
        prop_assert_eq!(&rewritten(&letters), &expected);
    }

    #[test]
    fn only_known_sources_are_ever_cited(numbers in prop::collection::vec(0_u32..200, 0..12)) {
        let said = numbers.iter().map(|n| format!("word [{n}]")).collect::<Vec<_>>().join(" ");
        let (text, cited) = rewritten(&[&said]);
        prop_assert!(cited.len() <= 2);
        let shown: Vec<usize> = text.split('[').skip(1).map(|rest| rest.split(']').next().unwrap().parse().unwrap()).collect();
        prop_assert!(shown.iter().all(|n| (1..=cited.len()).contains(n)));
        let valid = numbers.iter().filter(|n| (1..=3).contains(*n)).count();
        prop_assert_eq!(shown.len(), valid);
    }
}

#[test]
fn places_are_those_of_citations_alone() {
    let text = "Ä [1], `a[2]` and [3][12]. \\[4] [x] [5\n```\n[6]\n```\n[7]";
    let found: Vec<(u32, String)> = citation_places(text)
        .into_iter()
        .map(|(number, place)| (number, text.chars().skip(place.start).take(place.len()).collect()))
        .collect();
    let expected = [1, 3, 12, 7].map(|number| (number, format!("[{number}]")));
    assert_eq!(found, expected);
}
