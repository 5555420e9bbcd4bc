//! What is said of a Chatbot; no IO.

use crate::conditions::{Draft, Verdict, reason};

/// What is known of a Chatbot whose rows are written.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub(super) suspended: bool,
    pub(super) credentials: Credentials,
    pub(super) knowledge: Vec<(String, Knowledge)>,
}

/// The key of its model.
#[derive(Clone, Debug)]
pub(super) enum Credentials {
    NotNeeded,
    Found,
    NoSecret { name: String },
    NoKey { name: String, key: String },
}

/// A knowledge source that it names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Knowledge {
    Ready,
    NotReady,
    Missing,
}

pub(super) struct Judgement {
    pub(super) verdict: Verdict,
    pub(super) others: Vec<Draft>,
    pub(super) sources_ready: String,
}

/// A chatbot is ready once it can answer: with its key, and from at least one of its knowledge sources.
pub(super) fn judge(facts: &Facts) -> Judgement {
    let ready = facts.knowledge.iter().filter(|(_, state)| *state == Knowledge::Ready).count();
    let sources_ready = format!("{ready}/{}", facts.knowledge.len());
    let (credentials, without_key) = of_credentials(&facts.credentials);
    let (knowledge, without_knowledge) = of_knowledge(&facts.knowledge, &sources_ready);
    let verdict = without_key.or(without_knowledge).unwrap_or_else(|| {
        if facts.suspended {
            Verdict::ready(reason::SUSPENDED, "suspended: questions are refused")
        } else {
            Verdict::ready(reason::RECONCILED, format!("answers from {sources_ready} knowledge sources"))
        }
    });
    let published = Draft::is("Published", reason::RECONCILED, "questions are answered by this spec");
    Judgement { verdict, others: vec![published, credentials, knowledge], sources_ready }
}

fn of_credentials(credentials: &Credentials) -> (Draft, Option<Verdict>) {
    let missing = |word, sentence: String| {
        (Draft::not("CredentialsReady", word, &*sentence), Some(Verdict::stalled(word, sentence)))
    };
    match credentials {
        Credentials::NotNeeded => {
            (Draft::is("CredentialsReady", reason::NO_CREDENTIALS, "the spec names no Secret"), None)
        }
        Credentials::Found => (Draft::is("CredentialsReady", reason::CREDENTIALS_FOUND, "the key is in place"), None),
        Credentials::NoSecret { name } => {
            missing(reason::SECRET_NOT_FOUND, format!("there is no Secret {name} in this namespace; create it"))
        }
        Credentials::NoKey { name, key } => {
            missing(reason::KEY_NOT_FOUND, format!("Secret {name} holds no text under {key}; add it"))
        }
    }
}

fn of_knowledge(knowledge: &[(String, Knowledge)], sources_ready: &str) -> (Draft, Option<Verdict>) {
    if knowledge.is_empty() {
        return (Draft::is("KnowledgeReady", reason::NO_SOURCES, "the spec names no knowledge source"), None);
    }
    let names = |wanted: Knowledge| -> Vec<&str> {
        knowledge.iter().filter(|(_, state)| *state == wanted).map(|(name, _)| name.as_str()).collect()
    };
    let (missing, waiting) = (names(Knowledge::Missing), names(Knowledge::NotReady));
    let (word, sentence) = if !missing.is_empty() {
        (reason::SOURCE_NOT_FOUND, format!("no such knowledge source in this namespace: {}", missing.join(", ")))
    } else if !waiting.is_empty() {
        (reason::SOURCES_NOT_READY, format!("{sources_ready} are ready; not yet: {}", waiting.join(", ")))
    } else {
        let sentence = format!("{sources_ready} knowledge sources are ready");
        return (Draft::is("KnowledgeReady", reason::KNOWLEDGE_READY, sentence), None);
    };
    let verdict = if missing.len() == knowledge.len() {
        Some(Verdict::stalled(word, &*sentence))
    } else if missing.len() + waiting.len() == knowledge.len() {
        Some(Verdict::reconciling(word, &*sentence))
    } else {
        None
    };
    (Draft::not("KnowledgeReady", word, sentence), verdict)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(credentials: Credentials, knowledge: &[Knowledge]) -> Facts {
        let knowledge = knowledge.iter().enumerate().map(|(index, &state)| (format!("s{index}"), state)).collect();
        Facts { suspended: false, credentials, knowledge }
    }

    #[test]
    fn it_is_ready_with_its_key_and_one_of_its_sources() {
        use Knowledge::{Missing, NotReady, Ready};
        let word = |facts: &Facts| judge(facts).verdict.words().0;
        let of = |knowledge: &[Knowledge]| word(&facts(Credentials::NotNeeded, knowledge));
        assert_eq!(of(&[]), reason::RECONCILED);
        assert_eq!(of(&[Ready, NotReady]), reason::RECONCILED);
        assert_eq!(of(&[Ready, Missing]), reason::RECONCILED);
        assert_eq!(of(&[NotReady]), reason::SOURCES_NOT_READY);
        assert_eq!(of(&[NotReady, Missing]), reason::SOURCE_NOT_FOUND);
        // What is missing altogether, somebody has to create; what is on its way comes by itself.
        let verdict = |knowledge: &[Knowledge]| judge(&facts(Credentials::NotNeeded, knowledge)).verdict;
        assert!(matches!(verdict(&[Missing]), Verdict::Stalled { .. }));
        assert!(matches!(verdict(&[NotReady, Missing]), Verdict::Reconciling { .. }));
        let no_secret = facts(Credentials::NoSecret { name: "keys".into() }, &[Ready]);
        assert!(matches!(judge(&no_secret).verdict, Verdict::Stalled { reason: reason::SECRET_NOT_FOUND, .. }));
        assert_eq!(judge(&facts(Credentials::Found, &[Ready, NotReady])).sources_ready, "1/2");
    }
}
