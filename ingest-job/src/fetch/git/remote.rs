//! Where a repository is and what of it is wanted, judged before any program sees a word of it: pure.

use std::net::IpAddr;

use url::{Host, Url};

use crate::fetch::Misfortune;

/// A repository's address of one of the forms that are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remote {
    /// `https://…`, or `http://…`.
    Http(Url),
    /// `ssh://user@host/path`.
    Ssh(Url),
}

impl Remote {
    /// Reads the URL of a spec.
    pub(crate) fn parse(text: &str) -> Result<Self, Misfortune> {
        let refuse = |why: &str| Misfortune::lasting(format!("«{}» is refused: {why}", shown(text)));
        if text.starts_with('-') || text.contains("::") && !text.contains("://") {
            return Err(refuse("it is no URL such as https://example.com/team/docs.git"));
        }
        let url = Url::parse(text).map_err(|_| refuse("it is no URL such as https://example.com/team/docs.git"))?;
        if !matches!(url.scheme(), "https" | "http" | "ssh") {
            return Err(refuse(&format!("only https, http and ssh are allowed, not {}", url.scheme())));
        }
        let is_plain =
            |text: &str| !text.starts_with('-') && !text.contains(|c: char| c.is_control() || c.is_whitespace());
        if url.password().is_some() {
            return Err(refuse("a password belongs into the Secret, not into the URL"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("the address of a repository has neither a query nor a fragment"));
        }
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
            return Err(refuse("it names no host"));
        };
        if !is_plain(host)
            || !is_plain(url.username())
            || !is_plain(url.path())
            || url.path().trim_matches('/').is_empty()
        {
            return Err(refuse("its parts are not those of a repository's address"));
        }
        match url.scheme() {
            "https" | "http" if url.username().is_empty() => Ok(Self::Http(url)),
            "https" | "http" => Err(refuse("a user name belongs into the Secret, not into the URL")),
            // An ssh host is whatever one likes; only what could be a name or an address is handed on.
            "ssh" if is_host(host) && is_user(url.username()) => Ok(Self::Ssh(url)),
            _ => Err(refuse("its user or host holds characters that no user or host has")),
        }
    }

    pub(crate) fn url(&self) -> &Url {
        let (Self::Http(url) | Self::Ssh(url)) = self;
        url
    }

