//! Signing in at an identity provider, against one that speaks the protocol and signs with a key of its own.

use axum::body::Body;
use axum::http::Request;
use chrono::{TimeDelta, Utc};
use docbrain_api::{OidcSettings, Registration, Settings};
use openidconnect::core::{
    CoreIdToken, CoreIdTokenClaims, CoreIdTokenFields, CoreJsonWebKeySet, CoreJwsSigningAlgorithm,
    CoreProviderMetadata, CoreResponseType, CoreRsaPrivateSigningKey, CoreSubjectIdentifierType, CoreTokenResponse,
    CoreTokenType,
};
use openidconnect::{
    AccessToken, Audience, AuthUrl, EmptyAdditionalClaims, EmptyAdditionalProviderMetadata, EmptyExtraTokenFields,
    EndUserEmail, IssuerUrl, JsonWebKeyId, JsonWebKeySetUrl, Nonce, PrivateSigningKey, ResponseTypes, StandardClaims,
    SubjectIdentifier, TokenUrl,
};
use sqlx::PgPool;
use url::Url;
use wiremock::matchers::{body_string_contains, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::harness::{Reply, World, settings, state_of};

struct Provider {
    server: MockServer,
    key: CoreRsaPrivateSigningKey,
}

impl Provider {
    async fn start() -> Self {
        let server = MockServer::start().await;
        let pem = include_str!("../../testdata/identity-provider.pem");
        let key = CoreRsaPrivateSigningKey::from_pem(pem, Some(JsonWebKeyId::new("test".to_owned()))).unwrap();
        let provider = Self { server, key };
        let at = |place: &str| provider.server.uri() + place;
        let metadata = CoreProviderMetadata::new(
            provider.issuer(),
            AuthUrl::new(at("/authorize")).unwrap(),
            JsonWebKeySetUrl::new(at("/keys")).unwrap(),
            vec![ResponseTypes::new(vec![CoreResponseType::Code])],
            vec![CoreSubjectIdentifierType::Public],
            vec![CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256],
            EmptyAdditionalProviderMetadata {},
        )
        .set_token_endpoint(Some(TokenUrl::new(at("/token")).unwrap()));
        let keys = CoreJsonWebKeySet::new(vec![provider.key.as_verification_key()]);
        provider.answer("/.well-known/openid-configuration", &metadata).await;
        provider.answer("/keys", &keys).await;
        provider
    }

    fn issuer(&self) -> IssuerUrl {
        IssuerUrl::new(self.server.uri()).unwrap()
    }

    async fn answer(&self, place: &str, body: &impl serde::Serialize) {
        Mock::given(path(place)).respond_with(ResponseTemplate::new(200).set_body_json(body)).mount(&self.server).await;
    }

    /// Vouches for somebody when `code` is exchanged.
    async fn vouch(&self, code: &str, nonce: &str, subject: &str, verified: bool) {
        let claims = StandardClaims::new(SubjectIdentifier::new(subject.to_owned()))
            .set_email(Some(EndUserEmail::new("ada@globex.example".to_owned())))
            .set_email_verified(Some(verified));
        let claims = CoreIdTokenClaims::new(
            self.issuer(),
            vec![Audience::new("docbrain".to_owned())],
            Utc::now() + TimeDelta::minutes(5),
            Utc::now(),
            claims,
            EmptyAdditionalClaims {},
        )
        .set_nonce(Some(Nonce::new(nonce.to_owned())));
        let algorithm = CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256;
        let token = CoreIdToken::new(claims, &self.key, algorithm, None, None).unwrap();
        let fields = CoreIdTokenFields::new(Some(token), EmptyExtraTokenFields {});
        let answer = CoreTokenResponse::new(AccessToken::new("at".to_owned()), CoreTokenType::Bearer, fields);
        Mock::given(path("/token"))
            .and(body_string_contains(format!("code={code}&")))
            .and(body_string_contains("code_verifier="))
            .respond_with(ResponseTemplate::new(200).set_body_json(&answer))
            .mount(&self.server)
            .await;
    }

    async fn world(&self, owner: PgPool, registration: Registration) -> World {
        let oidc = OidcSettings {
            issuer: self.server.uri(),
            client_id: "docbrain".to_owned(),
            client_secret: "a secret of the client".into(),
            redirect_url: "https://docbrain.example/auth/oidc/callback".to_owned(),
        };
        let settings = Settings { oidc: Some(oidc), registration, ..settings() };
        World::with(owner, None, settings).await
    }
}

/// A browser on its way: the cookie it keeps, and what the provider was asked with.
struct Journey {
    cookie: String,
    state: String,
    nonce: String,
}

async fn depart(world: &World) -> Journey {
    let left = get(world, "/auth/oidc/login?return_to=/dashboard", None).await;
    assert_eq!(left.status, 303, "{}", left.text());
    let url = Url::parse(left.headers["location"].to_str().unwrap()).unwrap();
    let asked = |name: &str| url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
    assert_eq!(asked("code_challenge_method"), "S256");
    Journey { cookie: cookie(&left), state: asked("state"), nonce: asked("nonce") }
}

async fn arrive(world: &World, journey: &Journey, code: &str, state: &str) -> Reply {
    get(world, &format!("/auth/oidc/callback?code={code}&state={state}"), Some(&journey.cookie)).await
}

async fn get(world: &World, path: &str, cookie: Option<&str>) -> Reply {
    let request = Request::get(path).header("cookie", cookie.unwrap_or_default());
    world.send(request.body(Body::empty()).unwrap()).await
}

fn cookie(reply: &Reply) -> String {
    reply.headers["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned()
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn whom_the_provider_vouches_for_is_signed_in(owner: PgPool) {
    let provider = Provider::start().await;
    let world = provider.world(owner, Registration::Open).await;
    let mut accounts = Vec::new();
    for code in ["first", "second"] {
        let journey = depart(&world).await;
        provider.vouch(code, &journey.nonce, "ada", true).await;
        let arrived = arrive(&world, &journey, code, &journey.state).await;
        assert_eq!((arrived.status.as_u16(), arrived.headers["location"].to_str().unwrap()), (303, "/dashboard"));
        let me = get(&world, "/auth/me", Some(&cookie(&arrived))).await.json(200);
        assert_eq!(me["account"]["email"], "ada@globex.example");
        assert_eq!(me["tenants"][0]["name"], "globex-example");
        accounts.push(me["account"]["id"].clone());
    }
    assert_eq!(accounts[0], accounts[1], "the same person has the same account");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn everybody_else_is_refused(owner: PgPool) {
    let provider = Provider::start().await;
    let world = provider.world(owner, Registration::Open).await;
    let journey = depart(&world).await;
    arrive(&world, &journey, "x", "another-state").await.problem(403, "oidc_refused");
    arrive(&world, &journey, "unknown", &journey.state).await.problem(502, "oidc_unavailable");
    provider.vouch("stolen", "another-nonce", "ada", true).await;
    arrive(&world, &journey, "stolen", &journey.state).await.problem(403, "oidc_refused");
    provider.vouch("unverified", &journey.nonce, "ada", false).await;
    arrive(&world, &journey, "unverified", &journey.state).await.problem(403, "oidc_refused");
    let path = format!("/auth/oidc/callback?code=x&state={}", journey.state);
    get(&world, &path, None).await.problem(403, "oidc_refused");
    get(&world, "/auth/oidc/callback?error=access_denied", Some(&journey.cookie)).await.problem(403, "oidc_refused");
    for elsewhere in ["https://evil.example/", "//evil.example", "/\\evil.example", "dashboard"] {
        let path = format!("/auth/oidc/login?return_to={elsewhere}");
        get(&world, &path, None).await.problem(422, "invalid_field");
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_provider_does_not_open_a_closed_installation(owner: PgPool) {
    let provider = Provider::start().await;
    let world = provider.world(owner, Registration::Closed).await;
    let journey = depart(&world).await;
    provider.vouch("new", &journey.nonce, "ada", true).await;
    arrive(&world, &journey, "new", &journey.state).await.problem(403, "registration_closed");
    let without = state_of(&world.api, world.providers.clone(), settings());
    let login = Request::get("/auth/oidc/login").body(Body::empty()).unwrap();
    world.send_to(&without, login).await.problem(404, "oidc_not_configured");
}
