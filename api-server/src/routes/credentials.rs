//! Which key goes where is an admin's decision: whoever could send one elsewhere could read it.

use docbrain_core::provision;
use serde_json::Value;

use crate::access::TenantAccess;
use crate::problem::{Problem, ProblemKind};

/// Where a spec says whom a secret is sent to: its part, the address there, and the reference.
const USES: [(&str, &str, &str); 2] =
    [("/model", "baseUrl", "apiKeySecretRef"), ("/source/git", "url", "credentialsSecretRef")];

/// Refuses an editor's change by which a secret would go to another address, or another secret to the same.
pub(super) fn check(access: &TenantAccess, before: &Value, patch: &Value) -> Result<(), Problem> {
    if access.manages || !sends_elsewhere(before, patch) {
        return Ok(());
    }
    let detail =
        "which key of a Secret is sent where is for admins to change; leave the reference and its address as they are";
    Err(Problem::new(ProblemKind::Forbidden, detail))
}

fn sends_elsewhere(before: &Value, patch: &Value) -> bool {
    let mut after = before.clone();
    provision::merge(&mut after, patch);
    USES.iter().any(|(part, address, reference)| {
        let of = |spec: &Value| {
            let part = spec.pointer(part).cloned().unwrap_or_default();
            (part[*reference].clone(), part[*address].clone())
        };
        let (wanted, had) = (of(&after), of(before));
        !wanted.0.is_null() && wanted != had
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_secret_that_goes_elsewhere_is_seen() {
        let key = json!({"name": "openai", "key": "api-key"});
        let spec = json!({"displayName": "x", "model": {"model": "m", "baseUrl": "https://a.example/v1", "apiKeySecretRef": key}});
        for (patch, elsewhere) in [
            (json!({"displayName": "y"}), false),
            (json!({"model": {"model": "n", "baseUrl": "https://a.example/v1", "apiKeySecretRef": key}}), false),
            (json!({"model": {"baseUrl": "https://b.example/v1"}}), true),
            (json!({"model": {"apiKeySecretRef": {"key": "other"}}}), true),
            (json!({"model": {"apiKeySecretRef": null, "baseUrl": "https://b.example/v1"}}), false),
            (json!({"model": null}), false),
        ] {
            assert_eq!(sends_elsewhere(&spec, &patch), elsewhere, "{patch}");
        }
        assert!(sends_elsewhere(&Value::Null, &spec), "a new one, too");
        let git =
            json!({"source": {"git": {"url": "https://a.example/x.git", "credentialsSecretRef": {"name": "git"}}}});
        assert!(sends_elsewhere(&git, &json!({"source": {"git": {"url": "https://b.example/x.git"}}})));
        assert!(!sends_elsewhere(&git, &json!({"source": {"git": {"ref": "main"}}})));
        assert!(!sends_elsewhere(
            &json!({"source": {"git": {"url": "https://a.example/x.git"}}}),
            &json!({"source": {"git": {"url": "https://b.example/x.git"}}})
        ));
    }
}
