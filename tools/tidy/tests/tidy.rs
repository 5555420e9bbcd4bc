//! The architecture as tests: arrows between crates, where SQL and Kubernetes may stand, names and lengths of files.

#![expect(clippy::unwrap_used, reason = "a test that cannot read the tree fails")]

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Files of the project below `folder`, as paths from the root.
fn files(folder: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().unwrap().is_dir() {
                if !matches!(name.as_str(), "target" | "node_modules" | "snapshots" | "testdata")
                    && !name.starts_with('.')
                {
                    walk(&entry.path(), found);
                }
            } else {
                found.push(entry.path());
            }
        }
    }
    let root = root();
    let mut found = Vec::new();
    walk(&root.join(folder), &mut found);
    let mut found: Vec<_> = found.iter().map(|path| path.strip_prefix(&root).unwrap().to_owned()).collect();
    found.sort();
    assert!(!found.is_empty(), "{folder} is empty");
    found
}

fn sources(folder: &str) -> Vec<(PathBuf, String)> {
    files(folder)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| {
            let text = fs::read_to_string(root().join(&path)).unwrap();
            (path, text)
        })
        .collect()
}

/// The dependencies of a crate, without those of its tests.
fn dependencies(folder: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
    manifest
        .split("\n[")
        .find(|section| section.starts_with("dependencies]"))
        .unwrap_or_default()
        .lines()
        .skip(1)
        .filter_map(|line| line.split(['.', ' ', '=']).next().filter(|name| !name.is_empty()).map(str::to_owned))
        .collect()
}

const CRATES: [&str; 7] = ["crds", "core", "operator", "api-server", "ingest-job", "cli", "bench"];

#[test]
fn arrows_between_crates_point_one_way() {
    let allowed: [(&str, &[&str]); 7] = [
        ("crds", &[]),
        ("core", &["docbrain-crds"]),
        ("operator", &["docbrain-crds", "docbrain-core"]),
        ("api-server", &["docbrain-crds", "docbrain-core"]),
        ("ingest-job", &["docbrain-crds", "docbrain-core"]),
        ("cli", &["docbrain-crds", "docbrain-core", "docbrain-api"]),
        ("bench", &["docbrain-core"]),
    ];
    for (folder, allowed) in allowed {
        for dependency in dependencies(folder).iter().filter(|name| name.starts_with("docbrain")) {
            assert!(allowed.contains(&dependency.as_str()), "{folder} must not depend on {dependency}");
        }
    }
}

#[test]
fn each_border_library_is_used_in_one_place() {
    for folder in CRATES {
        let dependencies = dependencies(folder);
        let has = |name: &str| dependencies.iter().any(|dependency| dependency == name);
        // The benchmark times a plain query beside the store's.
        assert!(matches!(folder, "core" | "bench") || !has("sqlx"), "{folder}: SQL belongs to core/src/store");
        assert!(matches!(folder, "api-server" | "bench") || !has("axum"), "{folder}: HTTP belongs to api-server");
        let may_know_kubernetes = matches!(folder, "crds" | "operator" | "api-server");
        assert!(may_know_kubernetes || !has("kube"), "{folder}: Kubernetes belongs to operator");
    }
}

#[test]
fn the_api_calls_kubernetes_from_one_module() {
    for (path, text) in sources("api-server/src") {
        let is_the_module = path.starts_with("api-server/src/control_plane/kubernetes")
            || path == Path::new("api-server/src/control_plane/kubernetes.rs");
        let calls = text.contains("kube::") || text.contains("k8s_openapi::");
        assert!(is_the_module || !calls, "{}: Kubernetes belongs to control_plane/kubernetes", path.display());
    }
}

#[test]
fn sql_stands_only_in_the_store() {
    for (path, text) in sources("core/src") {
        if !path.starts_with("core/src/store")
            && path != Path::new("core/src/ids.rs")
            && path != Path::new("core/src/store.rs")
        {
            assert!(!text.contains("sqlx::"), "{}: SQL belongs to core/src/store", path.display());
        }
    }
}

#[test]
fn every_table_of_a_tenant_is_behind_the_border() {
    let schema = fs::read_to_string(root().join("migrations/0001_create_schema.sql")).unwrap();
    for table in schema.split("create table ").skip(1) {
        let name = table.split_whitespace().next().unwrap();
        assert!(table.split(';').next().unwrap().contains("tenant_id uuid"), "{name} has no tenant_id");
    }
}

#[test]
fn no_path_says_that_its_author_found_no_name() {
    const FORBIDDEN: [&str; 10] =
        ["util", "utils", "helper", "helpers", "common", "misc", "manager", "service", "services", "mod"];
    for folder in CRATES {
        for path in files(folder) {
            for part in &path {
                let part = part.to_string_lossy();
                let stem = part.split('.').next().unwrap();
                assert!(!FORBIDDEN.contains(&stem), "{}: {stem} is no name", path.display());
            }
        }
    }
}

#[test]
fn files_are_short_enough_to_be_read() {
    const MOST: usize = 500;
    for folder in CRATES {
        for (path, text) in sources(folder) {
            let is_test =
                path.iter().any(|part| part == "tests") || path.file_stem().is_some_and(|stem| stem == "tests");
            let lines = text.split("#[cfg(test)]\nmod tests {").next().unwrap().lines().count();
            assert!(is_test || lines <= MOST, "{} has {lines} lines; split it by what it is about", path.display());
        }
    }
}

#[test]
fn crates_say_what_they_are_for() {
    for folder in CRATES {
        let library = root().join(folder).join("src/lib.rs");
        let program = root().join(folder).join("src/main.rs");
        for path in [library, program].iter().filter(|path| path.exists()) {
            let text = fs::read_to_string(path).unwrap();
            assert!(text.starts_with("//! "), "{} begins with what it is for", path.display());
        }
        let main = root().join(folder).join("src/main.rs");
        if main.exists() {
            let lines = fs::read_to_string(&main).unwrap().lines().count();
            assert!(lines <= 110, "{} has {lines} lines: a main parses, starts and ends", main.display());
        }
    }
}
