//! Rules of the house that a compiler does not know.

use std::collections::{BTreeMap, BTreeSet};

use seckill_proto::{Outcome, ProblemKind};

use crate::source::{crates, files_in, top};

/// Which crates of the workspace a crate may use: those below it, and of those what it is for.
const MAY_USE: [(&str, &[&str]); 20] = [
    ("seckill-proto", &[]),
    ("seckill-promotion", &["proto"]),
    ("seckill-log", &["proto"]),
    ("seckill-views", &["proto"]),
    ("seckill-telemetry", &["proto"]),
    ("seckill-edge", &["proto"]),
    ("seckill-command", &["proto", "promotion", "log", "edge", "telemetry"]),
    ("seckill-admin", &["proto", "promotion", "command", "edge"]),
    ("seckill-projector", &["proto", "promotion", "log", "views", "edge", "telemetry", "feed"]),
    ("seckill-query", &["proto", "views", "edge"]),
    ("seckill-replay", &["proto", "log", "edge"]),
    ("seckill-feed", &["proto", "log", "views", "telemetry"]),
    ("seckill-original", &["proto", "promotion", "views", "edge", "command", "query", "feed"]),
    ("seckill-pages", &["proto"]),
    ("seckill-load", &["proto", "checker"]),
    ("seckill-checker", &["proto", "log"]),
    (
        "seckill-simulation",
        &["proto", "checker", "command", "log", "projector", "telemetry", "views"],
    ),
    ("seckill-drill", &["proto", "log", "edge", "checker", "load", "telemetry"]),
    (
        "seckill",
        &[
            "proto",
            "promotion",
            "log",
            "views",
            "edge",
            "telemetry",
            "command",
            "admin",
            "projector",
            "query",
            "replay",
            "original",
            "pages",
            "feed",
            "load",
            "simulation",
            "checker",
            "drill",
        ],
    ),
    (
        "seckill-benches",
        &["proto", "log", "edge", "telemetry", "command", "load", "projector", "replay", "views"],
    ),
];

/// Crates of engines, and the only crate that may know each. Benchmarks measure them by themselves.
const ONLY_IN: [(&str, &str); 2] = [("rdkafka", "seckill-log"), ("scylla", "seckill-views")];

fn manifests() -> BTreeMap<String, toml::Table> {
    let manifests = crates().into_iter().filter_map(|folder| {
        let text = std::fs::read_to_string(folder.join("Cargo.toml")).ok()?;
        let manifest: toml::Table = text.parse().expect("a manifest");
        Some((manifest["package"]["name"].as_str().expect("a name").to_owned(), manifest))
    });
    manifests.collect()
}

fn dependencies(manifest: &toml::Table) -> BTreeSet<String> {
    let tables = ["dependencies", "build-dependencies"];
    let tables = tables.iter().filter_map(|table| manifest.get(*table)?.as_table());
    tables.flat_map(|table| table.keys().cloned()).collect()
}

#[test]
fn dependencies_point_down_only() {
    let may_use: BTreeMap<&str, &[&str]> = MAY_USE.into_iter().collect();
    let manifests = manifests();
    let known: BTreeSet<&str> = manifests.keys().map(String::as_str).collect();
    assert_eq!(known, may_use.keys().copied().collect(), "every crate has its place");
    for (name, manifest) in &manifests {
        for dependency in dependencies(manifest) {
            let Some(below) = dependency.strip_prefix("seckill-") else { continue };
            let allowed = may_use[name.as_str()].contains(&below);
            assert!(allowed, "{name} may not depend on {dependency}");
        }
    }
}

#[test]
fn an_engine_is_known_to_one_crate() {
    for (name, manifest) in manifests() {
        for (engine, only_in) in ONLY_IN {
            let knows = dependencies(&manifest).contains(engine);
            let may = name == only_in || name == "seckill-benches";
            assert!(may || !knows, "{name} may not know {engine}");
        }
    }
}

#[test]
fn the_rules_of_a_sale_have_no_clock_no_io_and_no_async() {
    let source = top().join("services/promotion/src");
    for file in std::fs::read_dir(source).expect("the rules") {
        let path = file.expect("a file").path();
        let text = std::fs::read_to_string(&path).expect("text");
        for word in ["std::time", "SystemTime", "std::fs", "std::net", "async ", "tokio"] {
            assert!(!text.contains(word), "{} mentions {word}", path.display());
        }
    }
}

