//! Runs of git sources: the real program and the real git, against a repository with traps.

use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::Path;

use docbrain_core::env;
use docbrain_core::store::runs::{RunRow, RunState};
use serde_json::json;
use sqlx::PgPool;

use crate::harness::{Random, Tenant, World};
use crate::install_script;
use crate::repository::Repository;

async fn git(world: &World, name: &str, url: &str, more: &str) -> Tenant {
    world
        .apply_spec(name, &format!("{{source: {{git: {{url: '{url}'{more}}}}}, chunking: {{size: 64, overlap: 0}}}}"))
        .await
}

async fn run(world: &World, tenant: &Tenant, trigger: &str) -> RunRow {
    let run = world.enqueue(tenant, trigger).await;
    world.finish(tenant, run).await
}

async fn reason(world: &World, tenant: &Tenant, trigger: &str) -> (String, Option<i32>) {
    let run = world.enqueue(tenant, trigger).await;
    let status = world.start(tenant, run).wait().await.unwrap();
    match world.run(tenant, run).await.state {
        RunState::Failed { reason } => (reason, status.code()),
        other => panic!("{other:?}"),
    }
}

async fn indexed(world: &World, tenant: &Tenant) -> Vec<String> {
    let documents = world.documents(tenant).await.into_iter().filter(|(_, status, _)| status == "indexed");
    documents.map(|(path, ..)| path).collect()
}

fn text(title: &str) -> String {
    format!("# {title}\n\nThe valve of {title} is opened by turning its handle to the left, until the lamp goes out.\n")
}

/// Three documents.
async fn calm_repository() -> Repository {
    let repository = Repository::start(Ipv4Addr::LOCALHOST.into()).await;
    repository.write("README.md", text("the manual"));
    repository.write("docs/install guide.md", text("installing"));
    repository.write("docs/use.txt", "Using it is easy: the handle goes to the left.");
    repository.write("src/main.rs", "fn main() {}");
    repository.write("logo.png", b"\x89PNG");
    repository.publish();
    repository
}

