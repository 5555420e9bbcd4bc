use std::fmt::Write;

use super::*;
use crate::{ChunkingStrategy, DeletionPolicy};

fn refusal(yaml: &str) -> String {
    read(yaml).unwrap_err().to_string()
}

fn chatbot(spec: &str) -> String {
    format!(
        "apiVersion: docbrain.dev/v1alpha1\nkind: Chatbot\nmetadata: {{name: helper, namespace: acme}}\nspec: {spec}\n"
    )
}

#[test]
fn several_resources_are_read_with_their_defaults() {
    let resources = read(
        "apiVersion: docbrain.dev/v1alpha1
kind: Tenant
metadata: {name: acme}
spec: {displayName: Acme}
---
apiVersion: docbrain.dev/v1alpha1
kind: KnowledgeSource
metadata: {name: manual, namespace: acme}
spec: {source: {upload: {}}}
---
apiVersion: docbrain.dev/v1alpha1
kind: Chatbot
metadata: {name: helper, namespace: acme}
spec: {displayName: Helper, knowledgeSources: [{name: manual}]}
",
    )
    .unwrap();
    let [Resource::Tenant(tenant), Resource::KnowledgeSource(source), Resource::Chatbot(chatbot)] = &resources[..]
    else {
        panic!("{resources:?}");
    };
    assert_eq!(tenant.spec.deletion_policy, DeletionPolicy::Retain);
    assert_eq!(source.spec.chunking.strategy, ChunkingStrategy::Markdown);
    assert_eq!(source.spec.deletion_policy, DeletionPolicy::Delete);
    assert_eq!((chatbot.spec.retrieval.top_k, chatbot.spec.retrieval.hybrid), (8, true));
    assert_eq!(resources[1].label(), "knowledgesource/manual");
    assert_eq!((resources[0].namespace(), resources[2].namespace()), ("", "acme"));
}

#[test]
fn limits_have_defaults_and_must_agree() {
    let Resource::Chatbot(helper) = &read(&chatbot("{displayName: H}")).unwrap()[0] else { panic!("a chatbot") };
    let limits = &helper.spec.limits;
    assert_eq!((limits.questions_per_minute_per_visitor, limits.questions_per_minute_per_ip), (20, 60));
    assert_eq!((limits.questions_per_minute, &limits.budget), (None, &None));
    let refused = [
        ("{questionsPerMinutePerVisitor: 0}", "questionsPerMinutePerVisitor"),
        ("{questionsPerMinutePerVisitor: 61}", "must not be above questionsPerMinutePerIp"),
        ("{budget: {tokensPerDay: 2, tokensPerMonth: 1}}", "tokensPerDay must not be above tokensPerMonth"),
        ("{budget: {centsPerDay: 2, centsPerMonth: 1}}", "centsPerDay must not be above centsPerMonth"),
        ("{budget: {centsPerDay: -1}}", "spec.limits.budget.centsPerDay"),
    ];
    for (limits, reason) in refused {
        let refusal = refusal(&chatbot(&format!("{{displayName: H, limits: {limits}}}")));
        assert!(refusal.contains(reason), "{limits}: {refusal}");
    }
    let tenant = |quota: &str| {
        format!(
            "apiVersion: docbrain.dev/v1alpha1\nkind: Tenant\nmetadata: {{name: acme}}\nspec: {{displayName: A, quota: {quota}}}"
        )
    };
    read(&tenant("{maxDocuments: 5, requestsPerMinute: 9, uploadsPerMinute: 3, budget: {tokensPerDay: 3000000000}}"))
        .unwrap();
    assert!(refusal(&tenant("{budget: {tokensPerDay: 2, tokensPerMonth: 1}}")).contains("tokensPerMonth"));
    assert!(refusal(&tenant("{requestsPerMinute: 0}")).contains("spec.quota.requestsPerMinute"));
}

#[test]
fn mistakes_are_named_with_their_place() {
    assert!(refusal("a: [1").contains("line 1"), "{}", refusal("a: [1"));
    assert!(refusal("kind: Chatbot").contains("`apiVersion` is missing"));
    assert!(refusal("apiVersion: v1\nkind: Pod\nmetadata: {name: x}").contains("v1/Pod is not a resource"));
    assert!(
        refusal(&chatbot("{displayname: Helper}"))
            .contains("spec.displayname: unknown field; known here: allowedOrigins")
    );
    assert!(refusal(&chatbot("{displayName: ''}")).contains("spec.displayName"));
    assert!(
        refusal(&chatbot("{displayName: H, knowledgeSources: [{name: a}, {name: b}, {name: a}]}"))
            .contains("spec.knowledgeSources[2]: stands in the list twice")
    );
    assert!(
        refusal(&chatbot("{displayName: H, allowedOrigins: ['https://a.b', 'https://a.b']}"))
            .contains("spec.allowedOrigins[1]: stands in the list twice")
    );
    assert!(refusal(&chatbot("{displayName: H, retrieval: {topK: 500}}")).contains("spec.retrieval.topK"));
    assert!(
        refusal("apiVersion: docbrain.dev/v1alpha1\nkind: Tenant\nmetadata: {name: Big_Corp}\nspec: {displayName: B}")
            .contains("metadata.name")
    );
}

