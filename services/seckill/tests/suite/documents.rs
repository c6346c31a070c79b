//! What the README and the documents tell, tried.

use std::collections::BTreeSet;
use std::process::{Command, Output};

use crate::rebuild::commands;
use crate::source::top;
use crate::system::{Engines, System, run, text};

fn document(name: &str) -> String {
    std::fs::read_to_string(top().join(name)).expect(name)
}

/// Runs what a document has a shell do, each block that asks a process, against this one.
fn ask_as_told(sale: &System, name: &str) -> Output {
    let text = document(name);
    let blocks = text.split("```sh").skip(1).filter_map(|rest| rest.split("```").next());
    let script: String = blocks.filter(|block| block.contains("curl ")).collect();
    assert!(script.contains("localhost:8080"), "{name} asks somebody");
    let here = sale.url().trim_start_matches("http://").to_owned();
    let script = script.replace("localhost:8080", &here);
    let output = Command::new("bash").args(["-euo", "pipefail", "-c", &script]).output();
    output.expect("bash and curl")
}

#[tokio::test]
async fn the_first_sale_of_the_readme_is_as_it_says() {
    let sale = System::open(Engines::Embedded).await;
    let output = ask_as_told(&sale, "README.md");
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.starts_with("{\"id\":\"spring\",\"position\":\"3:2\"}"), "{said}");
    let granted = "{\"coupon_id\":\"spring-1\",\"promotion_id\":\"spring\",\"serial\":1,\"customer_id\":\"alice\"";
    assert_eq!(said.matches(granted).count(), 2, "{said}");
}

#[tokio::test]
async fn the_original_is_asked_as_told() {
    let sale = System::open(Engines::Embedded).await;
    let output = ask_as_told(&sale, "docs/original.md");
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(said.starts_with("Request accepted"), "{said}");
    assert!(said.contains("\"numberOfCoupons\":5"), "{said}");
}

/// With fewer customers, in less time.
#[tokio::test]
async fn the_readme_loads_a_system() {
    let sale = System::open(Engines::Embedded).await;
    let loads = commands("README.md").into_iter().filter(|command| command[0] == "load");
    let loads: Vec<Vec<String>> = loads.collect();
    assert_eq!(loads.len(), 3, "{loads:?}");
    for mut flags in loads {
        flags.remove(0);
        for word in &mut flags {
            *word = word.replace("5000", "300").replace("30s", "2s");
        }
        let less: &[&str] = match flags[0].as_str() {
            "--clients" => &["--customers", "2000", "--coupons", "500"],
            "--model" => &["--duration", "3s"],
            _ => &[],
        };
        flags.extend(less.iter().map(|flag| (*flag).to_owned()));
        flags.extend(["--target".to_owned(), sale.url()]);
        let told = flags.join(" ");
        let output =
            tokio::task::spawn_blocking(move || run("load", &flags)).await.expect("it ends");
        assert!(output.status.success(), "{told}: {}", text(&output));
    }
}

/// With fewer runs, and to the same end.
#[test]
fn the_proof_is_run_as_told() {
    let of = |verb: &str| -> Vec<_> {
        commands("docs/proof.md").into_iter().filter(|command| command[0] == verb).collect()
    };
    let (drills, simulations) = (of("drill"), of("simulate"));
    assert_eq!((drills.len(), simulations.len()), (3, 2), "{drills:?}, {simulations:?}");
    for mut flags in simulations {
        let verb = flags.remove(0);
        flags.iter_mut().for_each(|word| *word = word.replace("2000", "40"));
        let output = run(&verb, &flags);
        let said = text(&output);
        assert!(output.status.success() && !said.contains("BROKEN"), "{flags:?}: {said}");
        assert!(said.lines().count() > 5, "{flags:?}: {said}");
    }
    let proof = std::fs::read_to_string(top().join("docs/proof.md")).expect("a document");
    for promise in seckill_checker::PROMISES {
        assert!(proof.contains(&format!("| {promise} |")), "{promise}");
    }
    // Drills are run among the tests under faults; here they are only understood.
    for mut flags in drills {
        flags.extend(["--only", "what nobody does"].map(str::to_owned));
        let said = text(&run("drill", &flags[1..]));
        assert!(said.contains("no fault is described so"), "{flags:?}: {said}");
    }
}

