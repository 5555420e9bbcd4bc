//! Settings of model providers, and what is wrong with wanted ones.

use std::borrow::Cow;
use std::collections::BTreeMap;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::chat;
use crate::embed::{ModelName, openai};
use crate::fetch::AddressPolicy;
use crate::models::{Endpoint, ProviderKind};

/// Where OpenAI's own server is.
const OPENAI: &str = "https://api.openai.com/v1";
const LONGEST_URL: usize = 500;
const LONGEST_MODEL: usize = 200;
const LONGEST_KEY: usize = 4_096;
/// Models that prices are kept of, and US dollars per million tokens, at most.
const MOST_PRICES: usize = 100;
const HIGHEST_PRICE: f64 = 1_000_000.0;

/// What a provider is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Writing answers.
    Chat,
    /// Turning texts into vectors.
    Embeddings,
}

impl Purpose {
    /// As settings, routes and metrics name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chat => "chat",
            Self::Embeddings => "embeddings",
        }
    }

    /// The name of the provider's key among the tenant's secrets.
    pub fn secret(self) -> &'static str {
        match self {
            Self::Chat => "provider:chat",
            Self::Embeddings => "provider:embeddings",
        }
    }
}

/// A model provider that a tenant chose; its key is kept apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Provider {
    /// What kind of server it is.
    pub kind: ProviderKind,
    /// Its OpenAI-compatible base URL.
    pub base_url: String,
    /// The model's name there.
    pub model: String,
    /// What models there cost, by name.
    #[serde(default)]
    pub prices: BTreeMap<String, Price>,
}

/// US dollars per million tokens.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Price {
    /// Of what the model reads.
    pub prompt: f64,
    /// Of what it writes.
    pub completion: f64,
}

impl Price {
    /// The same in millionths of a dollar.
    pub(super) fn micros(self) -> chat::Price {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a checked price is small and positive"
        )]
        let micros = |dollars: f64| (dollars * 1e6).round() as u64;
        chat::Price { prompt: micros(self.prompt), completion: micros(self.completion) }
    }
}

/// The providers of a tenant; `None`: the installation's.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProviderSettings {
    /// For chat.
    pub chat: Option<Provider>,
    /// For embeddings.
    pub embeddings: Option<Provider>,
}

impl ProviderSettings {
    /// The provider for a purpose.
    pub fn of(&self, purpose: Purpose) -> Option<&Provider> {
        match purpose {
            Purpose::Chat => self.chat.as_ref(),
            Purpose::Embeddings => self.embeddings.as_ref(),
        }
    }
}

impl Provider {
    /// How the provider is reached.
    pub fn endpoint(&self, api_key: Option<SecretString>, guard: &AddressPolicy) -> Endpoint {
        Endpoint {
            base_url: self.base_url.clone(),
            model: self.model.clone(),
            api_key,
            kind: self.kind,
            guard: Some(guard.clone()),
        }
    }

    /// The embedding model behind it, as generations name it.
    pub fn embedding_model(&self) -> ModelName {
        ModelName { name: self.model.clone(), precision: openai::PRECISION.to_owned() }
    }
}

/// A provider as somebody wants it.
#[derive(Clone, Debug)]
pub struct WantedProvider {
    /// What kind of server it is.
    pub kind: ProviderKind,
    /// Its base URL; OpenAI's is known.
    pub base_url: Option<String>,
    /// The model's name there.
    pub model: String,
    /// What models there cost, by name.
    pub prices: BTreeMap<String, Price>,
}

/// What is wrong with a wanted provider, in words for whoever wants it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {message}")]
pub struct Fault {
    /// The field.
    pub field: &'static str,
    /// What it should be.
    pub message: Cow<'static, str>,
}

impl Fault {
    pub(super) fn new(field: &'static str, message: impl Into<Cow<'static, str>>) -> Self {
        Self { field, message: message.into() }
    }
}