const CALM: [&str; 3] = ["README.md", "docs/install guide.md", "docs/use.txt"];

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_repository_becomes_documents_by_commit(owner: PgPool) {
    let world = World::new(owner).await;
    let repository = calm_repository().await;
    let commit = repository.git(&["rev-parse", "HEAD"]);
    let template = ", webUrl: 'https://example.com/docs/blob/{commit}/{path}'";
    let tenant = git(&world, "acme", &repository.url(), template).await;
    let row = run(&world, &tenant, "first").await;
    assert_eq!((&row.state, row.documents_indexed, &row.note), (&RunState::Succeeded, 3, &None));
    assert_eq!(indexed(&world, &tenant).await, CALM);
    let urls = async || -> Vec<String> {
        let urls = sqlx::query_scalar("select url from documents where tenant_id = $1 order by path");
        urls.bind(tenant.id.0).fetch_all(&world.owner).await.unwrap()
    };
    assert_eq!(urls().await[1], format!("https://example.com/docs/blob/{commit}/docs/install%20guide.md"));
    let before = world.index(&tenant).await;
    repository.take_log();

    // The same commit: its name is asked for, and nothing else.
    let row = run(&world, &tenant, "second").await;
    assert_eq!((row.state, row.documents_indexed, row.documents_unchanged), (RunState::Succeeded, 0, 3));
    assert_eq!(world.index(&tenant).await, before);
    assert!(repository.take_log().len() <= 3);

    repository.write("docs/use.txt", "Using it has become hard: the handle goes to the right.");
    repository.write("docs/new.md", text("something new"));
    repository.git(&["rm", "--quiet", "README.md"]);
    let commit = repository.publish();
    let row = run(&world, &tenant, "third").await;
    assert_eq!((row.state, row.documents_indexed, row.documents_unchanged), (RunState::Succeeded, 2, 1));
    assert_eq!(indexed(&world, &tenant).await, ["docs/install guide.md", "docs/new.md", "docs/use.txt"]);
    assert!(urls().await.iter().all(|url| url.contains(&commit)), "what did not change is read at the new commit, too");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn what_a_repository_holds_besides_files_is_not_followed(owner: PgPool) {
    let world = World::new(owner).await;
    let repository = calm_repository().await;
    symlink("/etc/passwd", repository.path("work/passwd.txt")).unwrap();
    symlink("../../../../etc", repository.path("work/docs/etc")).unwrap();
    let commit = repository.git(&["rev-parse", "HEAD"]);
    repository.git(&["add", "--all"]);
    repository.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{commit},vendor.md")]);
    repository.write("huge.txt", vec![b' '; (64 << 20) + 1]);
    repository.write("lfs.pdf", "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n");
    repository.write("broken.pdf", "%PDF-1.7 and nothing else");
    repository.write(".gitmodules", "[submodule \"vendor\"]\n\tpath = vendor.md\n\turl = ext::touch escaped\n");
    repository.git(&["add", "huge.txt", "lfs.pdf", "broken.pdf", ".gitmodules"]);
    repository.git(&["commit", "--quiet", "--message=Traps"]);
    repository.git(&["push", "--quiet", "origin", "HEAD:refs/heads/main"]);
    for (name, filter) in [("with-filter", "true"), ("without-filter", "false")] {
        let bare = repository.path("docs.git");
        repository.git(&["--git-dir", bare.to_str().unwrap(), "config", "uploadpack.allowFilter", filter]);
        let tenant = git(&world, name, &repository.url(), "").await;
        let row = run(&world, &tenant, "first").await;
        assert_eq!((row.state, row.documents_indexed, row.documents_failed), (RunState::Succeeded, 3, 3), "{name}");
        let documents = world.documents(&tenant).await;
        let told = |path: &str| {
            documents.iter().find(|(found, ..)| found == path).map(|(_, _, why)| why.clone()).unwrap_or_default()
        };
        assert_eq!(told("huge.txt"), "too_large: the file is larger than 64 MB; split it, or exclude it");
        assert_eq!(told("lfs.pdf"), "git_lfs: the file is kept in Git LFS, which is not read");
        assert!(told("broken.pdf").starts_with("damaged: "), "{}", told("broken.pdf"));
        assert_eq!(documents.len(), 6, "{documents:?}");
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_repository_without_end_is_refused(owner: PgPool) {
    let world = World::new(owner).await;
    let repository = calm_repository().await;
    repository.publish_bomb("bomb");
    let tenant = git(&world, "acme", &repository.url(), ", ref: bomb").await;
    let expected = "the repository has more files than can be listed";
    assert_eq!(reason(&world, &tenant, "first").await, (expected.to_owned(), Some(2)));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn branches_tags_and_commits_are_found_by_name(owner: PgPool) {
    let world = World::new(owner).await;
    let repository = calm_repository().await;
    let first = repository.git(&["rev-parse", "HEAD"]);
    repository.git(&["tag", "--annotate", "--message=One", "v1"]);
    repository.write("later.md", text("later"));
    repository.publish();
    repository.git(&["push", "--quiet", "origin", "v1", "HEAD:refs/heads/topic/x"]);
    let bare = repository.path("docs.git");
    repository.git(&["--git-dir", bare.to_str().unwrap(), "config", "uploadpack.allowAnySHA1InWant", "true"]);
    for (name, reference, documents) in
        [("branch", "topic/x", 4), ("tag", "v1", 3), ("commit", first.as_str(), 3), ("full", "refs/heads/main", 4)]
    {
        let tenant = git(&world, name, &repository.url(), &format!(", ref: '{reference}'")).await;
        let row = run(&world, &tenant, "first").await;
        assert_eq!((row.state, row.documents_indexed), (RunState::Succeeded, documents), "{name}");
    }
    let url = repository.url();
    let tenant = git(&world, "missing", &url, ", ref: v2").await;
    assert_eq!(reason(&world, &tenant, "first").await, (format!("«{url}» has no branch or tag \"v2\""), Some(2)));
    let tenant = git(&world, "patterns", &url, ", include: ['docs/**', '*.md'], exclude: ['later.md']").await;
    run(&world, &tenant, "first").await;
    assert_eq!(indexed(&world, &tenant).await, CALM);
    let empty = Repository::start(Ipv4Addr::LOCALHOST.into()).await;
    let tenant = git(&world, "empty", &empty.url(), "").await;
    assert_eq!(reason(&world, &tenant, "first").await, (format!("«{}» is empty", empty.url()), Some(2)));
}

/// The schema refuses most of these when they are applied; whoever gets past it meets the run.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn hostile_addresses_and_refs_are_refused_with_their_reason(owner: PgPool) {
    let mut world = World::new(owner).await;
    let repository = calm_repository().await;
    let traces = tempfile::tempdir().unwrap();
    let trace = traces.path().join("escaped");
    let touch = format!("touch {}", trace.display());
    let away = format!("http://{}/away.git", repository.address);
    repository.redirect("/away.git/info/refs", "http://169.254.169.254/latest/meta-data");
    repository.redirect("/round.git/info/refs", "/round.git/info/refs");
    repository.redirect("/file.git/info/refs", "file:///etc/passwd");
    let at = |path: &str| format!("http://{}{path}", repository.address);
    let url = repository.url();
    let cases = [
        (format!("--upload-pack={touch}"), None, "is refused"),
        (format!("ext::sh -c '{touch}'"), None, "is refused"),
        ("file:///etc".to_owned(), None, "only https, http and ssh are allowed"),
        (format!("ssh://-oProxyCommand={touch}/x"), None, "is refused"),
        (format!("ssh://git@-oProxyCommand={}/x", trace.display()), None, "is refused"),
        (url.clone(), Some(format!("--upload-pack={touch}")), "is no name of a branch"),
        (url.clone(), Some("-x".to_owned()), "is no name of a branch"),
        (url.clone(), Some("main:refs/heads/x".to_owned()), "is no name of a branch"),
        ("https://169.254.169.254/docs.git".to_owned(), None, "169.254.169.254 is not a public address"),
        ("https://2852039166/docs.git".to_owned(), None, "169.254.169.254 is not a public address"),
        ("https://[::ffff:10.0.0.1]/docs.git".to_owned(), None, "is not a public address"),
        ("https://10.96.0.1/docs.git".to_owned(), None, "10.96.0.1 is not a public address"),
        (away, None, "where it redirects to, 169.254.169.254 is not a public address"),
        (at("/round.git"), None, "redirects more than 5 times"),
        (at("/file.git"), None, "only http and https"),
        (at("/nothing.git"), None, "answered 404: there is no repository"),
    ];
    for (index, (url, reference, expected)) in cases.iter().enumerate() {
        let tenant = git(&world, &format!("t{index}"), &repository.url(), "").await;
        let spec = json!({ "url": url, "ref": reference });
        sqlx::query("update knowledge_sources set spec = jsonb_set(spec, '{source,git}', $2) where tenant_id = $1")
            .bind(tenant.id.0)
            .bind(spec)
            .execute(&world.owner)
            .await
            .unwrap();
        let (reason, code) = reason(&world, &tenant, "first").await;
        assert!(reason.contains(expected), "{url}: {reason}");
        assert_eq!(code, Some(2), "{url}: {reason}");
    }
    assert!(!trace.exists() && std::fs::read_dir(traces.path()).unwrap().next().is_none());
    world.environment.clear();
    let port = repository.address.port();
    let tenant = git(&world, "names", &format!("https://localhost:{port}/docs.git"), "").await;
    let (reason, _) = reason(&world, &tenant, "first").await;
    assert!(reason.contains("localhost is not a public address"), "{reason}");
}

fn secret(folder: &Path, keys: &[(&str, &str)]) {
    for (key, value) in keys {
        std::fs::write(folder.join(key), value).unwrap();
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn credentials_go_where_they_belong_and_nowhere_else(owner: PgPool) {
    let mut world = World::new(owner).await;
    let repository = calm_repository().await;
    let url = repository.url();
    repository.protect("Basic Ym90OnRoZSB3b3Jk"); // bot:the word
    let tenant = git(&world, "open", &url, "").await;
    let (told, code) = reason(&world, &tenant, "first").await;
    assert_eq!(
        (told, code),
        (format!("«{url}» answered 401: it wants credentials, which credentialsSecretRef names"), Some(2))
    );

    let tenant = git(&world, "acme", &url, ", credentialsSecretRef: {name: repository}").await;
    let folder = tempfile::tempdir().unwrap();
    world.environment.push((env::CREDENTIALS_DIR, folder.path().display().to_string()));
    let (told, _) = reason(&world, &tenant, "without").await;
    assert_eq!(told, "the Secret \"repository\" is not there, or has no key \"password\"");
    secret(folder.path(), &[("username", "bot\n"), ("password", "a wrong word\n")]);
    let (told, _) = reason(&world, &tenant, "wrong").await;
    assert_eq!(told, format!("«{url}» answered 401: the credentials were refused"));
    secret(folder.path(), &[("password", "the word\n")]);
    assert_eq!(run(&world, &tenant, "right").await.documents_indexed, 3);

    // Another host is not told, wherever the first one sends the client.
    repository.take_log();
    let port = repository.address.port();
    repository.redirect("/moved.git/info/refs", &format!("http://localhost:{port}/docs.git/info/refs"));
    let moved = format!("http://{}/moved.git", repository.address);
    let tenant = git(&world, "moved", &moved, ", credentialsSecretRef: {name: repository}").await;
    let (told, _) = reason(&world, &tenant, "first").await;
    assert!(told.contains("answered 401"), "{told}");
    let told_elsewhere =
        repository.take_log().into_iter().filter(|line| line.contains("localhost")).collect::<Vec<_>>();
    assert!(
        !told_elsewhere.is_empty() && !told_elsewhere.iter().any(|line| line.contains("Basic")),
        "{told_elsewhere:?}"
    );
    // A redirect on the same host is followed, with them.
    repository.redirect("/here.git/info/refs", "/docs.git/info/refs");
    let here = format!("http://{}/here.git", repository.address);
    let tenant = git(&world, "here", &here, ", credentialsSecretRef: {name: repository}").await;
    assert_eq!(run(&world, &tenant, "first").await.documents_indexed, 3);
}

/// A stand-in for `ssh` that notes how it is called and gives away the repository.
#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn ssh_is_called_with_judged_addresses_and_known_hosts_alone(owner: PgPool) {
    let mut world = World::new(owner).await;
    let repository = calm_repository().await;
    let programs = tempfile::tempdir().unwrap();
    let called = programs.path().join("called");
    let script = format!(
        "printf '%s\\n' \"$@\" > {called}\nfor last; do :; done\ncp \"$4\" {called}.key 2>/dev/null\nstat -c %a \"$4\" > {called}.mode\nexec git upload-pack {bare}",
        called = called.display(),
        bare = repository.path("docs.git").display(),
    );
    let program = programs.path().join("ssh");
    install_script(&script, &program);
    let path = format!("{}:{}", programs.path().display(), std::env::var("PATH").unwrap());
    world.environment.push(("PATH", path));
    let url = "ssh://git@localhost:2222/team/docs.git";
    let tenant = git(&world, "acme", url, ", credentialsSecretRef: {name: repository}").await;
    let folder = tempfile::tempdir().unwrap();
    world.environment.push((env::CREDENTIALS_DIR, folder.path().display().to_string()));
    secret(folder.path(), &[("ssh-privatekey", "a private key")]);
    let (told, _) = reason(&world, &tenant, "unknown").await;
    assert_eq!(told, format!("«{url}» needs the key \"known_hosts\" in the Secret that credentialsSecretRef names"));
    secret(folder.path(), &[("known_hosts", "[localhost]:2222 ssh-ed25519 AAAA")]);
    let row = run(&world, &tenant, "first").await;
    assert_eq!((row.state, row.documents_indexed), (RunState::Succeeded, 3));
    let arguments = std::fs::read_to_string(&called).unwrap();
    let arguments: Vec<&str> = arguments.lines().collect();
    for expected in [
        "HostName=127.0.0.1",
        "HostKeyAlias=[localhost]:2222",
        "StrictHostKeyChecking=yes",
        "ProxyCommand=none",
        "BatchMode=yes",
    ] {
        assert!(arguments.contains(&expected), "{expected} is missing in {arguments:?}");
    }
    assert_eq!(arguments[..3], ["-F", "/dev/null", "-i"]);
    assert!(arguments.contains(&"git@localhost"), "{arguments:?}");
    assert_eq!(std::fs::read_to_string(programs.path().join("called.key")).unwrap(), "a private key\n");
    assert_eq!(std::fs::read_to_string(programs.path().join("called.mode")).unwrap().trim(), "600");
    // An address that is not to be asked is not asked by ssh, either.
    std::fs::remove_file(&called).unwrap();
    let tenant =
        git(&world, "private", "ssh://git@10.0.0.1/docs.git", ", credentialsSecretRef: {name: repository}").await;
    let (told, _) = reason(&world, &tenant, "first").await;
    assert!(told.contains("10.0.0.1 is not a public address") && !called.exists(), "{told}");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn without_git_the_reason_names_it(owner: PgPool) {
    let mut world = World::new(owner).await;
    let repository = calm_repository().await;
    world.environment.push(("PATH", "/nonexistent".to_owned()));
    let tenant = git(&world, "acme", &repository.url(), "").await;
    let expected = "the program git, which reads repositories, is not installed where docbrain-ingest runs";
    assert_eq!(reason(&world, &tenant, "first").await, (expected.to_owned(), Some(2)));
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn killed_twenty_times_at_random_it_leaves_what_an_undisturbed_run_leaves(owner: PgPool) {
    let world = World::new(owner).await;
    let repository = calm_repository().await;
    for number in 0..40 {
        repository.write(&format!("docs/page-{number}.md"), text(&format!("page {number}")));
    }
    repository.publish();
    let calm = git(&world, "calm", &repository.url(), "").await;
    run(&world, &calm, "first").await;
    let expected = world.index(&calm).await;
    let mut random = Random(20_261_126);
    let (mut kills, mut round) = (0, 0);
    while kills < 20 {
        round += 1;
        let tenant = git(&world, &format!("storm-{round}"), &repository.url(), "").await;
        let run = world.enqueue(&tenant, "first").await;
        kills += world.kill_at_random(&tenant, run, &mut random, (4, 60, 900)).await;
        let row = world.finish(&tenant, run).await;
        assert_eq!(row.state, RunState::Succeeded, "round {round}");
        assert_eq!(world.index(&tenant).await, expected, "round {round}");
        let left = std::fs::read_dir(std::env::temp_dir()).unwrap().filter_map(Result::ok);
        let prefix = format!("docbrain-git-{}-", tenant.source);
        let left: Vec<_> = left.filter(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)).collect();
        assert!(left.is_empty(), "round {round}: {left:?}");
    }
}
