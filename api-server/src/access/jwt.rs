//! Signed tokens (JWT, RFC 7519; HS256): access tokens of accounts and session tokens of visitors.
//!
//! A token names the key it was signed with (`kid`), so that keys can be rotated: the first key signs, all verify.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use chrono::Utc;
use docbrain_core::ids::{AccountId, ChatbotId, SessionId, TenantId};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode};
use serde::{Deserialize, Serialize};

/// How long an access token lasts.
pub(crate) const ACCESS_LASTS: Duration = Duration::from_mins(15);
/// How long somebody may take at an identity provider.
pub(crate) const JOURNEY_LASTS: Duration = Duration::from_mins(10);
/// How long a visitor's session token lasts.
pub(crate) const VISITOR_LASTS: Duration = Duration::from_hours(1);
const ISSUER: &str = "docbrain";
const AUDIENCES: [&str; 3] = ["docbrain-api", "docbrain-widget", "docbrain-sign-in"];

/// What a token says, by its audience.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "aud")]
pub(crate) enum Claims {
    /// An account may call the API.
    #[serde(rename = "docbrain-api")]
    Access {
        sub: AccountId,
        /// The session that ends the token with it.
        sid: SessionId,
        #[serde(skip_serializing_if = "Option::is_none")]
        tid: Option<TenantId>,
    },
    /// A visitor may ask a chatbot.
    #[serde(rename = "docbrain-widget")]
    Visitor {
        sub: String,
        tid: TenantId,
        bot: ChatbotId,
        /// The origin of the page.
        org: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        idn: Option<serde_json::Value>,
    },
    /// A browser is on its way to an identity provider and back.
    #[serde(rename = "docbrain-sign-in")]
    Journey { sub: String, jny: super::oidc::Journey },
}

#[derive(Serialize, Deserialize)]
struct Envelope {
    iss: String,
    iat: i64,
    exp: i64,
    #[serde(flatten)]
    claims: Claims,
}

/// Why a token is not taken.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refused {
    /// It was good once, and said this.
    Expired(Box<Claims>),
    /// It never was.
    Invalid,
}

/// Signs and verifies tokens.
pub(crate) struct Signer {
    current: (String, EncodingKey),
    keys: HashMap<String, DecodingKey>,
    validation: Validation,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("current", &self.current.0).finish_non_exhaustive()
    }
}

