//! A web page to Markdown: its article, without the page's furniture.

use dom_smoothie::{Article, Config, Readability};
use html_to_markdown_rs::{ConversionOptions, WarningKind, convert};

use super::{Format, ParseError, ParsedDocument, markdown};

/// When the article found is smaller than this share of the page's text, the page is no article
/// (a reference, a list of links) and all of it is kept: furniture is a smaller evil than lost text.
const ARTICLE_SHARE_PERCENT: usize = 50;

/// A page with more tags is data; looking for its article would take minutes.
const MAX_ARTICLE_TAGS: usize = 200_000;

pub(super) fn parse(html: &str) -> Result<ParsedDocument, ParseError> {
    let page = to_markdown(html)?;
    let Some(article) = find_article(html) else {
        return Ok(ParsedDocument::from_markdown(page));
    };
    let content = to_markdown(&article.content)?;
    // A page's title often ends in the name of the site; its heading does not.
    let heading = markdown::first_heading(&page).filter(|heading| article.title.contains(heading.as_str()));
    let title = heading.or_else(|| (!article.title.trim().is_empty()).then_some(article.title));
    if content.len() * 100 < page.len() * ARTICLE_SHARE_PERCENT {
        return Ok(ParsedDocument { title, ..ParsedDocument::from_markdown(page) });
    }
    // The article comes without its top heading, which is the title.
    let content = match &title {
        Some(title) if markdown::first_heading(&content).is_none() => format!("# {title}\n\n{content}"),
        _ => content,
    };
    Ok(ParsedDocument { title, ..ParsedDocument::from_markdown(content) })
}

fn find_article(html: &str) -> Option<Article> {
    if html.bytes().filter(|&byte| byte == b'<').count() > MAX_ARTICLE_TAGS {
        return None;
    }
    let config = Config { keep_classes: true, ..Config::default() };
    Readability::new(html, None, Some(config)).ok()?.parse().ok()
}

fn to_markdown(html: &str) -> Result<String, ParseError> {
    let options = ConversionOptions {
        compact_tables: true,
        extract_metadata: false,
        skip_images: true,
        ..ConversionOptions::default()
    };
    let result = convert(html, options).map_err(|error| ParseError::damaged(Format::Html, error))?;
    if result.warnings.iter().any(|warning| warning.kind == WarningKind::DepthLimitExceeded) {
        return Err(ParseError::TooComplex { format: Format::Html });
    }
    Ok(result.content.unwrap_or_default())
}