/// A history is written beside a running system, and judged once that was stopped; one that is not whole is told apart.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_history_is_judged_as_told() {
    let mut sale = System::open(Engines::Embedded).await;
    let told = sale.history().display().to_string();
    let as_told = |verb: &str, more: &[String]| {
        let mut commands = commands("docs/proof.md").into_iter();
        let mut flags = commands.find(|command| command[0] == verb).expect("a command");
        flags.iter_mut().for_each(|word| *word = word.replace("told.jsonl", &told));
        let output = tokio::task::block_in_place(|| run(verb, &[&flags[1..], more].concat()));
        (output.status.success(), text(&output))
    };
    let less = ["--target", &sale.url(), "--customers", "300", "--coupons", "100"];
    let (loaded, said) = as_told("load", &less.map(str::to_owned));
    assert!(loaded, "{said}");
    let (verified, said) = as_told("verify", &sale.flags());
    assert!(!verified && said.contains("in use"), "{said}");
    sale.stop();
    let (verified, said) = as_told("verify", &sale.flags());
    assert!(verified && said.contains("300  requests of histories"), "{said}");
    let history = std::fs::read_to_string(&told).expect("a history");
    let lacks: String = history.lines().skip(1).map(|line| format!("{line}\n")).collect();
    for (changed, word) in [
        (lacks, "every coupon of the sales in these histories was asked for: coupon "),
        (history[..history.len() - 9].to_owned(), "is cut off"),
        (String::new(), "no request is in it"),
        (history.replace("\"serial\":7,", "\"serial\":8,"), "in the log coupon 8 is of"),
    ] {
        std::fs::write(&told, changed).expect("a history");
        let (verified, said) = as_told("verify", &sale.flags());
        assert!(!verified && said.contains(word), "{word}: {said}");
    }
}

/// What is broken on purpose is still there to be broken.
#[cfg(feature = "tools")]
#[test]
fn every_mutant_has_its_place() {
    let mut mutants = Command::new(top().join("deploy/local/mutants"));
    let output = mutants.arg("--check").output().expect("python3");
    assert!(output.status.success(), "{}", text(&output));
}

/// Every setting of any role has its row, and no row is of a setting that there is not.
#[test]
fn the_settings_are_those_of_the_help() {
    let flags_in = |text: &str, before: &str| -> BTreeSet<String> {
        let flags = text.split(before).skip(1);
        let name = |rest: &str| {
            rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect::<String>()
        };
        flags.map(name).collect()
    };
    let documented = flags_in(&document("docs/settings.md"), "`--");
    let mut known = BTreeSet::new();
    for role in ["up", "command", "admin", "projector", "query"] {
        let help = text(&run(role, &["--help".to_owned()]));
        known.append(&mut flags_in(&help, "      --"));
    }
    known.retain(|flag| !flag.is_empty());
    assert!(known.len() > 15, "{known:?}");
    assert_eq!(documented, known);
}

/// Every link from one document to another, or to a file, leads somewhere.
#[test]
fn links_lead_somewhere() {
    let mut documents = vec!["README.md".to_owned(), "deploy/README.md".to_owned()];
    for entry in std::fs::read_dir(top().join("docs")).expect("documents") {
        let name = entry.expect("a file").file_name().into_string().expect("text");
        documents.extend(name.ends_with(".md").then(|| format!("docs/{name}")));
    }
    assert!(documents.len() > 10, "{documents:?}");
    for name in documents {
        let text = document(&name);
        let folder = top().join(&name).parent().expect("a folder").to_owned();
        let links = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for link in links.filter(|link| !link.starts_with("http")) {
            assert!(folder.join(link).exists(), "{name} leads to {link}");
        }
    }
}

/// Word for word, but for where the engines of the test are.
#[cfg(feature = "real-engines")]
#[tokio::test]
async fn the_first_sale_on_kafka_is_as_told() {
    use crate::system::role::Role;

    let sale = System::open(Engines::real()).await;
    let (mut verbs, mut roles) = (Vec::new(), Vec::new());
    for mut words in commands("docs/kafka.md") {
        let verb = words.remove(0);
        let first = words.iter().position(|word| word == "--kafka").unwrap_or(words.len());
        let (own, engines) = words.split_at(first);
        let mut flags = own.to_vec();
        flags.extend(engines.iter().skip(4).cloned()); // what follows --kafka and --cql
        verbs.push(verb.clone());
        match verb.as_str() {
            "up" => continue, // it runs
            "command" | "projector" => {
                let role =
                    Role::start(if verb == "command" { "command" } else { "projector" }, &sale);
                role.ready().await;
                roles.push(role);
                continue;
            }
            "load" | "rebuild" => flags.extend(["--target".to_owned(), sale.url()]),
            "replay" => {
                flags.clone_from(&engines[2..].to_vec());
                let all = sale.flags();
                let cql = all.iter().position(|flag| flag == "--cql").expect("--cql");
                flags.extend(all[..cql].iter().cloned());
            }
            _ => flags.extend(sale.flags()),
        }
        let told = format!("{verb} {}", flags.join(" "));
        let output =
            tokio::task::spawn_blocking(move || run(&verb, &flags)).await.expect("it ends");
        assert!(output.status.success(), "{told}: {}", text(&output));
    }
    let all =
        ["up", "load", "verify", "replay", "command", "projector", "rebuild", "rebuild", "rebuild"];
    assert_eq!(verbs, all);
    roles.into_iter().for_each(Role::stop);
}