    /// The host. That of `ssh` URLs is opaque to the parser of URLs, and read as that of others.
    pub(crate) fn host(&self) -> Option<Host<String>> {
        match self {
            Self::Http(url) => url.host().map(|host| host.to_owned()),
            Self::Ssh(url) => Host::parse(url.host_str()?).ok(),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.url().port_or_known_default().unwrap_or(22)
    }
}

fn is_host(host: &str) -> bool {
    host.chars().all(|c| c.is_ascii_alphanumeric() || ".-_:[]".contains(c))
}

fn is_user(user: &str) -> bool {
    user.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

fn shown(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

/// What of a repository is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// What its `HEAD` names.
    Default,
    /// A branch or a tag.
    Named(String),
    /// A commit.
    Commit(String),
}

impl Wanted {
    /// Reads the ref of a spec.
    pub(crate) fn parse(reference: Option<&str>) -> Result<Self, Misfortune> {
        let Some(reference) = reference else { return Ok(Self::Default) };
        let is_hash = matches!(reference.len(), 40 | 64) && reference.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_hash {
            return Ok(Self::Commit(reference.to_ascii_lowercase()));
        }
        // As the schema has it, and what git-check-ref-format forbids.
        let is_fit = reference.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && reference.chars().all(|c| c.is_ascii_alphanumeric() || "_./+-".contains(c))
            && reference
                .split('/')
                .all(|part| !part.is_empty() && !part.starts_with('.') && part.strip_suffix(".lock").is_none())
            && !reference.contains("..")
            && !reference.ends_with('.');
        if is_fit {
            Ok(Self::Named(reference.to_owned()))
        } else {
            Err(Misfortune::lasting(format!(
                "«{}» is no name of a branch, a tag or a commit in full",
                shown(reference)
            )))
        }
    }

    /// The refs that it may be, the first one that is there counts.
    pub(crate) fn refs(&self) -> Vec<String> {
        match self {
            Self::Default => vec!["HEAD".to_owned()],
            Self::Named(name) if name.starts_with("refs/") => vec![name.clone()],
            Self::Named(name) => vec![format!("refs/heads/{name}"), format!("refs/tags/{name}")],
            Self::Commit(_) => Vec::new(),
        }
    }
}

/// What a remote says its refs are: the object and the name of the first of `wanted` that it has.
pub(crate) fn find_ref(listing: &str, wanted: &[String]) -> Option<(String, String)> {
    let refs: Vec<(&str, &str)> = listing.lines().filter_map(|line| line.split_once('\t')).collect();
    let named = wanted.iter().find_map(|wanted| refs.iter().find(|(_, name)| name == wanted));
    let (object, name) = named?;
    let is_hash = matches!(object.len(), 40 | 64) && object.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hash.then(|| ((*object).to_owned(), (*name).to_owned()))
}

/// `host:port:address` lines by which a client connects to judged addresses alone (curl's `CURLOPT_RESOLVE`).
pub(crate) fn pin(host: &str, port: u16, addresses: &[IpAddr]) -> String {
    let addresses: Vec<String> = addresses
        .iter()
        .map(|address| match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        })
        .collect();
    format!("{host}:{port}:{}", addresses.join(","))
}

/// Where a visitor reads a file: the template with `{commit}` and `{path}` filled in.
pub(crate) fn web_url(template: &str, commit: &str, path: &str) -> Option<String> {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut escaped = String::with_capacity(path.len());
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~/!$&'()*+,;=:@".contains(&byte) {
            escaped.push(byte.into());
        } else {
            let digit = |value: u8| char::from(HEX[usize::from(value)]);
            escaped.extend(['%', digit(byte >> 4), digit(byte & 15)]);
        }
    }
    let filled = template.replace("{commit}", commit).replace("{path}", &escaped);
    Url::parse(&filled).ok().filter(|url| matches!(url.scheme(), "http" | "https")).map(String::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_urls_are_refused_before_any_program_sees_them() {
        for (url, expected) in [
            ("--upload-pack=touch /tmp/x", "no URL"),
            ("-oProxyCommand=touch /tmp/x", "no URL"),
            ("ext::sh -c 'touch /tmp/x'", "no URL"),
            ("ext::https://example.com/x", "only https"),
            ("file:///etc/passwd", "only https"),
            ("file://localhost/etc", "only https"),
            ("/etc", "no URL"),
            ("git@example.com:team/docs.git", "no URL"),
            ("git://example.com/docs.git", "only https"),
            ("ftp://example.com/docs.git", "only https"),
            ("ssh://-oProxyCommand=touch/docs.git", "refused"),
            ("ssh://git@-oProxyCommand=x/docs.git", "refused"),
            ("ssh://-F@example.com/docs.git", "refused"),
            ("ssh://git@exa$(touch x)mple.com/docs.git", "refused"),
            ("ssh://git@example.com", "refused"),
            ("ssh://git:secret@example.com/docs.git", "password"),
            ("https://user@example.com/docs.git", "user name"),
            ("https://user:secret@example.com/docs.git", "password"),
            ("https://example.com/docs.git?--upload-pack=x", "query"),
            ("https://example.com/docs.git#x", "fragment"),
            ("https://example.com/", "refused"),
            ("https://", "refused"),
        ] {
            let refused = Remote::parse(url).expect_err(url);
            assert!(refused.is_lasting && refused.reason.contains(expected), "{url}: {refused}");
        }
    }

    #[test]
    fn ordinary_urls_pass() {
        for (url, host, port) in [
            ("https://example.com/team/docs.git", "example.com", 443),
            ("http://127.0.0.1:8080/docs.git", "127.0.0.1", 8080),
            ("ssh://git@example.com/team/docs.git", "example.com", 22),
            ("ssh://git@example.com:2222/~/docs.git", "example.com", 2222),
            ("ssh://git@[2001:db8::1]/docs.git", "[2001:db8::1]", 22),
        ] {
            let remote = Remote::parse(url).unwrap();
            assert_eq!((remote.host().unwrap().to_string().as_str(), remote.port()), (host, port), "{url}");
        }
        // An address in disguise is an address, so that it is judged as one.
        let disguised = Remote::parse("ssh://git@2130706433/docs.git").unwrap();
        assert_eq!(disguised.host().unwrap(), Host::<String>::Ipv4(std::net::Ipv4Addr::LOCALHOST));
    }

    #[test]
    fn refs_are_names_and_nothing_else() {
        for reference in [
            "-x",
            "--upload-pack=x",
            "a b",
            "a..b",
            "a:b",
            "+a",
            "a^",
            "a~1",
            "a/.b",
            "a//b",
            "x.lock",
            "refs/heads/*",
            "@{1}",
            "",
        ] {
            let refused = Wanted::parse(Some(reference)).expect_err(reference);
            assert!(refused.is_lasting, "{reference}");
        }
        assert_eq!(Wanted::parse(None).unwrap().refs(), ["HEAD"]);
        assert_eq!(Wanted::parse(Some("v1.2")).unwrap().refs(), ["refs/heads/v1.2", "refs/tags/v1.2"]);
        assert_eq!(Wanted::parse(Some("refs/notes/x")).unwrap().refs(), ["refs/notes/x"]);
        let commit = "A".repeat(40);
        assert_eq!(Wanted::parse(Some(&commit)).unwrap(), Wanted::Commit("a".repeat(40)));
    }

    #[test]
    fn a_branch_comes_before_a_tag_and_a_likeness_is_nothing() {
        let object = "1".repeat(40);
        let listing = format!(
            "{}\trefs/tags/v1\n{object}\trefs/heads/v1\n{object}\trefs/heads/x/refs/heads/v2\n",
            "2".repeat(40)
        );
        let wanted = |name: &str| Wanted::parse(Some(name)).unwrap().refs();
        assert_eq!(find_ref(&listing, &wanted("v1")), Some((object, "refs/heads/v1".to_owned())));
        assert_eq!(find_ref(&listing, &wanted("v2")), None);
        assert_eq!(find_ref("nonsense\trefs/heads/v1\n", &wanted("v1")), None);
    }

    #[test]
    fn addresses_are_pinned_as_curl_wants_them() {
        let addresses = ["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        assert_eq!(pin("example.com", 443, &addresses), "example.com:443:192.0.2.1,[2001:db8::1]");
    }

    #[test]
    fn a_visitor_reads_a_file_at_its_commit() {
        let template = "https://example.com/docs/blob/{commit}/{path}";
        assert_eq!(
            web_url(template, "abc", "a b/ü?#.md").unwrap(),
            "https://example.com/docs/blob/abc/a%20b/%C3%BC%3F%23.md"
        );
        assert_eq!(web_url("javascript:{path}", "abc", "alert(1)"), None);
    }
}
