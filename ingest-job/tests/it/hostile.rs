use docbrain_ingest::sandbox::Limits;

use super::sandbox;

#[tokio::test]
async fn one_worker_serves_many_documents() {
    let mut sandbox = sandbox(Limits::default());
    let text = format!("# Heading\n\n{}", "Some words of a page. ".repeat(270));
    let begun = std::time::Instant::now();
    for index in 0..2000 {
        let document = sandbox.parse(&format!("{index}.md"), text.as_bytes()).await.unwrap();
        assert_eq!(document.title.as_deref(), Some("Heading"));
        assert_eq!(document.markdown, text);
    }
    println!("{:?} for 2,000 documents", begun.elapsed());
}
