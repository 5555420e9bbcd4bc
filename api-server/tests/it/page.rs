//! The pages: everything they need comes from this server.

use sqlx::PgPool;

use crate::harness::World;

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn the_page_loads_nothing_from_elsewhere(owner: PgPool) {
    let world = World::new(owner).await;
    for (path, media_type) in [("/", "text/html"), ("/page.css", "text/css"), ("/page.js", "text/javascript")] {
        let reply = world.get(path).await;
        assert_eq!(reply.status, 200);
        assert_eq!(reply.headers["content-type"], format!("{media_type}; charset=utf-8"));
        let policy = reply.headers["content-security-policy"].to_str().unwrap();
        assert!(
            policy.starts_with("default-src 'none'; ") && !policy.contains("unsafe") && !policy.contains("http"),
            "{policy}"
        );
        for reference in
            ["http://", "https://", "src=\"//", "@import", "innerHTML", "outerHTML", "insertAdjacentHTML", "eval("]
        {
            assert!(!reply.text().contains(reference), "{path} holds {reference}");
        }
    }
    let html = world.get("/").await.text().to_owned();
    // The policy forbids what stands in the page itself.
    assert!(
        !html.contains("<style")
            && !html.contains("style=")
            && !html.contains(" onclick")
            && !html.contains("<script>")
    );
    for (field, label) in [("question", "for=\"question\""), ("chatbot", "for=\"chatbot\""), ("token", "for=\"token\"")]
    {
        assert!(html.contains(&format!("id=\"{field}\"")) && html.contains(label), "{field} has no label");
    }
    assert!(
        html.contains("aria-live=\"polite\"") && html.contains("lang=\"en\"") && html.contains("name=\"viewport\"")
    );
}

#[sqlx::test(migrator = "docbrain_core::store::MIGRATOR")]
async fn the_api_page_is_served_from_here(owner: PgPool) {
    let world = World::new(owner).await;
    let page = world.get("/docs/").await;
    assert_eq!(page.status, 200);
    assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    assert!(
        !page.text().contains("http://") && !page.text().contains("https://") && !page.text().contains("<script>"),
        "{}",
        page.text()
    );
    let start = world.get("/docs/swagger-initializer.js").await;
    assert!(
        start.text().contains("/openapi.json") && start.text().contains("\"validatorUrl\": \"none\""),
        "{}",
        start.text()
    );
    assert!(world.get("/docs/swagger-ui-bundle.js").await.body.len() > 100_000);
    assert_eq!(world.get("/docs").await.headers["location"], "/docs/");
}
