//! Migrates the database of `DATABASE_URL`: a step of `make generate`, before the query macros look at it.

use docbrain_core::{env, store};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url = std::env::var(env::DATABASE_URL)?;
    store::migrate(&store::connect(&url, 1).await?).await?;
    Ok(())
}
