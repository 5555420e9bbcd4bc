//! A browser's session: an `HttpOnly` cookie, and the word that shows that a change was asked for by our own page.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, Method};
use axum_extra::extract::cookie::{Cookie, CookieJar, SameSite};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::problem::{Problem, ProblemKind};

/// Holds the word that [`csrf_word`] made.
pub(crate) const CSRF_HEADER: &str = "x-csrf-token";

/// How the session's cookie is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionCookie {
    /// The dashboard is reached by HTTPS alone.
    pub(crate) secure: bool,
}

impl SessionCookie {
    /// `__Host-` keeps other hosts of the domain from setting it (RFC 6265bis section 4.1.3.2).
    pub(crate) fn name(self) -> &'static str {
        if self.secure { "__Host-docbrain" } else { "docbrain" }
    }

    /// The session's secret, as the browser shows it.
    pub(crate) fn read(self, headers: &HeaderMap) -> Option<SecretString> {
        let jar = CookieJar::from_headers(headers);
        jar.get(self.name()).map(|cookie| cookie.value().to_owned().into())
    }

    /// The header that gives the browser its session.
    pub(crate) fn set(self, secret: &SecretString, lasts: Duration) -> HeaderValue {
        self.header(self.name(), secret.expose_secret(), lasts)
    }

    /// The header that takes it away.
    pub(crate) fn clear(self) -> HeaderValue {
        self.header(self.name(), "", Duration::ZERO)
    }

    fn journey_name(self) -> &'static str {
        if self.secure { "__Host-docbrain-sign-in" } else { "docbrain-sign-in" }
    }

    /// The signed journey to an identity provider, as the browser shows it.
    pub(crate) fn read_journey(self, headers: &HeaderMap) -> Option<String> {
        CookieJar::from_headers(headers).get(self.journey_name()).map(|cookie| cookie.value().to_owned())
    }

    /// The header that keeps a signed journey in the browser.
    pub(crate) fn set_journey(self, journey: &str, lasts: Duration) -> HeaderValue {
        self.header(self.journey_name(), journey, lasts)
    }

    fn header(self, name: &str, value: &str, lasts: Duration) -> HeaderValue {
        let seconds = lasts.as_secs();
        let cookie =
            Cookie::build((name, value)).path("/").http_only(true).secure(self.secure).same_site(SameSite::Lax).build();
        format!("{cookie}; Max-Age={seconds}").parse().expect("a secret is base64")
    }
}

/// What a page must send with every change. It follows from the session's secret, which no other site can read.
pub(crate) fn csrf_word(secret: &SecretString) -> String {
    URL_SAFE_NO_PAD.encode(mac(secret).finalize().into_bytes())
}

fn mac(secret: &SecretString) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()).expect("any length is a key");
    mac.update(b"docbrain csrf");
    mac
}

/// Refuses a change that a cookie alone speaks for: another site may have caused it.
pub(crate) fn check_change(method: &Method, headers: &HeaderMap, secret: &SecretString) -> Result<(), Problem> {
    if method.is_safe() {
        return Ok(());
    }
    let word = headers.get(CSRF_HEADER).and_then(|value| URL_SAFE_NO_PAD.decode(value).ok());
    match word {
        Some(word) if mac(secret).verify_slice(&word).is_ok() => Ok(()),
        _ => Err(Problem::new(
            ProblemKind::CsrfFailed,
            "a change in a browser's session needs the header `X-CSRF-Token` with the `csrf_token` of the sign-in",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_needs_the_word_of_its_own_session() {
        let (mine, other) = (SecretString::from("mine"), SecretString::from("other"));
        let with = |word: &str| HeaderMap::from_iter([(CSRF_HEADER.parse().unwrap(), word.parse().unwrap())]);
        assert!(check_change(&Method::GET, &HeaderMap::new(), &mine).is_ok());
        assert!(check_change(&Method::POST, &with(&csrf_word(&mine)), &mine).is_ok());
        for headers in [HeaderMap::new(), with(""), with("x"), with(&csrf_word(&other))] {
            assert_eq!(check_change(&Method::DELETE, &headers, &mine).unwrap_err().kind, ProblemKind::CsrfFailed);
        }
    }

    #[test]
    fn the_cookie_is_out_of_the_reach_of_scripts_and_other_hosts() {
        let set = SessionCookie { secure: true }.set(&"s3cret".into(), Duration::from_mins(1));
        assert_eq!(set, "__Host-docbrain=s3cret; HttpOnly; SameSite=Lax; Secure; Path=/; Max-Age=60");
        let read = |cookie: &str| {
            let headers = HeaderMap::from_iter([(axum::http::header::COOKIE, cookie.parse().unwrap())]);
            SessionCookie { secure: true }.read(&headers).map(|secret| secret.expose_secret().to_owned())
        };
        assert_eq!(read("a=b; __Host-docbrain=s3cret"), Some("s3cret".to_owned()));
        assert_eq!(read("docbrain=s3cret"), None);
    }
}
