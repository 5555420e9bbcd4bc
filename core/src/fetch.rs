//! Reaching addresses that a tenant chose, and nothing of the network around the server.
//!
//! [`AddressPolicy`] says which addresses are allowed, [`AddressPolicy::check`] judges a URL before each request, and
//! [`client`] gives an HTTP client that judges what a name resolves to, connects to exactly that, and judges each
//! redirect. Both are needed: a URL that spells an address never asks the resolver. [`Fetcher`] is that client for whoever
//! crawls: it follows no redirect by itself and reads no body beyond a limit. [`AddressPolicy::resolve`] judges for programs
//! that make their own connections.

use std::error::Error;
use std::fmt;
use std::iter;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, ClientBuilder, Url};
use url::Host;

use crate::env::ALLOWED_NETWORKS;

mod address;
mod fetcher;
#[cfg(test)]
mod tests;

pub use fetcher::{Answer, FetchError, Fetcher, Get, Patience};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Most redirects that are followed.
pub const MOST_REDIRECTS: usize = 5;

/// Why an address is not asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Neither http nor https.
    #[error("only http and https addresses are allowed")]
    Scheme,
    /// `https://user:password@…`.
    #[error("an address must not hold a user name or a password")]
    Userinfo,
    /// No host at all.
    #[error("the address names no host")]
    NoHost,
    /// An address of a private network, this machine, a cloud's metadata, and the like.
    #[error(
        "{host} is not a public address; whoever runs this installation can allow its network in {ALLOWED_NETWORKS}"
    )]
    NotPublic {
        /// The host as the URL names it.
        host: String,
    },
    /// More than [`MOST_REDIRECTS`].
    #[error("the address redirects more than {MOST_REDIRECTS} times")]
    TooManyRedirects,
}

/// Why a host has no address to ask.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// None of its addresses may be asked.
    #[error(transparent)]
    Refused(Refusal),
    /// Its name is not known.
    #[error("the host {host} is not known")]
    Unknown {
        /// The host.
        host: String,
        /// What the resolver said.
        source: std::io::Error,
    },
}

/// Which addresses may be asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressPolicy {
    allowed: Arc<[IpNet]>,
}

impl AddressPolicy {
    /// Public addresses alone.
    pub fn public_only() -> Self {
        Self::default()
    }

    /// These networks too.
    #[must_use]
    pub fn allowing(self, networks: Vec<IpNet>) -> Self {
        Self { allowed: networks.into() }
    }

    /// The networks that are allowed besides the public ones.
    pub fn networks(&self) -> &[IpNet] {
        &self.allowed
    }

    /// Whether `address` may be asked.
    pub fn permits(&self, address: IpAddr) -> bool {
        let address = address::plain(address);
        address::is_public(address) || self.allowed.iter().any(|network| network.contains(&address))
    }

    /// Those addresses of a host that may be asked: a name's, or the one that it spells.
    pub async fn resolve(&self, host: &Host<String>) -> Result<Vec<IpAddr>, ResolveError> {
        let refused = || ResolveError::Refused(Refusal::NotPublic { host: host.to_string() });
        let found = match host {
            Host::Ipv4(address) => vec![IpAddr::V4(*address)],
            Host::Ipv6(address) => vec![IpAddr::V6(*address)],
            Host::Domain(name) => {
                let found = tokio::net::lookup_host((name.as_str(), 0)).await;
                let found = found.map_err(|source| ResolveError::Unknown { host: name.clone(), source })?;
                found.map(|found| found.ip()).collect()
            }
        };
        let permitted: Vec<IpAddr> = found.into_iter().filter(|&found| self.permits(found)).collect();
        if permitted.is_empty() { Err(refused()) } else { Ok(permitted) }
    }

    /// Whether `address` is one that may be asked only because its network is allowed.
    pub fn allows_specially(&self, address: IpAddr) -> bool {
        !address::is_public(address::plain(address)) && self.permits(address)
    }

    /// Judges all of a URL but what its host's name resolves to.
    pub fn check(&self, url: &Url) -> Result<(), Refusal> {
        if !matches!(url.scheme(), "http" | "https") {
            return Err(Refusal::Scheme);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Userinfo);
        }
        let address = match url.host().ok_or(Refusal::NoHost)? {
            // The parser has understood every spelling of an address: decimal, hexadecimal, octal, full-width.
            Host::Ipv4(address) => IpAddr::V4(address),
            Host::Ipv6(address) => IpAddr::V6(address),
            Host::Domain(_) => return Ok(()),
        };
        if self.permits(address) { Ok(()) } else { Err(Refusal::NotPublic { host: address.to_string() }) }
    }
}

impl FromStr for AddressPolicy {
    type Err = String;

    /// Reads the networks that are allowed besides the public ones, separated by commas: the value of
    /// [`ALLOWED_NETWORKS`].
    fn from_str(networks: &str) -> Result<Self, String> {
        let entries = networks.split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let networks = entries.map(|entry| {
            let address = entry.parse::<IpAddr>().map(IpNet::from);
            address.or_else(|_| entry.parse()).map_err(|_| format!("{entry:?} is not a network such as 10.1.0.0/16"))
        });
        Ok(Self { allowed: networks.collect::<Result<_, _>>()? })
    }
}

impl fmt::Display for AddressPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let networks: Vec<String> = self.allowed.iter().map(ToString::to_string).collect();
        f.write_str(&networks.join(","))
    }
}

/// A client that reaches what `policy` permits. It follows at most `redirects`, and asks no proxy, which would resolve
/// names itself. Its first URL is for the caller to [`check`](AddressPolicy::check).
pub fn client(policy: &AddressPolicy, redirects: usize) -> ClientBuilder {
    let judge = policy.clone();
    let follow = move |attempt: Attempt<'_>| {
        if attempt.previous().len() > redirects {
            return attempt.error(Refusal::TooManyRedirects);
        }
        match judge.check(attempt.url()) {
            Ok(()) => attempt.follow(),
            Err(refusal) => attempt.error(refusal),
        }
    };
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .no_proxy()
        .dns_resolver(Arc::new(Resolver { policy: policy.clone() }))
        .redirect(if redirects == 0 { Policy::none() } else { Policy::custom(follow) })
}

/// Resolves a name to those of its addresses that may be asked; the connection is made to these and no others.
struct Resolver {
    policy: AddressPolicy,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = self.policy.clone();
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            let permitted: Vec<SocketAddr> = found.filter(|found| policy.permits(found.ip())).collect();
            if permitted.is_empty() {
                return Err(Refusal::NotPublic { host: name.as_str().to_owned() }.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
    }
}

/// The error of this type that an error goes back to, such as the [`Refusal`] behind a request that failed.
pub fn behind<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}
