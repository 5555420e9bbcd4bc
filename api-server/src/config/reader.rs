//! One variable after the other, with what is wrong kept for the end.

use std::ffi::OsString;
use std::fs;

use docbrain_core::env::FILE_SUFFIX;
use secrecy::{ExposeSecret, SecretString};

use super::variables::{self, Variable};
use super::{Mistake, Mistakes};

type Parsed<T> = Result<T, String>;

/// Reads variables. Whatever cannot be read is `None`, and remembered.
pub(super) struct Reader<'a> {
    environment: &'a dyn Fn(&str) -> Option<OsString>,
    mistakes: Vec<Mistake>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(environment: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self { environment, mistakes: Vec::new() }
    }

    /// A value, or the default that the table of variables names.
    pub(super) fn defaulted<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Parsed<T>) -> Option<T> {
        let text = self.text(name);
        let text = text.as_deref().or(variables::named(name).default)?;
        self.judge(name, parse(text))
    }

    pub(super) fn optional<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Parsed<T>) -> Option<T> {
        let text = self.text(name)?;
        self.judge(name, parse(&text))
    }

    pub(super) fn required<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Parsed<T>) -> Option<T> {
        if !self.is_set(name) {
            self.miss(name);
        }
        self.optional(name, parse)
    }

    pub(super) fn optional_secret<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Parsed<T>) -> Option<T> {
        let file = file_of(name);
        let (place, secret) = match (self.text(name), self.text(&file)) {
            (None, None) => return None,
            (Some(secret), None) => (name, SecretString::from(secret)),
            (None, Some(path)) => (&*file, self.content(name, &file, &path)?),
            (Some(_), Some(_)) => {
                self.note(name, format!("{file} is set, too; set one of them"));
                return None;
            }
        };
        self.judge(place, parse(secret.expose_secret()))
    }

    pub(super) fn required_secret<T>(&mut self, name: &str, parse: impl FnOnce(&str) -> Parsed<T>) -> Option<T> {
        if !self.is_set(name) && !self.is_set(&file_of(name)) {
            self.miss(name);
        }
        self.optional_secret(name, parse)
    }

    pub(super) fn is_set(&self, name: &str) -> bool {
        (self.environment)(name).is_some_and(|value| !value.is_empty())
    }

    /// What was made of the values, if none of them was wrong.
    pub(super) fn finish<T>(self, made: impl FnOnce() -> Option<T>) -> Result<T, Mistakes> {
        match made() {
            Some(made) if self.mistakes.is_empty() => Ok(made),
            _ => Err(Mistakes(self.mistakes)),
        }
    }

    /// The value without its margins; an empty one counts as not set.
    fn text(&mut self, name: &str) -> Option<String> {
        let Ok(text) = (self.environment)(name)?.into_string() else {
            self.note(name, "it is not UTF-8; set it again".to_owned());
            return None;
        };
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn content(&mut self, name: &str, file: &str, path: &str) -> Option<SecretString> {
        match fs::read_to_string(path) {
            Ok(text) if text.trim().is_empty() => {
                self.note(file, format!("the file {path} is empty; put the secret there"));
                None
            }
            Ok(text) => Some(text.trim().into()),
            Err(error) => {
                let kind = error.kind();
                self.note(file, format!("the file {path} cannot be read ({kind}); mount it, or set {name} instead"));
                None
            }
        }
    }

    fn judge<T>(&mut self, place: &str, parsed: Parsed<T>) -> Option<T> {
        parsed.map_err(|what| self.note(place, what)).ok()
    }

    fn miss(&mut self, name: &str) {
        let Variable { what, example, .. } = variables::named(name);
        self.note(name, format!("it is not set; set {what}, such as {example}"));
    }

    fn note(&mut self, variable: &str, what: String) {
        self.mistakes.push(Mistake { variable: variable.to_owned(), what });
    }
}

fn file_of(name: &str) -> String {
    format!("{name}{FILE_SUFFIX}")
}
