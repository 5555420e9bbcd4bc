//! Conditions as `kubectl wait`, Helm and Flux judge them (kstatus): `Ready` says whether the resource is of use,
//! `Reconciling` is there while something is still to happen by itself, `Stalled` while a person has to act.
//!
//! <https://github.com/kubernetes-sigs/cli-utils/blob/master/pkg/kstatus/README.md>

use docbrain_crds::{Condition, ConditionStatus};

/// Longest message, in characters: a status stays small.
const LONGEST_MESSAGE: usize = 300;

/// The reasons that conditions give. `docs/guides/conditions.md` tells the remedy of each, which a test holds.
pub mod reason {
    /// All is as the spec says.
    pub const RECONCILED: &str = "Reconciled";
    /// The resource's tenant or itself is suspended.
    pub const SUSPENDED: &str = "Suspended";
    /// The resource is being deleted.
    pub const DELETING: &str = "Deleting";
    /// Its namespace belongs to no tenant.
    pub const NO_TENANT: &str = "NoTenant";
    /// Its tenant is not ready yet.
    pub const TENANT_NOT_READY: &str = "TenantNotReady";
    /// A field cannot be used, for a reason that the schema cannot tell.
    pub const INVALID_SPEC: &str = "InvalidSpec";
    /// The namespace is there, and is not this tenant's.
    pub const NAMESPACE_TAKEN: &str = "NamespaceTaken";
    /// The namespace is being deleted by somebody.
    pub const NAMESPACE_TERMINATING: &str = "NamespaceTerminating";
    /// No Secret of that name.
    pub const SECRET_NOT_FOUND: &str = "SecretNotFound";
    /// The Secret has no such key, or nothing in it.
    pub const KEY_NOT_FOUND: &str = "KeyNotFound";
    /// The credentials are at hand.
    pub const CREDENTIALS_FOUND: &str = "CredentialsFound";
    /// None is needed.
    pub const NO_CREDENTIALS: &str = "NoCredentials";
    /// The knowledge sources can answer.
    pub const KNOWLEDGE_READY: &str = "KnowledgeReady";
    /// A knowledge source does not exist.
    pub const SOURCE_NOT_FOUND: &str = "SourceNotFound";
    /// Knowledge sources are not indexed yet.
    pub const SOURCES_NOT_READY: &str = "SourcesNotReady";
    /// The chatbot names no knowledge source.
    pub const NO_SOURCES: &str = "NoSources";
    /// There is an index that answers.
    pub const INDEXED: &str = "Indexed";
    /// Nothing has been uploaded yet.
    pub const NO_DOCUMENTS: &str = "NoDocuments";
    /// No run has ended yet.
    pub const NOT_INDEXED: &str = "NotIndexed";
    /// A run is queued or running.
    pub const RUN_IN_PROGRESS: &str = "RunInProgress";
    /// The last run went well.
    pub const RUN_SUCCEEDED: &str = "RunSucceeded";
    /// The last run failed.
    pub const RUN_FAILED: &str = "RunFailed";
    /// Documents failed in the last run.
    pub const DOCUMENTS_FAILED: &str = "DocumentsFailed";
    /// The Job's pod cannot start.
    pub const POD_NOT_STARTING: &str = "PodNotStarting";
    /// A schedule is set.
    pub const SCHEDULED: &str = "Scheduled";
}

/// A condition before it is known when it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    type_: &'static str,
    status: bool,
    reason: &'static str,
    message: String,
}

impl Draft {
    /// A condition that holds.
    pub fn is(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { type_, status: true, reason, message: message.into() }
    }

    /// A condition that does not.
    pub fn not(type_: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { type_, status: false, reason, message: message.into() }
    }
}

/// What all conditions come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is of use.
    Ready {
        /// Why, in one word.
        reason: &'static str,
        /// And in a sentence.
        message: String,
    },
    /// It will be, without anybody's help.
    Reconciling {
        /// Why not yet, in one word.
        reason: &'static str,
        /// And in a sentence.
        message: String,
    },
    /// It will not be before somebody acts.
    Stalled {
        /// What is wrong, in one word.
        reason: &'static str,
        /// And what to do.
        message: String,
    },
}

impl Verdict {
    /// Of use.
    pub fn ready(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Ready { reason, message: message.into() }
    }

    /// On its way.
    pub fn reconciling(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Reconciling { reason, message: message.into() }
    }

