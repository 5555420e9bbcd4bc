//! The address a request comes from: the connection's, or what a trusted reverse proxy says of it.
//!
//! A proxy adds the address it was called from to `X-Forwarded-For`, on the right; whatever stands further left may have
//! been made up by the client. So the list is read from the right for as long as the addresses are trusted proxies.
//! `Forwarded` (RFC 7239) is read the same way, and only without `X-Forwarded-For`: a proxy that writes `Forwarded`
//! must remove the other.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRef, FromRequestParts};
use axum::http::header::{FORWARDED, HeaderMap, HeaderName};
use axum::http::request::Parts;
use ipnet::{IpNet, Ipv6Net};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Networks of the reverse proxies whose word is taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct TrustedProxies(Arc<[IpNet]>);

impl TrustedProxies {
    pub(crate) fn new(networks: Vec<IpNet>) -> Self {
        Self(networks.into())
    }

    fn include(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Who sent a request that came from `peer`.
    fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let mut said = if headers.contains_key(X_FORWARDED_FOR) {
            elements(headers, &X_FORWARDED_FOR).map(address).collect::<Vec<_>>()
        } else {
            elements(headers, &FORWARDED).map(|element| address(forwarded_for(element)?)).collect()
        };
        while self.include(client)
            && let Some(Some(before)) = said.pop()
        {
            client = before;
        }
        client
    }
}

/// The elements of a list that may be spread over several headers.
fn elements<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    headers.get_all(name).into_iter().flat_map(|value| value.to_str().unwrap_or_default().split(','))
}

/// The node of an element of `Forwarded`, such as `for="[2001:db8::1]:4711";proto=https`.
fn forwarded_for(element: &str) -> Option<&str> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let node = pairs.into_iter().find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?.1;
    Some(node.trim().trim_matches('"'))
}

/// An address with or without a port and brackets; `None` for words such as `unknown`.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let with_port = || text.parse().ok().map(|address: SocketAddr| address.ip());
    let in_brackets = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    text.parse().ok().or_else(with_port).or_else(in_brackets).map(|address: IpAddr| address.to_canonical())
}

/// The address of the client; loopback for a request that came over no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClientIp(pub(crate) IpAddr);

impl ClientIp {
    /// Of a request that came over no connection.
    pub(crate) const LOCAL: Self = Self(IpAddr::V4(Ipv4Addr::LOCALHOST));

    /// What requests are counted under: the address, or the network of 64 bits that one IPv6 client has to itself.
    pub(crate) fn network(self) -> IpNet {
        match self.0 {
            IpAddr::V4(address) => IpAddr::V4(address).into(),
            IpAddr::V6(address) => Ipv6Net::new_assert(address, 64).trunc().into(),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for ClientIp
where
    TrustedProxies: FromRef<S>,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let peer = ConnectInfo::<SocketAddr>::from_request_parts(parts, state).await;
        let peer = peer.map_or(Self::LOCAL.0, |ConnectInfo(peer)| peer.ip());
        Ok(Self(TrustedProxies::from_ref(state).client(peer, &parts.headers)))
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::body::{Body, to_bytes};
    use axum::extract::connect_info::MockConnectInfo;
    use axum::http::{HeaderValue, Request};
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    const XFF: HeaderName = X_FORWARDED_FOR;

    /// The client of a request from `peer`, where `10.0.0.0/8` and `fd00::/8` are proxies.
    fn client(peer: &str, headers: &[(HeaderName, &str)]) -> String {
        let proxies = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_str(value).unwrap());
        }
        proxies.client(peer.parse().unwrap(), &map).to_string()
    }

    #[test]
    fn a_stranger_cannot_say_who_it_is() {
        for header in [(XFF, "1.2.3.4"), (XFF, "10.0.0.1"), (FORWARDED, "for=1.2.3.4")] {
            assert_eq!(client("203.0.113.9", &[header]), "203.0.113.9");
        }
        let nobody = TrustedProxies::default();
        let headers = HeaderMap::from_iter([(XFF, HeaderValue::from_static("1.2.3.4"))]);
        assert_eq!(nobody.client("127.0.0.1".parse().unwrap(), &headers).to_string(), "127.0.0.1");
    }

    #[test]
    fn behind_a_proxy_the_rightmost_stranger_is_the_client() {
        assert_eq!(client("10.0.0.1", &[(XFF, "203.0.113.9")]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &[(XFF, "1.2.3.4, 203.0.113.9, 10.0.0.2")]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &[(XFF, "1.2.3.4"), (XFF, "203.0.113.9")]), "203.0.113.9");
        assert_eq!(client("fd00::1", &[(XFF, "2001:db8::7")]), "2001:db8::7");
        assert_eq!(client("::ffff:10.0.0.1", &[(XFF, "203.0.113.9:55000")]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &[(XFF, "10.0.0.3, 10.0.0.2")]), "10.0.0.3");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn what_cannot_be_read_ends_the_list() {
        assert_eq!(client("10.0.0.1", &[(XFF, "203.0.113.9, nonsense, 10.0.0.2")]), "10.0.0.2");
        assert_eq!(client("10.0.0.1", &[(XFF, "203.0.113.9,")]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &[(FORWARDED, "for=203.0.113.9, for=_hidden")]), "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_where_the_other_header_is_missing() {
        assert_eq!(client("10.0.0.1", &[(FORWARDED, "for=1.1.1.1, For=203.0.113.9;proto=https")]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &[(FORWARDED, r#"proto=http;for="[2001:db8::7]:4711""#)]), "2001:db8::7");
        assert_eq!(client("10.0.0.1", &[(FORWARDED, r#"for="[2001:db8::7]""#)]), "2001:db8::7");
        assert_eq!(client("10.0.0.1", &[(FORWARDED, "for=1.1.1.1"), (XFF, "203.0.113.9")]), "203.0.113.9");
    }

    #[tokio::test]
    async fn the_connection_says_who_the_peer_is() {
        let routes = Router::new()
            .route("/", get(async |ClientIp(address): ClientIp| address.to_string()))
            .with_state(TrustedProxies::new(vec!["127.0.0.0/8".parse().unwrap()]));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let service = routes.clone().into_make_service_with_connect_info::<SocketAddr>();
        let server = tokio::spawn(async { axum::serve(listener, service).await });
        let request = reqwest::Client::new().get(&url).header(XFF, "1.2.3.4, 203.0.113.9");
        assert_eq!(request.send().await.unwrap().text().await.unwrap(), "203.0.113.9");
        server.abort();

        let mocked = routes.layer(MockConnectInfo(SocketAddr::from(([198, 51, 100, 7], 4711))));
        let request = Request::get("/").header(XFF, "1.2.3.4").body(Body::empty()).unwrap();
        let body = to_bytes(mocked.oneshot(request).await.unwrap().into_body(), 100).await.unwrap();
        assert_eq!(body, "198.51.100.7");
    }

    #[test]
    fn ipv6_clients_are_counted_by_their_network() {
        let network = |address: &str| ClientIp(address.parse().unwrap()).network().to_string();
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(network("203.0.113.9"), "203.0.113.9/32");
    }
}
