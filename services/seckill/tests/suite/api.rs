//! The API is what its description says.

use std::path::Path;

use serde_json::Value;

use crate::system::{Engines, System};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");

async fn description(sale: &System) -> Value {
    let answer = sale.get("/openapi.json").await;
    assert_eq!(answer.status, 200);
    answer.json
}

/// What changes it is meant: clients are made from the file.
#[tokio::test]
async fn the_file_is_what_a_process_serves() {
    let sale = System::open(Engines::Embedded).await;
    let served = description(&sale).await;
    let file = std::fs::read_to_string(FILE).expect("docs/openapi.json");
    if serde_json::from_str::<Value>(&file).expect("JSON") != served {
        let new = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openapi.json");
        let text = serde_json::to_string_pretty(&served).expect("JSON") + "\n";
        std::fs::write(&new, text).expect("a file");
        panic!("the API has changed: copy {} to docs/openapi.json", new.display());
    }
}

/// Every operation has what a reader and a program need, and every reference is to something.
#[tokio::test]
async fn every_operation_is_described() {
    let sale = System::open(Engines::Embedded).await;
    let api = description(&sale).await;
    let mut names = std::collections::BTreeSet::new();
    for (path, methods) in api["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let what = format!("{method} {path}");
            let name = operation["operationId"].as_str().expect(&what);
            assert!(names.insert(name.to_owned()), "{what}: another operation is called {name}");
            assert!(operation["summary"].as_str().is_some_and(|text| !text.is_empty()), "{what}");
            let tags = operation["tags"].as_array().expect(&what);
            let known = api["tags"].as_array().expect("tags");
            assert!(known.iter().any(|tag| tags == &vec![tag["name"].clone()]), "{what}: {tags:?}");
        }
    }
    for reference in references(&api) {
        let pointer = reference.trim_start_matches('#');
        assert!(api.pointer(pointer).is_some(), "{reference} is not there");
    }
}

fn references(value: &Value) -> Vec<&str> {
    match value {
        Value::Object(fields) => {
            let own = fields.get("$ref").and_then(Value::as_str);
            own.into_iter().chain(fields.values().flat_map(references)).collect()
        }
        Value::Array(items) => items.iter().flat_map(references).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

/// Thousands of requests made from the description, good and bad ones: no answer is one that it does not
/// name, nothing good is refused, and nothing bad is taken.
#[cfg(feature = "tools")]
#[tokio::test]
async fn schemathesis_finds_nothing() {
    let sale = System::open(Engines::Embedded).await;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/local/api");
    // It keeps what it has found beside its settings.
    let kept = tempfile::tempdir().expect("a directory");
    for file in ["schemathesis.toml", "hooks.py"] {
        std::fs::copy(folder.join(file), kept.path().join(file)).expect(file);
    }
    let output = std::process::Command::new(crate::system::tool("venv/bin/schemathesis"))
        .current_dir(kept.path())
        .args(["--no-color", "run", "--max-examples", "25", "--seed", "20261126"])
        .arg(sale.url() + "/openapi.json")
        .output()
        .expect("schemathesis runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(told.contains(" passed"), "{told}");
}
