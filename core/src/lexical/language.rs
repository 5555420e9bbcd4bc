use std::collections::HashSet;
use std::sync::LazyLock;

/// A language whose words can be stemmed (Snowball), or another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names of languages")]
pub enum Language {
    Danish,
    Dutch,
    English,
    Finnish,
    French,
    German,
    Hungarian,
    Italian,
    Norwegian,
    Portuguese,
    Romanian,
    Russian,
    Spanish,
    Swedish,
    Turkish,
    /// Words are taken as they are.
    Other,
}

const LANGUAGES: [(Language, &str, whatlang::Lang); 15] = [
    (Language::Danish, "da", whatlang::Lang::Dan),
    (Language::Dutch, "nl", whatlang::Lang::Nld),
    (Language::English, "en", whatlang::Lang::Eng),
    (Language::Finnish, "fi", whatlang::Lang::Fin),
    (Language::French, "fr", whatlang::Lang::Fra),
    (Language::German, "de", whatlang::Lang::Deu),
    (Language::Hungarian, "hu", whatlang::Lang::Hun),
    (Language::Italian, "it", whatlang::Lang::Ita),
    (Language::Norwegian, "no", whatlang::Lang::Nob),
    (Language::Portuguese, "pt", whatlang::Lang::Por),
    (Language::Romanian, "ro", whatlang::Lang::Ron),
    (Language::Russian, "ru", whatlang::Lang::Rus),
    (Language::Spanish, "es", whatlang::Lang::Spa),
    (Language::Swedish, "sv", whatlang::Lang::Swe),
    (Language::Turkish, "tr", whatlang::Lang::Tur),
];

impl Language {
    /// The language of a document, from its first characters. A text too short or too mixed to tell counts as
    /// English, whose stemmer leaves most foreign words alone.
    pub fn detect(text: &str) -> Self {
        const ENOUGH_BYTES: usize = 8_000;
        let sample = &text[..text.floor_char_boundary(ENOUGH_BYTES)];
        match whatlang::detect(sample) {
            Some(info) if info.is_reliable() => LANGUAGES
                .iter()
                .find(|(_, _, lang)| *lang == info.lang())
                .map_or(Self::Other, |(language, ..)| *language),
            _ => Self::English,
        }
    }

    /// ISO 639-1 code, or `simple` for [`Language::Other`].
    pub fn code(self) -> &'static str {
        LANGUAGES.iter().find(|(language, ..)| *language == self).map_or("simple", |(_, code, _)| code)
    }

    /// The language of a [`Language::code`].
    pub fn from_code(code: &str) -> Self {
        LANGUAGES.iter().find(|(_, known, _)| *known == code).map_or(Self::Other, |(language, ..)| *language)
    }

    pub(super) fn stop_words(self) -> &'static HashSet<&'static str> {
        static WORDS: LazyLock<Vec<HashSet<&'static str>>> = LazyLock::new(|| {
            LANGUAGES
                .iter()
                .map(|(_, code, _)| stop_words::lookup(code).unwrap_or_default().iter().copied().collect())
                .collect()
        });
        LANGUAGES
            .iter()
            .position(|(language, ..)| *language == self)
            .map_or(&super::NO_WORDS, |position| &WORDS[position])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn detects_the_language_of_prose() {
        for (text, language) in [
            (
                "The key expires after ten seconds, and the server removes it from memory without any warning.",
                Language::English,
            ),
            (
                "Der Schlüssel verfällt nach zehn Sekunden und wird vom Server ohne Warnung aus dem Speicher entfernt.",
                Language::German,
            ),
            (
                "La clé expire au bout de dix secondes et le serveur la supprime de la mémoire sans avertissement.",
                Language::French,
            ),
            ("鍵は十秒後に期限切れとなり、サーバーは警告なしにそれをメモリから削除します。", Language::Other),
            ("ok", Language::English),
        ] {
            assert_eq!(Language::detect(text), language, "{text}");
        }
    }

    #[test]
    fn codes_are_read_back() {
        for (language, ..) in LANGUAGES {
            assert_eq!(Language::from_code(language.code()), language);
        }
        assert_eq!(Language::from_code(Language::Other.code()), Language::Other);
    }
}
