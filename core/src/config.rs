//! What the command line and the environment say.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::ops::RangeInclusive;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use clap::{Command, Parser};
use secrecy::SecretSlice;

/// Parses the command line and the environment as [`Parser::parse`] does, except that a variable with nothing in it counts
/// as unset: that is how `.env` files and manifests write what they leave out.
pub fn parse_arguments<A: Parser>() -> A {
    let matches = without_empty_variables(A::command(), &|name| std::env::var_os(name)).get_matches();
    A::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

fn without_empty_variables(command: Command, environment: &impl Fn(&OsStr) -> Option<OsString>) -> Command {
    let is_empty = |name: &OsStr| environment(name).is_some_and(|value| value.is_empty());
    command
        .mut_args(|arg| if arg.get_env().is_some_and(is_empty) { arg.env(None) } else { arg })
        .mut_subcommands(|command| without_empty_variables(command, environment))
}

/// A key with the name it is known by, so that a token or a ciphertext can say which key it needs.
#[derive(Debug)]
pub struct NamedKey {
    /// Small letters, digits, `-` and `_`; at most 32.
    pub id: String,
    /// The key's bytes.
    pub key: SecretSlice<u8>,
}

/// Reads a list of keys, `id:base64` with commas between, each `lengths` bytes long. What is wrong is told without a
/// word of the text.
pub fn parse_keys(text: &str, lengths: RangeInclusive<usize>) -> Result<Vec<NamedKey>, String> {
    let mut seen = HashSet::new();
    let mut keys = Vec::new();
    for (number, entry) in (1..).zip(text.split(',').map(str::trim)) {
        let (id, key) = entry.split_once(':').ok_or_else(|| format!("entry {number} is not of the form id:base64"))?;
        if !is_id(id) {
            return Err(format!("the id of entry {number} is not 1 to 32 small letters, digits, `-` or `_`"));
        }
        if !seen.insert(id) {
            return Err(format!("entry {number} has the id of an earlier one"));
        }
        let key = BASE64_STANDARD.decode(key).map_err(|_| format!("the key of entry {number} is not base64"))?;
        if !lengths.contains(&key.len()) {
            return Err(format!("the key of entry {number} has {} bytes instead of {}", key.len(), words(&lengths)));
        }
        keys.push(NamedKey { id: id.to_owned(), key: key.into() });
    }
    Ok(keys)
}

fn is_id(id: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
    (1..=32).contains(&id.len()) && id.bytes().all(fits)
}

fn words(lengths: &RangeInclusive<usize>) -> String {
    if lengths.start() == lengths.end() {
        format!("exactly {}", lengths.start())
    } else {
        format!("{} to {}", lengths.start(), lengths.end())
    }
}

#[cfg(test)]
mod tests {
    use clap::Arg;
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_variable_with_nothing_in_it_is_unset_everywhere() {
        let option = |name: &'static str| Arg::new(name).long(name).env(name);
        let command = Command::new("docbrain")
            .args([option("EMPTY"), option("SET"), option("UNSET")])
            .subcommand(Command::new("up").args([option("EMPTY"), option("SET"), Arg::new("plain")]));
        let environment = |name: &OsStr| match name.to_str() {
            Some("EMPTY") => Some(OsString::new()),
            Some("SET") => Some(OsString::from("a value")),
            _ => None,
        };
        let command = without_empty_variables(command, &environment);
        let read = |command: &Command| -> Vec<String> {
            command.get_arguments().filter_map(Arg::get_env).map(|name| name.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(read(&command), ["SET", "UNSET"]);
        assert_eq!(read(command.find_subcommand("up").unwrap()), ["SET"]);
    }

    #[test]
    fn keys_are_read_in_their_order() {
        let text = format!("2026-02:{}, old:{}", BASE64_STANDARD.encode([7; 32]), BASE64_STANDARD.encode([8; 33]));
        let keys = parse_keys(&text, 32..=64).unwrap();
        let told: Vec<(&str, usize)> = keys.iter().map(|key| (&*key.id, key.key.expose_secret().len())).collect();
        assert_eq!(told, [("2026-02", 32), ("old", 33)]);
        assert!(!format!("{keys:?}").contains("7, 7"), "{keys:?}");
    }

    #[test]
    fn what_is_wrong_is_told_without_the_key() {
        let good = BASE64_STANDARD.encode([7; 32]);
        let told = |text: &str| parse_keys(text, 32..=32).unwrap_err();
        assert_eq!(told(""), "entry 1 is not of the form id:base64");
        assert_eq!(told(&good), "entry 1 is not of the form id:base64");
        assert_eq!(
            told(&format!("a:{good},B:{good}")),
            "the id of entry 2 is not 1 to 32 small letters, digits, `-` or `_`"
        );
        assert_eq!(told(&format!("a:{good},a:{good}")), "entry 2 has the id of an earlier one");
        assert_eq!(told("a:c2VjcmV0!"), "the key of entry 1 is not base64");
        assert_eq!(told("a:c2VjcmV0"), "the key of entry 1 has 6 bytes instead of exactly 32");
    }
}
