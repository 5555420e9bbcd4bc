//! Files to be saved, never to be shown.

use std::fmt::Write;

use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY};
use axum::http::{HeaderName, HeaderValue};

/// The headers of a file that a browser saves under this name (RFC 6266) and gives no rights to. The middleware adds
/// `nosniff`.
pub(crate) fn headers(name: &str) -> [(HeaderName, HeaderValue); 3] {
    [
        (CONTENT_DISPOSITION, disposition(name)),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox")),
        (CACHE_CONTROL, HeaderValue::from_static("private, no-cache")),
    ]
}

/// The name twice: in ASCII for old programs, and as it is (RFC 8187).
fn disposition(name: &str) -> HeaderValue {
    let plain: String = name
        .chars()
        .map(|c| if (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\\' | '%') { c } else { '_' })
        .collect();
    let mut value = format!("attachment; filename=\"{plain}\"; filename*=UTF-8''");
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            value.push(char::from(byte));
        } else {
            write!(value, "%{byte:02X}").expect("a string takes all text");
        }
    }
    value.parse().expect("it is made of graphic ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_place() {
        assert_eq!(disposition("plan.pdf"), "attachment; filename=\"plan.pdf\"; filename*=UTF-8''plan.pdf");
        assert_eq!(
            disposition("Maße \"1\".md"),
            "attachment; filename=\"Ma_e _1_.md\"; filename*=UTF-8''Ma%C3%9Fe%20%221%22.md"
        );
        assert_eq!(
            disposition("a\r\nSet-Cookie: b\\c;%41"),
            "attachment; filename=\"a__Set-Cookie: b_c;_41\"; filename*=UTF-8''a%0D%0ASet-Cookie%3A%20b%5Cc%3B%2541"
        );
    }
}
