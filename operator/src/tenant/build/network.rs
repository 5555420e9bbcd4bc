//! Where a tenant's pods may go: to the world, to the database, and nowhere else in the cluster. Nothing may come to them.

use docbrain_core::fetch::AddressPolicy;
use docbrain_crds::ObjectMeta;
use ipnet::IpNet;
use k8s_openapi::api::networking::v1::{
    IPBlock, NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPeer, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Networks that are nobody's in the world: private ones, this machine, link-local ones with the clouds' metadata, and
/// what embeds them in IPv6 (IANA special-purpose registries, RFC 6890).
const NOT_PUBLIC: [&str; 16] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/127",
    "64:ff9b::/96",
    "fc00::/7",
    "fe80::/10",
    "ff00::/8",
];

pub(super) fn policies(
    meta: &impl Fn(&str) -> ObjectMeta,
    inside_ports: &[u16],
    cluster_networks: &[IpNet],
    allowed: &AddressPolicy,
) -> Vec<NetworkPolicy> {
    let both = || Some(vec!["Ingress".to_owned(), "Egress".to_owned()]);
    let deny = NetworkPolicy {
        metadata: meta("docbrain-default-deny"),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: both(),
            ..NetworkPolicySpec::default()
        }),
    };
    let names = NetworkPolicyEgressRule { ports: Some(vec![port("UDP", 53), port("TCP", 53)]), to: None };
    // The database and the installation's model server may be in the cluster or outside; their own passwords guard them.
    let inside = (!inside_ports.is_empty()).then(|| NetworkPolicyEgressRule {
        ports: Some(inside_ports.iter().map(|&number| port("TCP", number)).collect()),
        to: None,
    });
    let world = NetworkPolicyEgressRule {
        ports: None,
        to: Some(vec![world(cluster_networks, false), world(cluster_networks, true)]),
    };
    let also: Vec<NetworkPolicyPeer> =
        allowed.networks().iter().map(|network| block(&network.to_string(), None)).collect();
    let also = (!also.is_empty()).then_some(NetworkPolicyEgressRule { ports: None, to: Some(also) });
    let egress = NetworkPolicy {
        metadata: meta("docbrain-egress"),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(LabelSelector::default()),
            policy_types: Some(vec!["Egress".to_owned()]),
            egress: Some([Some(names), inside, Some(world), also].into_iter().flatten().collect()),
            ..NetworkPolicySpec::default()
        }),
    };
    vec![deny, egress]
}

/// All addresses of a family but those that are not public and the cluster's own.
fn world(cluster_networks: &[IpNet], six: bool) -> NetworkPolicyPeer {
    let not_public = NOT_PUBLIC.iter().map(|network| (*network).to_owned());
    let cluster = cluster_networks.iter().map(|network| network.trunc().to_string());
    let mut except: Vec<String> = not_public.chain(cluster).filter(|network| network.contains(':') == six).collect();
    except.sort();
    except.dedup();
    block(if six { "::/0" } else { "0.0.0.0/0" }, Some(except))
}

fn block(cidr: &str, except: Option<Vec<String>>) -> NetworkPolicyPeer {
    NetworkPolicyPeer { ip_block: Some(IPBlock { cidr: cidr.to_owned(), except }), ..NetworkPolicyPeer::default() }
}

fn port(protocol: &str, number: u16) -> NetworkPolicyPort {
    NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(number.into())),
        ..NetworkPolicyPort::default()
    }
}