#[test]
fn rules_of_the_crds_hold_without_a_cluster() {
    assert!(
        refusal(&chatbot("{displayName: H, allowedOrigins: ['https://example.com/page/']}"))
            .contains("an origin is scheme and host")
    );
    let source = |spec: &str| {
        format!(
            "apiVersion: docbrain.dev/v1alpha1\nkind: KnowledgeSource\nmetadata: {{name: s, namespace: acme}}\nspec: {spec}\n"
        )
    };
    assert!(refusal(&source("{source: {}}")).contains("exactly one kind of source"));
    assert!(
        refusal(&source("{source: {upload: {}}, chunking: {size: 100, overlap: 100}}"))
            .contains("overlap must be smaller")
    );
    let long = "a".repeat(41);
    assert!(
        refusal(&format!(
            "apiVersion: docbrain.dev/v1alpha1\nkind: Tenant\nmetadata: {{name: {long}}}\nspec: {{displayName: B}}"
        ))
        .contains("40 characters")
    );
}

#[test]
fn a_url_is_judged_by_its_scheme_whatever_its_host() {
    let source = |kind: &str| {
        read(&format!(
            "apiVersion: docbrain.dev/v1alpha1\nkind: KnowledgeSource\nmetadata: {{name: s, namespace: acme}}\nspec: {{source: {kind}}}\n"
        ))
    };
    for (url, is_web, is_git) in [
        ("https://example.com/docs/", true, true),
        ("HTTP://localhost:3000/", true, true),
        ("http://127.0.0.1:11434/v1", true, true),
        ("http://[::1]:8080", true, true),
        ("ssh://git@localhost/docs.git", false, true),
        ("ftp://example.com", false, false),
        ("file:///etc/passwd", false, false),
        ("/etc/passwd", false, false),
        ("localhost:3000", false, false),
        ("http:example.com", false, false),
        ("https://", false, false),
        ("https://exa mple.com", false, false),
    ] {
        let model = read(&chatbot(&format!("{{displayName: H, model: {{model: m, baseUrl: '{url}'}}}}")));
        assert_eq!(model.is_ok(), is_web, "{url}: {model:?}");
        let web = source(&format!("{{web: {{startUrls: ['{url}']}}}}"));
        assert_eq!(web.is_ok(), is_web, "{url}: {web:?}");
        let git = source(&format!("{{git: {{url: '{url}'}}}}"));
        assert_eq!(git.is_ok(), is_git, "{url}: {git:?}");
    }
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut yaml = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 9].join(", ");
        writeln!(yaml, "a{level}: &a{level} [{aliases}]").unwrap();
    }
    assert!(matches!(read(&yaml), Err(ManifestError::Yaml { .. })));
}

#[test]
fn the_examples_are_read() {
    let deploy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let folders = ["examples", "gitops/tenants/acme"].map(|folder| deploy.join(folder));
    let mut files: Vec<_> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()))
        .collect();
    files.push(deploy.join("demo.yaml"));
    files.retain(|file| file.file_name().is_some_and(|name| name != "kustomization.yaml"));
    assert!(files.len() >= 7, "{files:?}");
    for file in files {
        let name = file.display();
        let resources =
            read(&std::fs::read_to_string(&file).unwrap()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!resources.is_empty(), "{name}");
    }
}

#[test]
fn secrets_are_read_where_they_may_stand_and_never_told() {
    let yaml = "apiVersion: v1\nkind: Secret\nmetadata: {name: repository, namespace: acme}\ntype: Opaque\n\
                stringData: {password: 'the word'}\ndata: {username: Ym90}\n";
    let (resources, secrets) = read_with_secrets(yaml).unwrap();
    assert!(resources.is_empty());
    assert_eq!((secrets[0].name.as_str(), secrets[0].namespace.as_str()), ("repository", "acme"));
    assert_eq!(secrets[0].keys["password"], "the word");
    assert_eq!(secrets[0].keys["username"], "bot");
    assert!(!format!("{secrets:?}").contains("the word"));
    assert!(read(yaml).unwrap_err().to_string().contains("v1/Secret is not a resource of DocBrain"));
    for (bad, expected) in [
        ("metadata: {name: Bad, namespace: acme}\nstringData: {a: hidden}", "metadata.name"),
        ("metadata: {name: a}\nstringData: {a: hidden}", "metadata.namespace"),
        ("metadata: {name: a, namespace: b}\nstringdata: {a: hidden}", "stringdata: unknown field"),
        ("metadata: {name: a, namespace: b}\ndata: {a: '?hidden'}", "data is base64"),
        ("metadata: {name: a, namespace: b}\ndata: {a: //8=}", "data.a: its value is no text"),
        ("metadata: {name: a, namespace: b}\nstringData: {a/b: hidden}", "is not a key"),
    ] {
        let refused = read_with_secrets(&format!("apiVersion: v1\nkind: Secret\n{bad}\n")).unwrap_err().to_string();
        assert!(refused.contains(expected) && !refused.contains("hidden"), "{bad}: {refused}");
    }
}