/// What decides knows nothing of what brings it there.
#[test]
fn only_one_folder_of_the_command_node_knows_http() {
    let source = top().join("services/command/src");
    for file in std::fs::read_dir(source).expect("the command node") {
        let path = file.expect("an entry").path();
        let Ok(text) = std::fs::read_to_string(&path) else { continue }; // a folder
        for word in ["seckill_edge", "axum"] {
            assert!(!text.contains(word), "{} mentions {word}", path.display());
        }
    }
}

/// Everything between single backticks, and every link, that looks like a path.
fn paths_in(text: &str) -> BTreeSet<&str> {
    let prose: Vec<&str> = text.split("```").step_by(2).collect();
    let quoted = prose.iter().flat_map(|part| part.split('`').skip(1).step_by(2));
    let linked = prose.iter().flat_map(|part| part.split("](").skip(1));
    let linked = linked.filter_map(|rest| rest.split(')').next());
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
    let is_path = |text: &&str| {
        text.contains(['/', '.'])
            && text.starts_with(|c: char| c.is_ascii_alphabetic())
            && text.chars().all(plain)
    };
    let is_file = |text: &&str| {
        let ending = [".rs", ".md", ".yml", ".toml", "/"].iter().any(|end| text.ends_with(end));
        ending || top().join(text.split('/').next().unwrap_or_default()).is_dir()
    };
    quoted.chain(linked).filter(is_path).filter(is_file).collect()
}

#[test]
fn every_path_that_the_documents_name_exists() {
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"] {
        let text = std::fs::read_to_string(top().join(document)).expect(document);
        let paths = paths_in(&text);
        assert!(paths.len() > 3, "{document} names paths");
        for path in paths {
            assert!(top().join(path).exists(), "{document} names {path}, which does not exist");
        }
    }
}

#[test]
fn no_file_is_named_for_nothing() {
    let mut folders = vec![top().join("services"), top().join("proto"), top().join("benches")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
            let empty_words = ["common", "utils", "util", "types", "manager", "helper", "model"];
            assert!(!empty_words.contains(&stem), "{} says nothing", path.display());
        }
    }
}

/// What the README tells clients is what the table in the code says.
#[test]
fn the_readme_names_every_problem_with_its_status() {
    let readme = std::fs::read_to_string(top().join("README.md")).expect("the README");
    let (_, table) = readme.split_once("## What a client is told").expect("the table");
    let rows = table.lines().skip_while(|line| !line.starts_with('|'));
    let rows: Vec<&str> = rows.take_while(|line| line.starts_with('|')).skip(2).collect();
    let mut told = BTreeMap::new();
    for row in rows {
        let answer = row.split('|').nth(1).expect("a cell");
        let names = answer.split('`').skip(1).step_by(2);
        let status = answer.split_whitespace().next().expect("a status");
        told.extend(names.map(|name| (name, (status, answer.contains("Retry-After")))));
    }
    for kind in ProblemKind::ALL {
        let between_nodes = *kind == ProblemKind::Internal;
        let by_status = kind.outcome() == Outcome::Invalid && *kind != ProblemKind::NoSuchRoute;
        let (status, retry) = (kind.status().to_string(), kind.retry_after_s().is_some());
        match told.remove(kind.name()) {
            Some(row) => assert_eq!(row, (status.as_str(), retry), "{}", kind.name()),
            None if by_status => assert!(table.contains(&status), "{status} of {}", kind.name()),
            None => assert!(between_nodes, "the README does not name {}", kind.name()),
        }
    }
    assert!(told.is_empty(), "the README names what is no problem: {told:?}");
}

/// A dependency that nobody names is compiled for nothing.
#[test]
fn every_dependency_is_used() {
    for krate in crates() {
        let text = std::fs::read_to_string(krate.join("Cargo.toml")).expect("a manifest");
        let manifest: toml::Table = text.parse().expect("a manifest");
        let mut files = Vec::new();
        let folders = ["src", "tests"].map(|part| krate.join(part));
        folders
            .iter()
            .filter(|folder| folder.is_dir())
            .for_each(|folder| files_in(folder, &mut files));
        files.extend(Some(krate.join("build.rs")).filter(|file| file.exists()));
        let texts = files.iter().map(|file| std::fs::read_to_string(file).expect("text"));
        let source: String = texts.collect();
        let tables = ["dependencies", "dev-dependencies", "build-dependencies"];
        let tables = tables.iter().filter_map(|table| manifest.get(*table)?.as_table());
        for name in tables.flat_map(|table| table.keys()) {
            let named = name.replace('-', "_");
            assert!(source.contains(&named), "{} does not use {name}", krate.display());
        }
    }
}
