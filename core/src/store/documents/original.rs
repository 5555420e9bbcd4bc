//! The original bytes of documents.

use super::super::{Error, TenantTx};

/// The original with this content. Originals live in Postgres, by the hash of their content.
pub async fn original(tx: &mut TenantTx, content_sha256: &[u8]) -> Result<Vec<u8>, Error> {
    let bytes = sqlx::query_scalar!(
        "select bytes from originals where tenant_id = $1 and sha256 = $2",
        tx.tenant().0,
        content_sha256,
    )
    .fetch_optional(&mut **tx)
    .await?;
    bytes.ok_or(Error::NotFound { what: "original" })
}

/// `length` bytes of the original with this content, from byte `from` on; fewer at its end, none after it.
pub async fn slice(tx: &mut TenantTx, content_sha256: &[u8], from: u64, length: u32) -> Result<Vec<u8>, Error> {
    // No original is larger than `MAX_ORIGINAL_BYTES`, and SQL counts from one.
    let from = i32::try_from(from).map_or(i32::MAX, |from| from.saturating_add(1));
    let bytes = sqlx::query_scalar!(
        r#"select substring(bytes from $3 for $4) as "bytes!" from originals where tenant_id = $1 and sha256 = $2"#,
        tx.tenant().0,
        content_sha256,
        from,
        i32::try_from(length).unwrap_or(i32::MAX),
    )
    .fetch_optional(&mut **tx)
    .await?;
    bytes.ok_or(Error::NotFound { what: "original" })
}
