use wiremock::matchers::{any, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::*;

fn url(text: &str) -> Url {
    text.parse().unwrap()
}

fn allowing(networks: &[&str]) -> AddressPolicy {
    AddressPolicy::public_only().allowing(networks.iter().map(|network| network.parse().unwrap()).collect())
}

/// What a guarded program does: check, then ask.
async fn get(policy: &AddressPolicy, address: &str) -> Result<String, Refusal> {
    policy.check(&url(address))?;
    let response = client(policy, MOST_REDIRECTS).build().unwrap().get(address).send().await;
    match response {
        Ok(response) => Ok(response.text().await.unwrap()),
        Err(error) => Err(behind::<Refusal>(&error).unwrap_or_else(|| panic!("{error:?}")).clone()),
    }
}

#[test]
fn hostile_urls_are_refused_in_every_spelling() {
    for (address, expected) in [
        ("file:///etc/passwd", "only http and https"),
        ("ftp://example.com/", "only http and https"),
        ("gopher://example.com/", "only http and https"),
        ("https://user:password@example.com/", "user name"),
        ("https://user@example.com/", "user name"),
        ("https://example.com@169.254.169.254/", "user name"),
        ("http://127.0.0.1/", "127.0.0.1 is not a public address"),
        ("http://127.1/", "127.0.0.1"),
        ("http://2130706433/", "127.0.0.1"),
        ("http://0x7f000001/", "127.0.0.1"),
        ("http://0x7f.1/", "127.0.0.1"),
        ("http://0177.0.0.1/", "127.0.0.1"),
        ("http://127.0.0.1./", "127.0.0.1"),
        ("http://１２７.０.０.１/", "127.0.0.1"),
        ("http://①②⑦.0.0.1/", "127.0.0.1"),
        ("http://0/", "0.0.0.0"),
        ("http://10.1.2.3/", "10.1.2.3"),
        ("http://172.31.255.1/", "172.31.255.1"),
        ("http://192.168.0.1:11434/v1", "192.168.0.1"),
        ("http://100.64.0.1/", "100.64.0.1"),
        ("http://100.100.100.200/latest/meta-data/", "100.100.100.200"),
        ("http://169.254.169.254/latest/meta-data/", "169.254.169.254"),
        ("http://168.63.129.16/", "168.63.129.16"),
        ("http://192.0.0.192/", "192.0.0.192"),
        ("http://198.18.0.1/", "198.18.0.1"),
        ("http://203.0.113.9/", "203.0.113.9"),
        ("http://224.0.0.1/", "224.0.0.1"),
        ("http://255.255.255.255/", "255.255.255.255"),
        ("http://[::]/", "::"),
        ("http://[::1]/", "::1"),
        ("http://[::ffff:127.0.0.1]/", "::ffff:127.0.0.1"),
        ("http://[::ffff:a00:1]/", "::ffff:10.0.0.1"),
        ("http://[::127.0.0.1]/", "is not a public address"),
        ("http://[64:ff9b::a9fe:a9fe]/", "64:ff9b::a9fe:a9fe"),
        ("http://[64:ff9b:1::1]/", "64:ff9b:1::1"),
        ("http://[2002:7f00:1::]/", "2002:7f00:1::"),
        ("http://[2001:0:4136:e378::]/", "2001:0:4136:e378::"),
        ("http://[2001:db8::1]/", "2001:db8::1"),
        ("http://[fe80::1]/", "fe80::1"),
        ("http://[fec0::1]/", "fec0::1"),
        ("http://[fd00:ec2::254]/", "fd00:ec2::254"),
        ("http://[ff02::1]/", "ff02::1"),
    ] {
        let refusal = AddressPolicy::public_only().check(&url(address)).expect_err(address).to_string();
        assert!(refusal.contains(expected), "{address}: {refusal}");
    }
    let refusal = AddressPolicy::public_only().check(&url("http://10.0.0.1/")).unwrap_err();
    assert!(refusal.to_string().contains("DOCBRAIN_ALLOWED_NETWORKS"));
}

#[test]
fn public_addresses_and_names_pass() {
    for address in [
        "https://api.openai.com/v1",
        "http://1.1.1.1/",
        "https://172.32.0.1:8443/",
        "https://[2606:4700:4700::1111]/",
        "http://[::ffff:1.1.1.1]/",
        "http://[64:ff9b::101:101]/",
    ] {
        assert_eq!(AddressPolicy::public_only().check(&url(address)), Ok(()), "{address}");
    }
}

#[test]
fn an_allowed_network_passes_and_its_neighbour_does_not() {
    let policy = allowing(&["10.1.0.0/16", "fd00::/8"]);
    for address in ["http://10.1.2.3/", "http://[::ffff:10.1.2.3]/", "http://[fd00::1]/"] {
        assert_eq!(policy.check(&url(address)), Ok(()), "{address}");
    }
    for address in ["http://10.2.2.3/", "http://127.0.0.1/", "http://[fe80::1]/"] {
        assert!(policy.check(&url(address)).is_err(), "{address}");
    }
}

#[test]
fn networks_are_read_and_written() {
    let policy: AddressPolicy = " 10.1.0.0/16, fd00::/8,127.0.0.1".parse().unwrap();
    assert_eq!(policy, allowing(&["10.1.0.0/16", "fd00::/8", "127.0.0.1/32"]));
    assert_eq!(policy.to_string().parse(), Ok(policy));
    assert_eq!("".parse(), Ok(AddressPolicy::public_only()));
    assert_eq!(
        "10.1.0.0/33".parse::<AddressPolicy>().unwrap_err(),
        "\"10.1.0.0/33\" is not a network such as 10.1.0.0/16"
    );
}

#[tokio::test]
async fn a_name_that_resolves_to_this_machine_is_not_asked() {
    let server = MockServer::start().await;
    Mock::given(any()).respond_with(ResponseTemplate::new(200).set_body_string("hello")).mount(&server).await;
    let port = server.address().port();
    for name in ["localhost", "LOCALHOST"] {
        let refusal = get(&AddressPolicy::public_only(), &format!("http://{name}:{port}/")).await.unwrap_err();
        assert!(matches!(&refusal, Refusal::NotPublic { host } if host.starts_with("localhost")), "{refusal}");
    }
    assert!(server.received_requests().await.unwrap().is_empty());
    let policy = allowing(&["127.0.0.0/8"]);
    assert_eq!(get(&policy, &format!("http://localhost:{port}/")).await.unwrap(), "hello");
}

#[tokio::test]
async fn a_redirect_is_judged_like_a_first_address() {
    let server = MockServer::start().await;
    for (from, to) in [
        ("/metadata", "http://169.254.169.254/latest/meta-data/"),
        ("/private", "http://10.0.0.1/"),
        ("/login", "http://admin:admin@127.0.0.1/"),
        ("/loop", "/loop"),
        ("/fine", "/there"),
    ] {
        let redirect = ResponseTemplate::new(302).insert_header("location", to);
        Mock::given(path(from)).respond_with(redirect).mount(&server).await;
    }
    Mock::given(path("/there")).respond_with(ResponseTemplate::new(200).set_body_string("hello")).mount(&server).await;
    let policy = allowing(&["127.0.0.0/8"]);
    let at = |path: &str| format!("{}{path}", server.uri());
    for (path, refusal) in [
        ("/metadata", Refusal::NotPublic { host: "169.254.169.254".into() }),
        ("/private", Refusal::NotPublic { host: "10.0.0.1".into() }),
        ("/login", Refusal::Userinfo),
        ("/loop", Refusal::TooManyRedirects),
    ] {
        assert_eq!(get(&policy, &at(path)).await.unwrap_err(), refusal, "{path}");
    }
    assert_eq!(get(&policy, &at("/fine")).await.unwrap(), "hello");
}

#[tokio::test]
async fn hosts_are_resolved_to_addresses_that_may_be_asked() {
    let resolve = async |policy: &AddressPolicy, host: &str| policy.resolve(&Host::parse(host).unwrap()).await;
    let public = AddressPolicy::public_only();
    for host in ["localhost", "127.0.0.1", "2130706433", "[::ffff:10.0.0.1]", "169.254.169.254"] {
        let refused = resolve(&public, host).await.unwrap_err();
        assert!(matches!(&refused, ResolveError::Refused(Refusal::NotPublic { .. })), "{host}: {refused}");
    }
    assert_eq!(resolve(&public, "1.1.1.1").await.unwrap(), ["1.1.1.1".parse::<IpAddr>().unwrap()]);
    let unknown = resolve(&public, "no-such-host.invalid").await.unwrap_err();
    assert!(matches!(unknown, ResolveError::Unknown { .. }), "{unknown}");
    let local = allowing(&["127.0.0.0/8"]);
    assert_eq!(resolve(&local, "localhost").await.unwrap(), ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    assert!(
        local.allows_specially("127.0.0.1".parse().unwrap()) && !local.allows_specially("1.1.1.1".parse().unwrap())
    );
}

#[tokio::test]
async fn a_fetcher_reads_no_more_than_it_was_told() {
    let server = MockServer::start().await;
    Mock::given(path("/page"))
        .respond_with(ResponseTemplate::new(200).set_body_string("x".repeat(100)))
        .mount(&server)
        .await;
    let away = ResponseTemplate::new(302).insert_header("location", "/page");
    Mock::given(path("/away")).respond_with(away).mount(&server).await;
    let patience = Patience { silence: Duration::from_secs(5), total: Duration::from_secs(5) };
    let fetcher = Fetcher::new(&allowing(&["127.0.0.0/8"]), "a test", patience).unwrap();
    let at = |path: &str| url(&format!("{}{path}", server.uri()));
    let get = Get { etag: Some("\"tag\""), authorization: Some("Basic x"), ..Get::default() };
    assert_eq!(fetcher.get(&at("/page"), &get).await.unwrap().body(100).await.unwrap().len(), 100);
    let refused = fetcher.get(&at("/page"), &get).await.unwrap().body(99).await.unwrap_err();
    assert!(matches!(refused, FetchError::TooLarge { .. }), "{refused}");
    let answer = fetcher.get(&at("/away"), &Get::default()).await.unwrap();
    assert_eq!((answer.status(), answer.location()), (302, Some(Ok(at("/page")))));
    let request = &server.received_requests().await.unwrap()[0];
    assert_eq!(request.headers["if-none-match"], "\"tag\"");
    assert_eq!(request.headers["user-agent"], "a test");
    let refused = fetcher.get(&url("http://10.0.0.1/"), &get).await.unwrap_err();
    assert!(matches!(refused, FetchError::Refused(Refusal::NotPublic { .. })), "{refused}");
}