impl Signer {
    /// `keys` by id; the first one signs. At least one.
    pub(crate) fn new<'a>(keys: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut current = None;
        let mut decoding = HashMap::new();
        for (id, key) in keys {
            current.get_or_insert_with(|| (id.to_owned(), EncodingKey::from_secret(key)));
            decoding.insert(id.to_owned(), DecodingKey::from_secret(key));
        }
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&AUDIENCES);
        validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
        Self { current: current.expect("there is at least one signing key"), keys: decoding, validation }
    }

    /// A token that says `claims` for `lasts`.
    pub(crate) fn sign(&self, claims: Claims, lasts: Duration) -> String {
        let now = Utc::now().timestamp();
        let lasts = i64::try_from(lasts.as_secs()).unwrap_or(i64::MAX);
        let envelope = Envelope { iss: ISSUER.to_owned(), iat: now, exp: now.saturating_add(lasts), claims };
        let (id, key) = &self.current;
        let header = Header { kid: Some(id.clone()), ..Header::new(Algorithm::HS256) };
        encode(&header, &envelope, key).expect("claims are JSON and the key is for HMAC")
    }

    /// What a token says, if one of the keys has signed it and it has not expired.
    pub(crate) fn verify(&self, token: &str) -> Result<Claims, Refused> {
        let header = decode_header(token).map_err(|_| Refused::Invalid)?;
        let key = header.kid.and_then(|id| self.keys.get(&id)).ok_or(Refused::Invalid)?;
        match decode::<Envelope>(token, key, &self.validation) {
            Ok(token) => Ok(token.claims.claims),
            Err(error) if *error.kind() == ErrorKind::ExpiredSignature => {
                // Everything else is checked again: which check fails first is not said.
                let mut at_any_time = self.validation.clone();
                at_any_time.validate_exp = false;
                let token = decode::<Envelope>(token, key, &at_any_time).map_err(|_| Refused::Invalid)?;
                Err(Refused::Expired(Box::new(token.claims.claims)))
            }
            Err(_) => Err(Refused::Invalid),
        }
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::*;

    const OLD: (&str, &[u8]) = ("2025", b"an old key of at least thirty-two bytes");
    const NEW: (&str, &[u8]) = ("2026", b"a new key of at least thirty-two bytes!");
    const HOUR: Duration = Duration::from_hours(1);

    fn claims() -> Claims {
        Claims::Access { sub: AccountId::new(), sid: SessionId::new(), tid: Some(TenantId::new()) }
    }

    #[test]
    fn a_token_says_what_was_signed() {
        let signer = Signer::new([NEW]);
        let visitor = Claims::Visitor {
            sub: "v1".to_owned(),
            tid: TenantId::new(),
            bot: ChatbotId::new(),
            org: "https://a.example".to_owned(),
            idn: Some(json!({"name": "Ada"})),
        };
        for claims in [claims(), visitor] {
            assert_eq!(signer.verify(&signer.sign(claims.clone(), HOUR)), Ok(claims));
        }
    }

    #[test]
    fn keys_rotate_by_their_ids() {
        let claims = claims();
        let token = Signer::new([OLD]).sign(claims.clone(), HOUR);
        assert_eq!(Signer::new([NEW, OLD]).verify(&token), Ok(claims));
        assert_eq!(Signer::new([NEW]).verify(&token), Err(Refused::Invalid), "the old key was dropped");
        assert_eq!(Signer::new([("2025", NEW.1)]).verify(&token), Err(Refused::Invalid), "another key by the same id");
    }

    #[test]
    fn expired_and_invalid_are_told_apart() {
        let signer = Signer::new([NEW]);
        let key = EncodingKey::from_secret(NEW.1);
        let made = |header: &Header, changes: &[(&str, serde_json::Value)]| {
            let now = Utc::now().timestamp();
            let mut body = json!({"iss": ISSUER, "aud": "docbrain-api", "iat": now, "exp": now + 60,
                "sub": AccountId::new(), "sid": SessionId::new()});
            for (name, value) in changes {
                body[*name] = value.clone();
            }
            encode(header, &body, &key).unwrap()
        };
        let header = Header { kid: Some("2026".to_owned()), ..Header::new(Algorithm::HS256) };
        let hour_ago = ("exp", json!(Utc::now().timestamp() - 3_600));
        assert!(signer.verify(&made(&header, &[])).is_ok());
        let expired = signer.verify(&made(&header, std::slice::from_ref(&hour_ago)));
        assert!(
            matches!(&expired, Err(Refused::Expired(claims)) if matches!(**claims, Claims::Access { .. })),
            "{expired:?}"
        );
        let expired_elsewhere = made(&header, &[hour_ago, ("iss", json!("other"))]);
        assert_eq!(signer.verify(&expired_elsewhere), Err(Refused::Invalid));
        for wrong in [("iss", json!("other")), ("aud", json!("other")), ("exp", json!(null)), ("sub", json!(7))] {
            assert_eq!(signer.verify(&made(&header, std::slice::from_ref(&wrong))), Err(Refused::Invalid), "{wrong:?}");
        }
        let without_key = Header::new(Algorithm::HS256);
        assert_eq!(signer.verify(&made(&without_key, &[])), Err(Refused::Invalid));
        for garbage in ["", ".", "a.b.c", "a.b.c.d"] {
            assert_eq!(signer.verify(garbage), Err(Refused::Invalid), "{garbage:?}");
        }
    }

    #[test]
    fn a_token_without_a_signature_is_refused() {
        let signer = Signer::new([NEW]);
        let good = signer.sign(claims(), HOUR);
        let body = good.split('.').nth(1).unwrap();
        for header in [json!({"alg": "none", "kid": "2026"}), json!({"alg": "HS384", "kid": "2026"})] {
            let header = URL_SAFE_NO_PAD.encode(header.to_string());
            for signature in ["", good.rsplit('.').next().unwrap()] {
                assert_eq!(signer.verify(&format!("{header}.{body}.{signature}")), Err(Refused::Invalid));
            }
        }
    }
}