    /// In need of somebody.
    pub fn stalled(reason: &'static str, message: impl Into<String>) -> Self {
        Self::Stalled { reason, message: message.into() }
    }

    /// Whether it is of use.
    pub fn is_ready(&self) -> bool {
        matches!(self, Self::Ready { .. })
    }

    /// The word and the sentence.
    pub fn words(&self) -> (&'static str, &str) {
        match self {
            Self::Ready { reason, message }
            | Self::Reconciling { reason, message }
            | Self::Stalled { reason, message } => (reason, message),
        }
    }

    /// `Ready`, with `Reconciling` or `Stalled` where they apply.
    fn drafts(&self) -> Vec<Draft> {
        let (reason, message) = self.words();
        match self {
            Self::Ready { .. } => vec![Draft::is("Ready", reason, message)],
            Self::Reconciling { .. } => {
                vec![Draft::not("Ready", reason, message), Draft::is("Reconciling", reason, message)]
            }
            Self::Stalled { .. } => {
                vec![Draft::not("Ready", reason, message), Draft::is("Stalled", reason, message)]
            }
        }
    }
}

/// The conditions of a status: the verdict's, then the others. One whose status is as it was keeps its time, so that
/// the same state is the same status.
pub fn settle(
    before: &[Condition],
    verdict: &Verdict,
    others: Vec<Draft>,
    generation: Option<i64>,
    now: &str,
) -> Vec<Condition> {
    verdict
        .drafts()
        .into_iter()
        .chain(others)
        .map(|draft| {
            let status = if draft.status { ConditionStatus::True } else { ConditionStatus::False };
            let since = before.iter().find(|condition| condition.type_ == draft.type_ && condition.status == status);
            Condition {
                type_: draft.type_.to_owned(),
                status,
                reason: draft.reason.to_owned(),
                message: shortened(&draft.message),
                last_transition_time: since.map_or_else(|| now.to_owned(), |since| since.last_transition_time.clone()),
                observed_generation: generation,
            }
        })
        .collect()
}

/// Whether a condition of this type holds.
pub fn holds(conditions: &[Condition], type_: &str) -> bool {
    conditions.iter().any(|condition| condition.type_ == type_ && condition.status == ConditionStatus::True)
}

fn shortened(message: &str) -> String {
    if message.chars().count() <= LONGEST_MESSAGE {
        return message.to_owned();
    }
    message.chars().take(LONGEST_MESSAGE - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn types(conditions: &[Condition]) -> Vec<(&str, ConditionStatus)> {
        conditions.iter().map(|condition| (condition.type_.as_str(), condition.status)).collect()
    }

    #[test]
    fn a_verdict_is_told_as_kstatus_reads_it() {
        let told = |verdict: Verdict| settle(&[], &verdict, Vec::new(), Some(3), "t0");
        let ready = told(Verdict::ready(reason::RECONCILED, "fine"));
        assert_eq!(types(&ready), [("Ready", ConditionStatus::True)]);
        let underway = told(Verdict::reconciling(reason::NOT_INDEXED, "soon"));
        assert_eq!(types(&underway), [("Ready", ConditionStatus::False), ("Reconciling", ConditionStatus::True)]);
        let stalled = told(Verdict::stalled(reason::NO_TENANT, "apply it"));
        assert_eq!(types(&stalled), [("Ready", ConditionStatus::False), ("Stalled", ConditionStatus::True)]);
        assert!(stalled.iter().all(|condition| condition.observed_generation == Some(3)));
    }

    #[test]
    fn the_time_changes_only_with_the_status() {
        let first = settle(&[], &Verdict::ready(reason::INDEXED, "3 documents"), Vec::new(), Some(1), "t0");
        let same = settle(&first, &Verdict::ready(reason::INDEXED, "4 documents"), Vec::new(), Some(1), "t1");
        assert_eq!(same[0].last_transition_time, "t0");
        assert_eq!(same[0].message, "4 documents");
        let other = settle(&same, &Verdict::stalled(reason::RUN_FAILED, "no"), Vec::new(), Some(1), "t2");
        assert!(other.iter().all(|condition| condition.last_transition_time == "t2"));
    }

    #[test]
    fn a_message_stays_short_and_whole_characters() {
        let long = settle(&[], &Verdict::stalled(reason::RUN_FAILED, "ß".repeat(400)), Vec::new(), None, "t");
        assert_eq!(long[0].message.chars().count(), LONGEST_MESSAGE);
    }
}
