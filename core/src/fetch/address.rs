//! Which addresses are public.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::LazyLock;

use ipnet::{Ipv4Net, Ipv6Net};

/// IPv4 networks that are not public: the IANA IPv4 Special-Purpose Address Registry, and multicast.
const SPECIAL_V4: [&str; 18] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    // The metadata and health address of Azure lies among public ones.
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.31.196.0/24",
    "192.52.193.0/24",
    "192.88.99.0/24",
    "192.168.0.0/16",
    "192.175.48.0/24",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    // Multicast, reserved, broadcast.
    "224.0.0.0/3",
];
/// What is public at all in IPv6: global unicast addresses.
const GLOBAL_V6: &str = "2000::/3";
/// And what of it is not: protocols' own (Teredo among them), documentation, 6to4 (IANA IPv6 Special-Purpose Address
/// Registry).
const SPECIAL_V6: [&str; 4] = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];

static V4: LazyLock<Vec<Ipv4Net>> =
    LazyLock::new(|| SPECIAL_V4.iter().map(|network| network.parse().expect("a constant network")).collect());
static V6: LazyLock<Vec<Ipv6Net>> =
    LazyLock::new(|| SPECIAL_V6.iter().map(|network| network.parse().expect("a constant network")).collect());
static GLOBAL: LazyLock<Ipv6Net> = LazyLock::new(|| GLOBAL_V6.parse().expect("a constant network"));

/// Whether the address is reached the same way from everywhere, and so is not part of the network around here.
pub(super) fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => !V4.iter().any(|network| network.contains(&address)),
        IpAddr::V6(address) => GLOBAL.contains(&address) && !V6.iter().any(|network| network.contains(&address)),
    }
}

/// The IPv4 address that an IPv6 address stands for (mapped, or translated by NAT64), or the address itself.
pub(super) fn plain(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => translated(v6).map_or_else(|| v6.to_canonical(), IpAddr::V4),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// `64:ff9b::/96` (RFC 6052).
fn translated(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [0x64, 0xff9b, 0, 0, 0, 0, _, _] = address.segments() else { return None };
    let [.., a, b, c, d] = address.octets();
    Some(Ipv4Addr::new(a, b, c, d))
}
