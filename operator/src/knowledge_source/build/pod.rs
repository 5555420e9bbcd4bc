//! The pod of an ingestion run, under Kubernetes' strictest rules.

use std::collections::BTreeMap;

use docbrain_core::env;
use docbrain_core::fetch::AddressPolicy;
use docbrain_core::models::EmbeddingChoice;
use docbrain_crds::{KnowledgeSource, ObjectMeta};
use k8s_openapi::api::batch::v1::{
    PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement, PodFailurePolicyOnPodConditionsPattern,
    PodFailurePolicyRule,
};
use k8s_openapi::api::core::v1::{
    Capabilities, Container, EmptyDirVolumeSource, EnvVar, EnvVarSource, ObjectFieldSelector, PodSecurityContext,
    PodSpec, PodTemplateSpec, ResourceRequirements, SeccompProfile, SecretKeySelector, SecretVolumeSource,
    SecurityContext, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::super::pods::MISCONFIGURED;
use super::{RunEnvironment, credentials, labels};
use crate::config::IngestImage;
use crate::tenant::SERVICE_ACCOUNT;

/// Keys of a run's Secret.
pub(super) const DATABASE_KEY: &str = "database-url";
pub(super) const EMBEDDING_KEY: &str = "embedding-api-key";
/// The variable with the name of a pod's Job.
pub(super) const JOB_NAME: &str = "JOB_NAME";
const CREDENTIALS: &str = "/var/run/docbrain/credentials";
/// The user of the image.
const USER: i64 = 65_532;

/// Where a run's secrets are is `secret`.
pub(super) fn template(
    source: &KnowledgeSource,
    secret: &str,
    variables: &[(&str, String)],
    environment: &RunEnvironment,
    ingest: &IngestImage,
    addresses: &AddressPolicy,
) -> PodTemplateSpec {
    let (mut volumes, mut mounts) = (vec![scratch()], vec![mount("tmp", "/tmp", false)]);
    let mut env = environment_of(secret, environment, ingest, addresses);
    if let Some(credentials) = credentials(&source.spec) {
        volumes.push(Volume {
            name: "credentials".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(credentials.to_owned()),
                default_mode: Some(0o440),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        });
        mounts.push(mount("credentials", CREDENTIALS, true));
        env.push(plain(env::CREDENTIALS_DIR, CREDENTIALS));
    }
    // A variable that names another one stands behind it.
    env.extend(variables.iter().map(|(name, value)| plain(name, value)));
    let container = Container {
        name: "ingest".to_owned(),
        image: Some(ingest.image.clone()),
        image_pull_policy: Some(ingest.pull_policy.clone()),
        args: Some(vec!["run".to_owned()]),
        env: Some(env),
        resources: Some(ResourceRequirements {
            requests: Some(amounts(&[("cpu", "250m"), ("memory", "384Mi")])),
            limits: Some(amounts(&[("cpu", "2"), ("memory", "2Gi")])),
            ..ResourceRequirements::default()
        }),
        security_context: Some(SecurityContext {
            allow_privilege_escalation: Some(false),
            read_only_root_filesystem: Some(true),
            capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), add: None }),
            ..SecurityContext::default()
        }),
        volume_mounts: Some(mounts),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    };
    PodTemplateSpec {
        metadata: Some(ObjectMeta { labels: Some(labels(source)), ..ObjectMeta::default() }),
        spec: Some(PodSpec {
            containers: vec![container],
            restart_policy: Some("Never".to_owned()),
            service_account_name: Some(SERVICE_ACCOUNT.to_owned()),
            automount_service_account_token: Some(false),
            enable_service_links: Some(false),
            security_context: Some(PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(USER),
                run_as_group: Some(USER),
                fs_group: Some(USER),
                seccomp_profile: Some(SeccompProfile {
                    type_: "RuntimeDefault".to_owned(),
                    ..SeccompProfile::default()
                }),
                ..PodSecurityContext::default()
            }),
            volumes: Some(volumes),
            termination_grace_period_seconds: Some(30),
            ..PodSpec::default()
        }),
    }
}

/// A node that is drained is no failure of the pod; what trying again does not mend is one of the Job.
pub(super) fn failure_policy() -> PodFailurePolicy {
    PodFailurePolicy {
        rules: vec![
            PodFailurePolicyRule {
                action: "Ignore".to_owned(),
                on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
                    type_: "DisruptionTarget".to_owned(),
                    status: Some("True".to_owned()),
                }]),
                ..PodFailurePolicyRule::default()
            },
            PodFailurePolicyRule {
                action: "FailJob".to_owned(),
                on_exit_codes: Some(PodFailurePolicyOnExitCodesRequirement {
                    operator: "In".to_owned(),
                    values: vec![MISCONFIGURED],
                    ..PodFailurePolicyOnExitCodesRequirement::default()
                }),
                ..PodFailurePolicyRule::default()
            },
        ],
    }
}

fn environment_of(
    secret: &str,
    environment: &RunEnvironment,
    ingest: &IngestImage,
    addresses: &AddressPolicy,
) -> Vec<EnvVar> {
    let of_secret = |name: &str, key: &str| EnvVar {
        name: name.to_owned(),
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.to_owned(),
                key: key.to_owned(),
                ..SecretKeySelector::default()
            }),
            ..EnvVarSource::default()
        }),
        ..EnvVar::default()
    };
    let mut env = vec![
        EnvVar {
            name: JOB_NAME.to_owned(),
            value_from: Some(EnvVarSource {
                field_ref: Some(ObjectFieldSelector {
                    field_path: "metadata.labels['batch.kubernetes.io/job-name']".to_owned(),
                    ..ObjectFieldSelector::default()
                }),
                ..EnvVarSource::default()
            }),
            ..EnvVar::default()
        },
        plain(env::TENANT_ID, environment.tenant.to_string()),
        of_secret(env::INGEST_DATABASE_URL, DATABASE_KEY),
        plain(env::ALLOWED_NETWORKS, addresses.to_string()),
    ];
    env.extend(ingest.environment.iter().map(|(name, value)| plain(name, value.as_str())));
    if let EmbeddingChoice::Remote(endpoint) = &environment.embedding {
        env.push(plain(env::EMBEDDING_BASE_URL, endpoint.base_url.as_str()));
        env.push(plain(env::EMBEDDING_MODEL, endpoint.model.as_str()));
        env.push(plain(env::EMBEDDING_KIND, endpoint.kind.name()));
        if endpoint.guard.is_some() {
            env.push(plain(env::EMBEDDING_GUARDED, "true"));
        }
        if endpoint.api_key.is_some() {
            env.push(of_secret(env::EMBEDDING_API_KEY, EMBEDDING_KEY));
        }
    }
    env
}

fn plain(name: &str, value: impl Into<String>) -> EnvVar {
    EnvVar { name: name.to_owned(), value: Some(value.into()), ..EnvVar::default() }
}

fn scratch() -> Volume {
    Volume {
        name: "tmp".to_owned(),
        empty_dir: Some(EmptyDirVolumeSource {
            size_limit: Some(Quantity("4Gi".to_owned())),
            ..EmptyDirVolumeSource::default()
        }),
        ..Volume::default()
    }
}

fn mount(name: &str, path: &str, read_only: bool) -> VolumeMount {
    VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(read_only),
        ..VolumeMount::default()
    }
}

fn amounts(amounts: &[(&str, &str)]) -> BTreeMap<String, Quantity> {
    amounts.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect()
}
