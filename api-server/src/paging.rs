//! Lists in pages.
//!
//! A page ends with a row; the cursor names that row by what the list is sorted by, so that rows which come or go in
//! the meantime make no other row appear twice or never.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use crate::extract::Pairs;
use crate::problem::{Problem, ProblemKind};

/// Rows on one page, unless the request says otherwise.
const ROWS: u32 = 100;
const MOST_ROWS: u32 = 1_000;

/// Which part of a list.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Page {
    /// `next` of the page before.
    after: Option<String>,
    /// Most rows on the page.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

impl Pairs for Page {
    const NAMES: &[&str] = &["after", "limit"];
}

impl Page {
    /// How many rows to ask the store for: one more than the page has, to know whether it is the last.
    pub(crate) fn rows(&self) -> Result<u32, Problem> {
        let limit = self.limit.unwrap_or(ROWS);
        if !(1..=MOST_ROWS).contains(&limit) {
            return Err(Problem::new(ProblemKind::InvalidField, "`limit` must be 1 to 1000"));
        }
        Ok(limit + 1)
    }

    /// The row that the page before ended with.
    pub(crate) fn after<K: DeserializeOwned>(&self) -> Result<Option<K>, Problem> {
        let read = |cursor: &String| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(cursor).ok()?).ok();
        let unknown =
            || Problem::new(ProblemKind::InvalidField, "`after` must be the `next` of an earlier page of this list");
        self.after.as_ref().map(|cursor| read(cursor).ok_or_else(unknown)).transpose()
    }

    /// Cuts `rows`, as many as [`Self::rows`] asked for, down to the page; the cursor of the next one, if there is one.
    pub(crate) fn cut<R, K: Serialize>(&self, rows: &mut Vec<R>, key: impl FnOnce(&R) -> K) -> Option<String> {
        let limit = self.limit.unwrap_or(ROWS) as usize;
        if rows.len() <= limit {
            return None;
        }
        rows.truncate(limit);
        rows.last().map(|last| URL_SAFE_NO_PAD.encode(serde_json::to_vec(&key(last)).expect("a key is JSON")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_the_last_row_of_a_page_that_has_one_after_it() {
        let page = Page { limit: Some(2), after: None };
        let mut rows = vec![("ä/b", 1), ("ü?&", 2), ("z", 3)];
        let next = page.cut(&mut rows, |row| *row).unwrap();
        assert_eq!(rows, [("ä/b", 1), ("ü?&", 2)]);
        assert!(next.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte)), "{next}");
        let following = Page { after: Some(next), ..page };
        assert_eq!(following.after::<(String, u32)>().unwrap(), Some(("ü?&".to_owned(), 2)));
        assert_eq!(following.after::<u32>().unwrap_err().kind, ProblemKind::InvalidField);
        assert_eq!(following.cut(&mut vec![("z", 3)], |row| *row), None);
    }
}
