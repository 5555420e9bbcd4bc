use docbrain_crds::WebSource;
use proptest::prelude::*;
use serde_json::json;

use super::*;

fn url(text: &str) -> Url {
    Url::parse(text).unwrap()
}

fn plan(spec: &serde_json::Value) -> Plan {
    let mut spec = spec.clone();
    spec.as_object_mut().unwrap().entry("startUrls").or_insert_with(|| json!(["https://example.com/docs/"]));
    let spec: WebSource = serde_json::from_value(spec).unwrap();
    let mut plan = Plan::new(&spec).unwrap();
    for start in plan.starts().to_vec() {
        plan.add_scope(&start, &start);
    }
    plan
}

#[test]
fn a_page_has_one_spelling() {
    for (spelled, expected) in [
        ("HTTPS://Example.COM:443/docs/../a#part", "https://example.com/a"),
        ("https://example.com", "https://example.com/"),
        ("http://example.com:80/", "http://example.com/"),
        ("http://example.com:8080/", "http://example.com:8080/"),
        ("https://example.com/a?utm_source=x&b=2&UTM_Medium=y&gclid=z", "https://example.com/a?b=2"),
        ("https://example.com/a?utm_source=x", "https://example.com/a"),
        ("https://example.com/a?", "https://example.com/a"),
        ("https://example.com/%7Euser/%c3%a4%2f", "https://example.com/~user/%C3%A4%2F"),
        ("https://example.com/100%", "https://example.com/100%"),
        ("https://example.com/a?q=1&q=2", "https://example.com/a?q=1&q=2"),
    ] {
        assert_eq!(canonical(url(spelled)).as_str(), expected, "{spelled}");
    }
    assert_eq!(address(&url("https://example.com/a?b")), "example.com/a?b");
}

proptest! {
    #[test]
    fn the_one_spelling_is_spelled_as_itself(path in "(/[a-z%0-9~.A-F_-]{0,8}){0,5}", query in "[a-z_=&%0-9]{0,20}") {
        if let Ok(parsed) = Url::parse(&format!("https://example.com{path}?{query}#x")) {
            let once = canonical(parsed);
            prop_assert_eq!(canonical(once.clone()), once.clone());
            prop_assert_eq!(Url::parse(once.as_str()).unwrap(), once);
        }
    }
}

#[test]
fn pages_are_taken_at_or_below_the_folder_of_a_start_url() {
    let plan = plan(&json!({ "startUrls": ["https://example.com/docs/start.html", "http://127.0.0.1:8000/"] }));
    for (address, expected) in [
        ("https://example.com/docs/", true),
        ("https://example.com/docs/a/b", true),
        ("http://example.com/docs/a", true),
        ("https://example.com/docs", false),
        ("https://example.com/docs2/", false),
        ("https://example.com/docs/../x", false),
        ("https://example.com:8443/docs/a", false),
        ("https://www.example.com/docs/a", false),
        ("https://user:secret@example.com/docs/a", false),
        ("https://example.com@evil.example/docs/a", false),
        ("ftp://example.com/docs/a", false),
        ("http://127.0.0.1:8000/x", true),
        ("http://2130706433:8000/x", true),
        ("http://127.0.0.1:8001/x", false),
        ("https://example.com/docs/logo.png", false),
    ] {
        assert_eq!(plan.admits(&url(address)), expected, "{address}");
    }
    assert_eq!(plan.hosts(), [url("https://example.com/"), url("http://127.0.0.1:8000/")]);
}

#[test]
fn a_start_url_that_moves_moves_the_scope() {
    let spec: WebSource = serde_json::from_value(json!({ "startUrls": ["https://example.com/docs"] })).unwrap();
    let mut same_host = Plan::new(&spec).unwrap();
    same_host.add_scope(&url("https://example.com/docs"), &url("https://example.com/docs/"));
    assert!(
        same_host.admits(&url("https://example.com/docs/a")) && !same_host.admits(&url("https://example.com/blog/"))
    );
    let mut other_host = Plan::new(&spec).unwrap();
    other_host.add_scope(&url("https://example.com/"), &url("https://www.example.com/"));
    assert!(other_host.admits(&url("https://example.com/a")) && other_host.admits(&url("https://www.example.com/a")));
}

