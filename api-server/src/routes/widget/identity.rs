//! Who the page's host says a visitor is, signed with a key that only the host and DocBrain know.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use docbrain_core::ids::ChatbotId;
use docbrain_core::providers::Providers;
use docbrain_core::store::chatbots::{self, ChatbotRef};
use docbrain_core::store::{Pool, TenantTx, audit, secrets};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use crate::access::{TenantAccess, secret};
use crate::extract::Path;
use crate::problem::{Problem, ProblemKind};

/// What an identity key begins with.
const IDENTITY_KEY: &str = "dock_";
/// Longest value of a claim in characters.
const LONGEST_CLAIM: usize = 200;

/// A new identity key.
#[derive(Serialize, ToSchema)]
pub(crate) struct NewIdentityKey {
    /// The key; shown this once.
    #[schema(example = "dock_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    key: String,
}

/// Make the key that a chatbot's host signs its visitors' identities with
///
/// An earlier key is good no longer. The host signs `{"sub": …, "name": …, "email": …, "exp": …}` as a JWT (HS256), which
/// the page hands to `POST /widget/session` as `identity`.
#[utoipa::path(
    post, path = "/chatbots/{id}/identity-key", tag = "widget", params(("id" = String, Path, description = "Name or id of the chatbot")),
    extensions(("x-problems" = json!(["chatbot_not_found"]))),
    responses((status = 201, description = "The key", body = NewIdentityKey))
)]
pub(crate) async fn create_identity_key(
    State(pool): State<Pool>,
    State(providers): State<Providers>,
    access: TenantAccess,
    Path(id): Path<String>,
) -> Result<impl IntoResponse, Problem> {
    let key = secret::generate(IDENTITY_KEY);
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let chatbot = chatbots::describe(&mut tx, &ChatbotRef::from(id.as_str())).await?;
    providers.secrets().put(&mut tx, &name(chatbot.id), &key).await?;
    audit::record(&mut tx, access.actor()?, "identity_key.create", &chatbot.name, &json!({})).await?;
    tx.commit().await?;
    let body = NewIdentityKey { key: key.expose_secret().to_owned() };
    Ok((StatusCode::CREATED, [(CACHE_CONTROL, "no-store")], Json(body)))
}

/// Delete the key of a chatbot's host
#[utoipa::path(
    delete, path = "/chatbots/{id}/identity-key", tag = "widget", params(("id" = String, Path, description = "Name or id of the chatbot")),
    extensions(("x-problems" = json!(["chatbot_not_found"]))),
    responses((status = 204, description = "No identity is believed any more"))
)]
pub(crate) async fn delete_identity_key(
    State(pool): State<Pool>,
    access: TenantAccess,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let mut tx = TenantTx::begin(&pool, access.tenant).await?;
    let chatbot = chatbots::describe(&mut tx, &ChatbotRef::from(id.as_str())).await?;
    secrets::delete(&mut tx, &name(chatbot.id)).await?;
    audit::record(&mut tx, access.actor()?, "identity_key.delete", &chatbot.name, &json!({})).await?;
    tx.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What a host says of a visitor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// The host's name for the visitor.
    pub(super) sub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<String>,
}

/// What the host of a chatbot says, if it is the host that says it, and not too long ago.
pub(super) async fn read(
    tx: &mut TenantTx,
    providers: &Providers,
    chatbot: ChatbotId,
    token: &SecretString,
) -> Result<Identity, Problem> {
    let key = providers.secrets().get(tx, &name(chatbot)).await?;
    let key = key.ok_or_else(|| refused("the chatbot has no identity key; make one first"))?;
    verify(token, &key)
}

fn verify(token: &SecretString, key: &SecretString) -> Result<Identity, Problem> {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.leeway = 0;
    validation.validate_aud = false;
    validation.set_required_spec_claims(&["exp", "sub"]);
    let key = DecodingKey::from_secret(key.expose_secret().as_bytes());
    let identity = decode::<Identity>(token.expose_secret(), &key, &validation)
        .map_err(|_| {
            refused("`identity` must be a JWT (HS256) with `sub` and `exp`, signed with the chatbot's identity key")
        })?
        .claims;
    let fits = |claim: &String| (1..=LONGEST_CLAIM).contains(&claim.chars().count()) && !claim.contains('\0');
    let claims = [Some(&identity.sub), identity.name.as_ref(), identity.email.as_ref()];
    if claims.into_iter().flatten().all(fits) {
        Ok(identity)
    } else {
        Err(refused("each claim of `identity` must be a text of 1 to 200 characters"))
    }
}

fn name(chatbot: ChatbotId) -> String {
    format!("identity:{chatbot}")
}

fn refused(detail: &'static str) -> Problem {
    Problem::new(ProblemKind::IdentityRefused, detail)
}

#[cfg(test)]
mod tests {
    use chrono::Utc;
    use jsonwebtoken::{EncodingKey, Header, encode};
    use serde_json::Value;

    use super::*;

    fn signed(key: &str, claims: &Value) -> SecretString {
        encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(key.as_bytes())).unwrap().into()
    }

    #[test]
    fn only_the_host_is_believed_and_only_for_a_while() {
        let key = SecretString::from("the key of the host");
        let soon = Utc::now().timestamp() + 60;
        let good = signed("the key of the host", &json!({"sub": "u-1", "name": "Ada", "exp": soon, "plan": "pro"}));
        let identity = verify(&good, &key).unwrap();
        assert_eq!((identity.sub.as_str(), identity.name.as_deref()), ("u-1", Some("Ada")));
        for (signer, claims) in [
            ("another key", json!({"sub": "u-1", "exp": soon})),
            ("the key of the host", json!({"sub": "u-1", "exp": soon - 120})),
            ("the key of the host", json!({"sub": "u-1"})),
            ("the key of the host", json!({"exp": soon})),
            ("the key of the host", json!({"sub": "", "exp": soon})),
            ("the key of the host", json!({"sub": "x".repeat(201), "exp": soon})),
        ] {
            let problem = verify(&signed(signer, &claims), &key).unwrap_err();
            assert_eq!(problem.kind, ProblemKind::IdentityRefused, "{claims}");
        }
    }
}
