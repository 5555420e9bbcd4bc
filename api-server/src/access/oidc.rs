//! Signing in at a company's own identity provider (OpenID Connect Core 1.0, authorization code flow with PKCE).

use std::time::Duration;

use futures::future::BoxFuture;
use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata};
use openidconnect::{
    AsyncHttpClient, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointMaybeSet, EndpointNotSet,
    EndpointSet, HttpRequest, HttpResponse, IssuerUrl, Nonce, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, Scope,
    TokenResponse,
};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::OnceCell;

use crate::problem::{Problem, ProblemKind};

/// The identity provider of an installation, and DocBrain as its client.
#[derive(Clone, Debug)]
pub struct OidcSettings {
    /// Such as `https://login.example.com/realms/acme`; its discovery document is below.
    pub issuer: String,
    /// DocBrain's id there.
    pub client_id: String,
    /// DocBrain's secret there.
    pub client_secret: SecretString,
    /// Where the provider sends people back to: the public URL with `/auth/oidc/callback`.
    pub redirect_url: String,
}

/// What must be remembered between leaving for the provider and coming back; kept in the browser, signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Journey {
    state: String,
    nonce: String,
    verifier: String,
    /// Path to go on to.
    pub(crate) return_to: String,
}

/// Who the provider says has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) issuer: String,
    pub(crate) subject: String,
    /// Verified by the provider.
    pub(crate) email: Option<String>,
    pub(crate) name: Option<String>,
}

type Client =
    CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointMaybeSet, EndpointMaybeSet>;

/// A client of the provider, which is asked for its metadata at the first sign-in.
pub(crate) struct Oidc {
    settings: OidcSettings,
    http: Http,
    client: OnceCell<Client>,
}

impl Oidc {
    pub(crate) fn new(settings: OidcSettings) -> Self {
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .expect("the settings are constants");
        Self { settings, http: Http(http), client: OnceCell::new() }
    }

    /// Where to send the browser, and what to remember until it comes back.
    pub(crate) async fn depart(&self, return_to: String) -> Result<(String, Journey), Problem> {
        let client = self.client().await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let (url, state, nonce) = client
            .authorize_url(CoreAuthenticationFlow::AuthorizationCode, CsrfToken::new_random, Nonce::new_random)
            .add_scopes(["email", "profile"].map(|scope| Scope::new(scope.to_owned())))
            .set_pkce_challenge(challenge)
            .url();
        let journey = Journey {
            state: state.into_secret(),
            nonce: nonce.secret().clone(),
            verifier: verifier.into_secret(),
            return_to,
        };
        Ok((url.to_string(), journey))
    }

    /// Who has come back.
    pub(crate) async fn arrive(&self, journey: Journey, code: String, state: &str) -> Result<Identity, Problem> {
        if journey.state != state {
            return Err(refused("the sign-in was begun in another browser or too long ago; begin again"));
        }
        let client = self.client().await?;
        let exchange = client.exchange_code(AuthorizationCode::new(code)).map_err(unreachable)?;
        let answer = exchange
            .set_pkce_verifier(PkceCodeVerifier::new(journey.verifier))
            .request_async(&self.http)
            .await
            .map_err(unreachable)?;
        let unusable = || refused("the identity provider vouches for nobody; ask who runs it");
        let claims = answer
            .id_token()
            .ok_or_else(unusable)?
            .claims(&client.id_token_verifier(), &Nonce::new(journey.nonce))
            .map_err(|error| unusable().because(error))?;
        let verified = claims.email_verified() == Some(true);
        Ok(Identity {
            issuer: claims.issuer().to_string(),
            subject: claims.subject().to_string(),
            email: claims.email().filter(|_| verified).map(|email| email.to_string()),
            name: claims.name().and_then(|name| name.get(None)).map(|name| name.to_string()),
        })
    }

    async fn client(&self) -> Result<&Client, Problem> {
        self.client.get_or_try_init(|| self.discover()).await
    }

    async fn discover(&self) -> Result<Client, Problem> {
        let issuer = IssuerUrl::new(self.settings.issuer.clone()).map_err(unreachable)?;
        let redirect = RedirectUrl::new(self.settings.redirect_url.clone()).map_err(unreachable)?;
        let metadata = CoreProviderMetadata::discover_async(issuer, &self.http).await.map_err(unreachable)?;
        let id = ClientId::new(self.settings.client_id.clone());
        let secret = ClientSecret::new(self.settings.client_secret.expose_secret().to_owned());
        Ok(CoreClient::from_provider_metadata(metadata, id, Some(secret)).set_redirect_uri(redirect))
    }
}

/// The crate's own client is of another version of reqwest.
#[derive(Clone)]
struct Http(reqwest::Client);

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = reqwest::Error;
    type Future = BoxFuture<'c, Result<HttpResponse, reqwest::Error>>;

    fn call(&'c self, request: HttpRequest) -> Self::Future {
        let http = self.0.clone();
        Box::pin(async move {
            let response = http.execute(request.try_into()?).await?;
            let mut answer = HttpResponse::new(Vec::new());
            *answer.status_mut() = response.status();
            *answer.headers_mut() = response.headers().clone();
            *answer.body_mut() = response.bytes().await?.to_vec();
            Ok(answer)
        })
    }
}

fn refused(detail: &'static str) -> Problem {
    Problem::new(ProblemKind::OidcRefused, detail)
}

fn unreachable(error: impl std::error::Error + Send + Sync + 'static) -> Problem {
    Problem::new(ProblemKind::OidcUnavailable, "the identity provider gave no usable answer; try again").because(error)
}
