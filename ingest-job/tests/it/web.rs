//! Runs of web sources: the real program against a site with traps.

use std::fmt::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use docbrain_core::env;
use docbrain_core::store::runs::{self, RunRow, RunState};
use sqlx::PgPool;

use crate::harness::{Random, Tenant, World};
use crate::site::{Reply, Site};

const PDF: &[u8] = include_bytes!("../../testdata/manual.pdf");

fn page(title: &str, links: &[&str]) -> Reply {
    let links: Vec<String> = links.iter().map(|link| format!("<li><a href=\"{link}\">{link}</a></li>")).collect();
    let links = links.concat();
    Reply::html(&format!(
        "<html><head><title>{title}</title></head><body><h1>{title}</h1>\
         <p>The valve of {title} is opened by turning its handle to the left, until the lamp goes out.</p><ul>{links}</ul></body></html>"
    ))
    .tagged()
}

/// A small site without traps: six pages, one of them named by the sitemap alone.
async fn calm_site() -> Site {
    let site = Site::start().await;
    site.put("/docs/", page("Manual", &["install", "use/", "/blog/"]));
    site.put("/docs/install", page("Installing", &["/docs/", "use/"]));
    site.put("/docs/use/", page("Using", &["lamp", "../install"]));
    site.put("/docs/use/lamp", page("The lamp", &[]));
    site.put("/docs/hidden", page("Hidden", &["deeper"]));
    site.put("/docs/deeper", page("Deeper", &[]));
    site.put("/blog/", page("Blog", &[]));
    let (robots, map) = (format!("Sitemap: {}\n", site.url("/maps.xml")), site.url("/map-1.xml"));
    site.put("/robots.txt", Reply::new(200, "text/plain", robots));
    site.put(
        "/maps.xml",
        Reply::new(200, "text/xml", format!("<sitemapindex><sitemap><loc>{map}</loc></sitemap></sitemapindex>")),
    );
    let listed = format!(
        "<urlset><url><loc>{}</loc></url><url><loc>https://other.example/x</loc></url></urlset>",
        site.url("/docs/hidden")
    );
    site.put("/map-1.xml", Reply::new(200, "text/xml", listed));
    site
}

const CALM: [&str; 6] = ["docs/", "docs/deeper", "docs/hidden", "docs/install", "docs/use/", "docs/use/lamp"];

async fn web(world: &World, name: &str, site: &Site, more: &str) -> Tenant {
    let start = site.url("/docs/");
    world
        .apply_spec(
            name,
            &format!("{{source: {{web: {{startUrls: ['{start}']{more}}}}}, chunking: {{size: 64, overlap: 0}}}}"),
        )
        .await
}

async fn run(world: &World, tenant: &Tenant, trigger: &str) -> RunRow {
    let run = world.enqueue(tenant, trigger).await;
    world.finish(tenant, run).await
}