impl WantedProvider {
    /// The provider, if every field holds what it should.
    pub fn check(self, policy: &AddressPolicy) -> Result<Provider, Fault> {
        let Self { kind, base_url, model, prices } = self;
        let base_url = match (base_url, kind) {
            (Some(base_url), _) => check_url(&base_url, policy)?,
            (None, ProviderKind::Openai) => OPENAI.to_owned(),
            (None, ProviderKind::Azure) => {
                return Err(Fault::new("base_url", "is needed: `https://NAME.openai.azure.com/openai/v1`"));
            }
            (None, ProviderKind::Compatible) => {
                return Err(Fault::new("base_url", "is needed, with its `/v1` where the server has one"));
            }
        };
        if !is_name(&model) {
            return Err(Fault::new("model", format!("must be a name of 1 to {LONGEST_MODEL} characters")));
        }
        if prices.len() > MOST_PRICES || !prices.keys().all(|model| is_name(model)) {
            return Err(Fault::new("prices", format!("must hold at most {MOST_PRICES} models by name")));
        }
        let fits = |price: f64| (0.0..=HIGHEST_PRICE).contains(&price);
        if !prices.values().all(|price| fits(price.prompt) && fits(price.completion)) {
            return Err(Fault::new("prices", "must be US dollars per million tokens, from 0 to 1,000,000"));
        }
        Ok(Provider { kind, base_url, model, prices })
    }
}

fn check_url(text: &str, policy: &AddressPolicy) -> Result<String, Fault> {
    let fault = |message: String| Fault::new("base_url", message);
    let url: Url = text.parse().map_err(|_| fault("must be a URL such as https://models.example.com/v1".to_owned()))?;
    policy.check(&url).map_err(|refusal| fault(format!("cannot be used: {refusal}")))?;
    if url.query().is_some() || url.fragment().is_some() || text.len() > LONGEST_URL {
        return Err(fault(format!("must have at most {LONGEST_URL} characters, without `?` and `#`")));
    }
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

fn is_name(text: &str) -> bool {
    (1..=LONGEST_MODEL).contains(&text.chars().count()) && !text.chars().any(char::is_control) && text.trim() == text
}

/// Whether a key can be sent at all.
pub(super) fn check_key(key: &SecretString) -> Result<(), Fault> {
    let key = key.expose_secret();
    if (1..=LONGEST_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(())
    } else {
        Err(Fault::new("api_key", format!("must be 1 to {LONGEST_KEY} visible ASCII characters")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(kind: ProviderKind, base_url: Option<&str>) -> WantedProvider {
        WantedProvider { kind, base_url: base_url.map(str::to_owned), model: "m".to_owned(), prices: BTreeMap::new() }
    }

    fn check(wanted: WantedProvider) -> Result<Provider, Fault> {
        wanted.check(&AddressPolicy::public_only())
    }

    #[test]
    fn openai_is_known_and_others_say_where_they_are() {
        assert_eq!(check(wanted(ProviderKind::Openai, None)).unwrap().base_url, "https://api.openai.com/v1");
        for kind in [ProviderKind::Azure, ProviderKind::Compatible] {
            assert_eq!(check(wanted(kind, None)).unwrap_err().field, "base_url");
        }
        let compatible = wanted(ProviderKind::Compatible, Some("https://Models.example.com/v1/"));
        assert_eq!(check(compatible).unwrap().base_url, "https://models.example.com/v1");
    }

    #[test]
    fn a_fault_names_its_field() {
        let at = |url| wanted(ProviderKind::Compatible, Some(url));
        let model = |model: &str| WantedProvider { model: model.into(), ..wanted(ProviderKind::Openai, None) };
        let price = |prompt| WantedProvider {
            prices: [("m".to_owned(), Price { prompt, completion: 1.0 })].into(),
            ..wanted(ProviderKind::Openai, None)
        };
        for (wanted, field, words) in [
            (at("models"), "base_url", "must be a URL"),
            (at("ftp://example.com"), "base_url", "only http and https"),
            (at("http://169.254.169.254/v1"), "base_url", "DOCBRAIN_ALLOWED_NETWORKS"),
            (at("https://key@example.com/v1"), "base_url", "password"),
            (at("https://example.com/v1?key=1"), "base_url", "`?`"),
            (model(""), "model", "1 to 200"),
            (model(" m"), "model", "1 to 200"),
            (model("a\0b"), "model", "1 to 200"),
            (price(-1.0), "prices", "from 0"),
            (price(f64::NAN), "prices", "from 0"),
        ] {
            let fault = check(wanted).unwrap_err();
            assert_eq!(fault.field, field);
            assert!(fault.to_string().contains(words), "{fault}");
        }
    }
}
