//! The command for whoever has no more than `kubectl`.

use std::process::Command;

use docbrain_core::env;
use docbrain_core::ids::{AccountId, TenantId};
use docbrain_core::store::TenantTx;
use docbrain_core::store::accounts::{self, NewAccount};
use sqlx::{ConnectOptions, PgPool};

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn superusers_are_made_by_the_owner_of_the_schema(owner: PgPool) {
    let id = AccountId::new();
    let email = "ada@pumps.example";
    let mut tx = TenantTx::begin(&owner, TenantId::new()).await.unwrap();
    let account =
        NewAccount { id, email, name: "Ada", password_hash: None, oidc: Some(("https://idp.example", "ada")) };
    accounts::insert(&mut tx, &account).await.unwrap();
    tx.commit().await.unwrap();
    let run = |change: &str, email: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docbrain-operator"));
        command.args(["superuser", change, email]);
        let output = command.env(env::DATABASE_URL, owner.connect_options().to_url_lossy().as_str()).output().unwrap();
        let told = if output.status.success() { output.stdout } else { output.stderr };
        (output.status.code(), String::from_utf8(told).unwrap())
    };
    for (change, expected, told) in [
        ("grant", true, "ada@pumps.example is a superuser\n"),
        ("revoke", false, "ada@pumps.example is no superuser any more\n"),
    ] {
        assert_eq!(run(change, "Ada@pumps.example"), (Some(0), told.replace("ada", "Ada")));
        let mut tx = owner.begin().await.unwrap();
        sqlx::query("select set_config('docbrain.account', $1, true)")
            .bind(id.0.to_string())
            .execute(&mut *tx)
            .await
            .unwrap();
        let superuser: bool = sqlx::query_scalar("select superuser from accounts").fetch_one(&mut *tx).await.unwrap();
        assert_eq!(superuser, expected);
    }
    assert_eq!(
        run("grant", "nobody@pumps.example"),
        (Some(1), "error: there is no account \"nobody@pumps.example\"; it registers first\n".to_owned())
    );
}