/// Paths of documents below the site, by status.
async fn paths(world: &World, tenant: &Tenant, site: &Site, status: &str) -> Vec<String> {
    let prefix = format!("{}/", site.address);
    let documents = world.documents(tenant).await.into_iter().filter(|(_, found, _)| found == status);
    documents.map(|(path, _, _)| path.strip_prefix(&prefix).unwrap().to_owned()).collect()
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_site_becomes_documents_and_the_next_run_downloads_nothing(owner: PgPool) {
    let world = World::new(owner).await;
    let site = calm_site().await;
    let tenant = web(&world, "acme", &site, "").await;
    let row = run(&world, &tenant, "first").await;
    assert_eq!(
        (&row.state, row.documents_indexed, row.documents_failed, &row.note),
        (&RunState::Succeeded, 6, 0, &None)
    );
    assert_eq!(paths(&world, &tenant, &site, "indexed").await, CALM);
    assert!(site.agents().iter().all(|agent| agent.starts_with("DocBrain/")));
    let (title, url): (String, String) =
        sqlx::query_as("select title, url from documents where tenant_id = $1 and path like '%lamp'")
            .bind(tenant.id.0)
            .fetch_one(&world.owner)
            .await
            .unwrap();
    assert_eq!((title.as_str(), url), ("The lamp", site.url("/docs/use/lamp")));
    let before = world.index(&tenant).await;
    site.take_log();

    world.texts_embedded.store(0, Ordering::SeqCst);
    let row = run(&world, &tenant, "second").await;
    assert_eq!((row.state, row.documents_indexed, row.documents_unchanged), (RunState::Succeeded, 0, 6));
    let pages: Vec<(String, u16)> =
        site.take_log().into_iter().filter(|(path, _)| path.starts_with("/docs/")).collect();
    assert_eq!(pages.len(), 6, "{pages:?}");
    assert!(pages.iter().all(|(_, status)| *status == 304), "{pages:?}");
    assert_eq!(world.texts_embedded.load(Ordering::SeqCst), 1, "only the question for the model's dimensions");
    assert_eq!(world.index(&tenant).await, before);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn pages_change_come_and_go(owner: PgPool) {
    let world = World::new(owner).await;
    let site = calm_site().await;
    let tenant = web(&world, "acme", &site, "").await;
    run(&world, &tenant, "first").await;
    site.put("/docs/use/", page("Using", &["lamp", "siren"]));
    site.put("/docs/use/siren", page("The siren", &[]));
    site.remove("/docs/hidden");
    let row = run(&world, &tenant, "second").await;
    assert_eq!((row.state, row.documents_indexed), (RunState::Succeeded, 2));
    let now = paths(&world, &tenant, &site, "indexed").await;
    assert_eq!(now, ["docs/", "docs/install", "docs/use/", "docs/use/lamp", "docs/use/siren"]);

    // What cannot be seen for the moment stays, and so does all that is only reached through it.
    site.put("/docs/use/", Reply::status(500));
    let row = run(&world, &tenant, "third").await;
    assert_eq!(row.state, RunState::Succeeded);
    assert!(
        row.note.as_deref().unwrap_or_default().contains("1 addresses could not be read this time"),
        "{:?}",
        row.note
    );
    assert_eq!(paths(&world, &tenant, &site, "indexed").await, now);

    // A site that is gone altogether takes nothing with it.
    site.put("/docs/", Reply::status(503).header("retry-after", "0"));
    let row = run(&world, &tenant, "fourth").await;
    let start = site.url("/docs/");
    assert_eq!(row.state, RunState::Failed { reason: format!("«{start}» cannot be read: it answered 503") });
    assert_eq!(paths(&world, &tenant, &site, "indexed").await, now);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn traps_fail_alone_and_say_why(owner: PgPool) {
    let world = World::new(owner).await;
    let site = Site::start().await;
    let port = site.address.port();
    let links = [
        "fine",
        "fine?utm_source=trap#part",
        "loop",
        "metadata",
        "decimal",
        "mapped",
        "private-name",
        "huge",
        "endless",
        "slow",
        "silent-refusal",
        "error",
        "image",
        "archive.zip",
        "data.json",
        "manual.pdf",
        "notes.md",
        "secret/plan",
        "twin",
        "original",
        "not-indexed",
        "dead-end",
        "moved",
        "elsewhere",
        "login",
        "deep",
        "broken.pdf",
        "missing",
        "compressed",
    ];
    let mut links: Vec<String> = links.iter().map(|link| (*link).to_owned()).collect();
    links.push(format!("http://localhost:{port}/docs/other-host"));
    links.push(format!("http://user:password@127.0.0.1:{port}/docs/userinfo"));
    links.push("file:///etc/passwd".to_owned());
    links.push("/outside".to_owned());
    let links: Vec<&str> = links.iter().map(String::as_str).collect();
    site.put("/docs/", page("Manual", &links));
    site.put("/docs/fine", page("Fine", &[]));
    site.put("/docs/loop", Reply::redirect("/docs/loop"));
    site.put("/docs/metadata", Reply::redirect("http://169.254.169.254/latest/meta-data/"));
    site.put("/docs/decimal", Reply::redirect("http://2852039166/latest/meta-data/"));
    site.put("/docs/mapped", Reply::redirect("http://[::ffff:10.0.0.1]/"));
    site.put("/docs/private-name", Reply::redirect("ftp://127.0.0.1/"));
    site.put("/docs/huge", Reply::html(&"<p>page</p>".repeat(10 << 20)));
    site.put("/docs/endless", Reply::endless());
    site.put("/docs/slow", Reply::stalled());
    site.put("/docs/silent-refusal", Reply::status(403));
    site.put("/docs/error", Reply::status(500));
    site.put("/docs/image", Reply::new(200, "image/png", b"\x89PNG"));
    site.put("/docs/manual.pdf", Reply::new(200, "application/octet-stream", PDF));
    site.put("/docs/notes.md", Reply::new(200, "text/plain", "# Notes\n\nThe lamp has notes.\n"));
    site.put("/docs/secret/plan", page("Secret", &[]));
    let canonical = "<link rel=canonical href='/docs/original'><h1>Twin</h1><p>The twin of a page is that page, and not another one.</p>";
    site.put("/docs/twin", Reply::html(canonical));
    site.put("/docs/original", Reply::html(canonical));
    site.put("/docs/not-indexed", Reply::html("<meta name=robots content=noindex><a href='behind'>x</a>"));
    site.put("/docs/behind", page("Behind", &[]));
    site.put(
        "/docs/dead-end",
        Reply::html("<p>text of a dead end</p><a href='beyond'>x</a>").header("x-robots-tag", "nofollow"),
    );
    site.put("/docs/beyond", page("Beyond", &[]));
    site.put("/docs/moved", Reply::redirect("/docs/fine"));
    site.put("/docs/elsewhere", Reply::redirect("/outside"));
    site.put("/docs/login", Reply::redirect(&format!("http://localhost:{port}/login")));
    site.put("/docs/deep", Reply::html(&format!("{}the end{}", "<div>".repeat(100_000), "</div>".repeat(100_000))));
    site.put("/docs/broken.pdf", Reply::new(200, "application/pdf", &PDF[..100]));
    site.put("/docs/compressed", Reply::html("x").header("content-encoding", "gzip"));
    for path in ["/outside", "/docs/other-host", "/docs/userinfo", "/login"] {
        site.put(path, page("Out of bounds", &[]));
    }
    site.put("/robots.txt", Reply::new(200, "text/plain", "User-agent: *\nDisallow: /docs/secret/\n"));
    let tenant = web(&world, "acme", &site, "").await;
    let begun = Instant::now();
    let row = run(&world, &tenant, "first").await;
    assert_eq!(row.state, RunState::Succeeded);
    assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());

    let indexed = paths(&world, &tenant, &site, "indexed").await;
    let expected =
        ["docs/", "docs/behind", "docs/dead-end", "docs/fine", "docs/manual.pdf", "docs/notes.md", "docs/original"];
    assert_eq!(indexed, expected);
    let prefix = format!("{}/docs/", site.address);
    let mut told = String::new();
    for (path, status, why) in world.documents(&tenant).await {
        if status == "failed" {
            writeln!(told, "{} {why}", path.strip_prefix(&prefix).unwrap()).unwrap();
        }
    }
    insta::assert_snapshot!(told);
    assert_eq!(row.documents_failed, u32::try_from(told.lines().count()).unwrap());
    let asked: Vec<String> = site.take_log().into_iter().map(|(path, _)| path).collect();
    for untouched in [
        "/outside",
        "/docs/other-host",
        "/docs/userinfo",
        "/login",
        "/docs/secret/plan",
        "/docs/beyond",
        "/docs/archive.zip",
    ] {
        assert!(!asked.iter().any(|path| path == untouched), "{untouched} was asked for");
    }
    assert_eq!(asked.iter().filter(|path| path.starts_with("/docs/fine")).count(), 2, "by its link and by a redirect");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn limits_patterns_and_depth_bound_a_crawl(owner: PgPool) {
    let world = World::new(owner).await;
    let site = calm_site().await;
    for (name, more, expected, note) in [
        (
            "pages",
            ", maxPages: 3",
            &["docs/", "docs/install", "docs/use/"][..],
            Some("the limit of 3 pages was reached"),
        ),
        ("depth", ", maxDepth: 0, sitemap: false", &["docs/"], None),
        ("listed", ", maxDepth: 0", &["docs/", "docs/hidden"], None),
        ("include", ", include: ['/docs/use/**']", &["docs/use/", "docs/use/lamp"], None),
        ("exclude", ", exclude: ['/docs/use/', '/docs/h*']", &["docs/", "docs/install"], None),
    ] {
        let tenant = web(&world, name, &site, more).await;
        let row = run(&world, &tenant, "first").await;
        assert_eq!(row.state, RunState::Succeeded, "{name}");
        assert_eq!(paths(&world, &tenant, &site, "indexed").await, expected, "{name}");
        assert_eq!(row.note.is_some(), note.is_some(), "{name}: {:?}", row.note);
        assert!(row.note.unwrap_or_default().contains(note.unwrap_or_default()), "{name}");
    }
    // Another spec reads each page anew, and lets go of what it no longer takes.
    let tenant = web(&world, "pages", &site, ", exclude: ['/docs/use/**']").await;
    run(&world, &tenant, "second").await;
    assert_eq!(paths(&world, &tenant, &site, "indexed").await, ["docs/", "docs/deeper", "docs/hidden", "docs/install"]);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_start_url_that_cannot_be_read_ends_the_run_with_its_reason(owner: PgPool) {
    let mut world = World::new(owner).await;
    let site = Site::start().await;
    site.put("/docs/forbidden/", page("Forbidden", &[]));
    site.put("/docs/refused", Reply::status(401));
    site.put("/docs/broken", Reply::status(500));
    site.put("/docs/image", Reply::new(200, "image/png", b"\x89PNG"));
    site.put("/docs/metadata", Reply::redirect("http://169.254.169.254/"));
    site.put("/robots.txt", Reply::new(200, "text/plain", "User-agent: *\nDisallow: /docs/forbidden/"));
    let port = site.address.port();
    let at = |path: &str| site.url(path);
    let cases = [
        (at("/docs/gone"), "answered 404", 2),
        (at("/docs/forbidden/"), "its robots.txt does not allow it", 2),
        (at("/docs/refused"), "it answered 401", 2),
        (at("/docs/broken"), "it answered 500", 1),
        (at("/docs/image"), "it is no document but image/png", 2),
        (at("/docs/metadata"), "redirects to «http://169.254.169.254/»: 169.254.169.254 is not a public address", 2),
        ("http://169.254.169.254/latest/meta-data/".into(), "169.254.169.254 is not a public address", 2),
        ("http://10.96.0.1/".into(), "10.96.0.1 is not a public address", 2),
        ("http://[::ffff:169.254.169.254]/".into(), "is not a public address", 2),
        ("http://[::1]:8080/".into(), "::1 is not a public address", 2),
        ("http://2852039166/".into(), "169.254.169.254 is not a public address", 2),
        ("http://0251.0376.0251.0376/".into(), "169.254.169.254 is not a public address", 2),
        ("http://user:password@example.com/".into(), "must not hold a user name", 2),
    ];
    for (index, (start, expected, code)) in cases.iter().enumerate() {
        let tenant =
            world.apply_spec(&format!("t{index}"), &format!("{{source: {{web: {{startUrls: ['{start}']}}}}}}")).await;
        let run = world.enqueue(&tenant, "first").await;
        let status = world.start(&tenant, run).wait().await.unwrap();
        let RunState::Failed { reason } = world.run(&tenant, run).await.state else { panic!("{start} was read") };
        assert!(reason.starts_with('«') && reason.contains(expected), "{start}: {reason}");
        assert_eq!(status.code(), Some(*code), "{start}");
    }
    // Names are judged by what they resolve to.
    world.environment.clear();
    let start = format!("https://localhost:{port}/docs/");
    let tenant = world.apply_spec("names", &format!("{{source: {{web: {{startUrls: ['{start}']}}}}}}")).await;
    let run = world.enqueue(&tenant, "first").await;
    world.start(&tenant, run).wait().await.unwrap();
    let RunState::Failed { reason } = world.run(&tenant, run).await.state else { panic!("localhost was read") };
    assert!(reason.contains("localhost is not a public address") && reason.contains(env::ALLOWED_NETWORKS), "{reason}");
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn robots_that_cannot_be_read_keep_a_run_away(owner: PgPool) {
    let world = World::new(owner).await;
    let site = calm_site().await;
    site.put("/robots.txt", Reply::status(503));
    let tenant = web(&world, "acme", &site, "").await;
    let row = run(&world, &tenant, "first").await;
    let start = site.url("/docs/");
    let reason = format!("«{start}» cannot be read: its robots.txt could not be read (it answered 503)");
    assert_eq!(row.state, RunState::Failed { reason });
    assert!(site.take_log().iter().all(|(path, _)| path == "/robots.txt"));
    site.put("/robots.txt", Reply::new(200, "text/plain", "User-agent: *\nCrawl-delay: 0.5\n"));
    let begun = Instant::now();
    let row = run(&world, &tenant, "second").await;
    assert_eq!(row.documents_indexed, 4, "without the sitemap");
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_quota_of_documents_is_kept_and_told(owner: PgPool) {
    let world = World::new(owner).await;
    let site = calm_site().await;
    let tenant = web(&world, "acme", &site, "").await;
    sqlx::query("update tenants set spec = spec || '{\"quota\": {\"maxDocuments\": 4}}'")
        .execute(&world.owner)
        .await
        .unwrap();
    for trigger in ["first", "second"] {
        let row = run(&world, &tenant, trigger).await;
        assert_eq!(row.state, RunState::Succeeded);
        let note = row.note.unwrap_or_default();
        assert!(note.contains("the tenant's quota of 4 documents does not leave room: there are 4"), "{note}");
        assert_eq!(paths(&world, &tenant, &site, "indexed").await.len(), 4);
    }
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn a_process_asks_for_its_own_run(owner: PgPool) {
    let world = World::new(owner).await;
    let site = calm_site().await;
    let tenant = web(&world, "acme", &site, "").await;
    let triggered = async |trigger: &str| {
        let mut command = world.command(&tenant);
        command.env(env::SOURCE_ID, tenant.source.to_string()).env(env::TRIGGER, trigger);
        command.spawn().unwrap().wait().await.unwrap().code()
    };
    assert_eq!(triggered("schedule:one").await, Some(0));
    let first = runs::id_of(tenant.source, "schedule:one");
    assert_eq!(world.run(&tenant, first).await.state, RunState::Succeeded);
    site.take_log();
    assert_eq!(triggered("schedule:one").await, Some(0), "the same trigger never runs twice");
    assert!(site.take_log().is_empty());

    // Another run is under way: this one waits its turn.
    let other = world.enqueue(&tenant, "other").await;
    let mut tx = world.begin(tenant.id).await;
    assert!(runs::acquire(&mut tx, other).await.unwrap().is_some());
    tx.commit().await.unwrap();
    assert_eq!(triggered("schedule:two").await, Some(0));
    let second = runs::id_of(tenant.source, "schedule:two");
    assert_eq!(world.run(&tenant, second).await.state, RunState::Queued);
    assert_eq!(world.finish(&tenant, other).await.state, RunState::Succeeded);
    assert_eq!(world.finish(&tenant, second).await.state, RunState::Succeeded);

    // A suspended source does nothing, and collects nothing.
    sqlx::query("update knowledge_sources set suspended = true").execute(&world.owner).await.unwrap();
    assert_eq!(triggered("schedule:three").await, Some(0));
    let waiting: i64 =
        sqlx::query_scalar("select count(*) from runs where state = 'queued' and trigger like 'schedule%'")
            .fetch_one(&world.owner)
            .await
            .unwrap();
    assert_eq!(waiting, 0);
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn killed_twenty_times_at_random_it_leaves_what_an_undisturbed_crawl_leaves(owner: PgPool) {
    let world = World::new(owner).await;
    let site = calm_site().await;
    for number in 0..24 {
        let next = [format!("page-{}", number * 2 + 1), format!("page-{}", number * 2 + 2), "broken".to_owned()];
        let next: Vec<&str> = next.iter().map(String::as_str).collect();
        site.put(&format!("/docs/page-{number}"), page(&format!("Page {number}"), &next));
    }
    site.put("/docs/use/lamp", page("The lamp", &["../page-0"]));
    site.put("/docs/broken", Reply::status(500));
    site.delay(Duration::from_millis(10));
    let calm = web(&world, "calm", &site, ", maxDepth: 30").await;
    run(&world, &calm, "first").await;
    let expected = world.index(&calm).await;
    assert!(expected.len() > 60, "{}", expected.len());
    let mut random = Random(20_261_125);
    let mut kills = 0;
    let mut round = 0;
    while kills < 20 {
        round += 1;
        let tenant = web(&world, &format!("storm-{round}"), &site, ", maxDepth: 30").await;
        let run = world.enqueue(&tenant, "first").await;
        kills += world.kill_at_random(&tenant, run, &mut random, (5, 100, 1_200)).await;
        let row = world.finish(&tenant, run).await;
        assert_eq!(row.state, RunState::Succeeded, "round {round}");
        assert_eq!(world.index(&tenant).await, expected, "round {round}");
        assert_eq!((row.documents_indexed, row.documents_failed), (30, 1), "round {round}");
    }
}
