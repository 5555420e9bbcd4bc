//! A Tenant's namespace and what stands in it; no IO.

use std::collections::BTreeMap;

use docbrain_core::models::EmbeddingChoice;
use docbrain_crds::{ObjectMeta, TENANT_LABEL, Tenant};
use k8s_openapi::api::core::v1::{
    LimitRange, LimitRangeItem, LimitRangeSpec, Namespace, ResourceQuota, ResourceQuotaSpec, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{RoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use secrecy::ExposeSecret;

use crate::config::Config;

mod network;

/// On namespaces that the operator made, and deletes with their tenant.
pub(super) const MADE_HERE: &str = "docbrain.dev/made-by-operator";
/// The `ServiceAccount` of ingestion pods, which has no token and no rights.
pub const SERVICE_ACCOUNT: &str = "docbrain-ingest";
/// Pods and Jobs that one tenant may have at a time, and what they may use of a node together. One pod asks for a sixth of it
/// ([`crate::knowledge_source`]).
const MOST_PODS: &str = "12";
const MOST_JOBS: &str = "200";
const MOST_CPU: &str = "12";
const MOST_MEMORY: &str = "24Gi";

/// What a tenant has in Kubernetes.
pub(super) struct Children {
    pub(super) namespace: Namespace,
    pub(super) service_account: ServiceAccount,
    pub(super) role_binding: Option<RoleBinding>,
    pub(super) resource_quota: ResourceQuota,
    pub(super) limit_range: LimitRange,
    pub(super) network_policies: Vec<NetworkPolicy>,
}

pub(super) fn children(tenant: &Tenant, made_here: bool, config: &Config) -> Children {
    let meta = |name: &str| ObjectMeta {
        name: Some(name.to_owned()),
        namespace: Some(tenant.own_namespace().to_owned()),
        labels: Some(labels(tenant)),
        ..ObjectMeta::default()
    };
    let database_port = config.database_port();
    let embedding_port = match &config.embedding {
        EmbeddingChoice::Remote(endpoint) => {
            url::Url::parse(&endpoint.base_url).ok().and_then(|url| url.port_or_known_default())
        }
        EmbeddingChoice::BuiltIn(_) => None,
    };
    let inside: Vec<u16> = [Some(database_port), embedding_port].into_iter().flatten().collect();
    Children {
        namespace: namespace(tenant, made_here),
        service_account: ServiceAccount {
            metadata: meta(SERVICE_ACCOUNT),
            automount_service_account_token: Some(false),
            ..ServiceAccount::default()
        },
        role_binding: config.service_account.as_ref().map(|operator| RoleBinding {
            metadata: meta("docbrain-operator-secrets"),
            role_ref: RoleRef {
                api_group: Some("rbac.authorization.k8s.io".to_owned()),
                kind: "ClusterRole".to_owned(),
                name: config.secrets_role.clone(),
            },
            subjects: Some(vec![Subject {
                kind: "ServiceAccount".to_owned(),
                name: operator.clone(),
                namespace: Some(config.namespace.clone()),
                ..Subject::default()
            }]),
        }),
        resource_quota: ResourceQuota {
            metadata: meta("docbrain"),
            spec: Some(ResourceQuotaSpec {
                hard: Some(quantities(&[
                    ("pods", MOST_PODS),
                    ("count/jobs.batch", MOST_JOBS),
                    ("limits.cpu", MOST_CPU),
                    ("limits.memory", MOST_MEMORY),
                ])),
                ..ResourceQuotaSpec::default()
            }),
            ..ResourceQuota::default()
        },
        limit_range: LimitRange {
            metadata: meta("docbrain"),
            spec: Some(LimitRangeSpec {
                limits: vec![LimitRangeItem {
                    type_: "Container".to_owned(),
                    default: Some(quantities(&[("cpu", "1"), ("memory", "1Gi")])),
                    default_request: Some(quantities(&[("cpu", "100m"), ("memory", "256Mi")])),
                    ..LimitRangeItem::default()
                }],
            }),
        },
        network_policies: network::policies(&meta, &inside, &config.cluster_networks, &config.addresses),
    }
}

fn labels(tenant: &Tenant) -> BTreeMap<String, String> {
    [
        (TENANT_LABEL.to_owned(), tenant.name_any()),
        ("app.kubernetes.io/managed-by".to_owned(), "docbrain-operator".to_owned()),
    ]
    .into()
}

/// With Kubernetes' strictest rules for pods: <https://kubernetes.io/docs/concepts/security/pod-security-standards/>.
fn namespace(tenant: &Tenant, made_here: bool) -> Namespace {
    let mut labels = labels(tenant);
    for mode in ["enforce", "audit", "warn"] {
        labels.insert(format!("pod-security.kubernetes.io/{mode}"), "restricted".to_owned());
    }
    Namespace {
        metadata: ObjectMeta {
            name: Some(tenant.own_namespace().to_owned()),
            labels: Some(labels),
            annotations: made_here.then(|| [(MADE_HERE.to_owned(), "true".to_owned())].into()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    }
}

fn quantities(amounts: &[(&str, &str)]) -> BTreeMap<String, Quantity> {
    amounts.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect()
}

impl Config {
    /// The port that Postgres is reached at.
    fn database_port(&self) -> u16 {
        let url = url::Url::parse(self.database_url.expose_secret()).ok();
        url.and_then(|url| url.port()).unwrap_or(5432)
    }
}