#[test]
fn patterns_are_of_the_path_as_people_write_it() {
    let plan = plan(&json!({
        "startUrls": ["https://example.com/"],
        "include": ["/docs/**", "/über*"], "exclude": ["/docs/archive/**", "**/*.pdf"]
    }));
    for (address, expected) in [
        ("https://example.com/docs/a", true),
        ("https://example.com/docs/archive/a", false),
        ("https://example.com/docs/a.pdf?x=1", false),
        ("https://example.com/%C3%BCber-uns", true),
        ("https://example.com/blog/", false),
    ] {
        assert_eq!(plan.admits(&url(address)), expected, "{address}");
    }
}

fn walk(frontier: &mut Frontier, links: &[(&str, &[&str])]) -> Vec<String> {
    let mut order = Vec::new();
    while let Some(target) = frontier.next(0) {
        if !frontier.take(1 << 20) {
            break;
        }
        let path = target.url.path().to_owned();
        for link in links.iter().filter(|(from, _)| *from == path).flat_map(|(_, to)| *to) {
            frontier.add_link(&target.url.join(link).unwrap(), target.depth);
        }
        order.push(path);
    }
    order
}

const SITE: [(&str, &[&str]); 4] = [
    ("/docs/", &["a", "b", "a#x", "/blog/", "a?utm_source=docs"]),
    ("/docs/a", &["c", "/docs/"]),
    ("/docs/b", &["d"]),
    ("/docs/c", &["e"]),
];

fn start(spec: &serde_json::Value) -> Frontier {
    let mut frontier = Frontier::new(plan(spec));
    frontier.add_listed(&url("https://example.com/docs/"));
    frontier
}

#[test]
fn the_walk_is_breadth_first_and_comes_to_each_page_once() {
    let mut frontier = start(&json!({}));
    assert_eq!(walk(&mut frontier, &SITE), ["/docs/", "/docs/a", "/docs/b", "/docs/c", "/docs/d", "/docs/e"]);
    assert_eq!(frontier.note(), None);
}

#[test]
fn each_limit_ends_the_walk_and_says_so() {
    assert_eq!(walk(&mut start(&json!({ "maxDepth": 1 })), &SITE), ["/docs/", "/docs/a", "/docs/b"]);
    assert_eq!(walk(&mut start(&json!({ "maxDepth": 0 })), &SITE), ["/docs/"]);
    let mut pages = start(&json!({ "maxPages": 2 }));
    assert_eq!(walk(&mut pages, &SITE), ["/docs/", "/docs/a"]);
    assert_eq!(pages.note().unwrap(), "the limit of 2 pages was reached: 2 addresses were left out");
    let mut bytes = start(&json!({ "maxMegabytes": 3 }));
    assert_eq!(walk(&mut bytes, &SITE), ["/docs/", "/docs/a", "/docs/b"]);
    assert!(bytes.note().unwrap().starts_with("the limit of 3 megabytes was reached"));
    let mut exact = start(&json!({ "maxPages": 6 }));
    assert_eq!(walk(&mut exact, &SITE).len(), 6);
    assert_eq!(exact.note(), None, "nothing was left out");
}

#[test]
fn pages_that_are_asked_for_count_towards_the_limit() {
    let mut frontier = start(&json!({ "maxPages": 2 }));
    for path in ["a", "b", "c"] {
        frontier.add_listed(&url("https://example.com/docs/").join(path).unwrap());
    }
    assert!(frontier.next(0).is_some() && frontier.next(1).is_some());
    assert!(frontier.next(2).is_none());
    assert!(frontier.take(1));
    assert!(frontier.next(0).is_some(), "the second one was no page");
}

#[test]
fn links_to_pages_that_are_none_have_an_end() {
    let mut frontier = start(&json!({ "maxPages": 10 }));
    for number in 0..1_000 {
        frontier.add_listed(&url(&format!("https://example.com/docs/{number}")));
    }
    let asked = std::iter::from_fn(|| frontier.next(0)).count();
    assert_eq!(asked, 130);
    assert_eq!(frontier.note().unwrap(), "of 130 addresses only 0 were pages: 871 addresses were left out");
}
