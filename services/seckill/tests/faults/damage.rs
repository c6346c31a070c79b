//! What a disk may do to a system that is stopped: random damage to log, snapshots and views.
//!
//! Whatever was damaged, nobody is told of a coupon that somebody else has, nothing aborts, and the
//! damage is harmless, mended from the log, or refused with its file and what to do next.
//! `SECKILL_DAMAGES` sets how many there are, `SECKILL_DAMAGES_SEED` where they begin.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use crate::alone;
use crate::system::{Engines, System, run, text};
use futures::StreamExt;
use futures::stream;
use rand::rngs::SmallRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

/// Enough for a snapshot, and some records after it.
const CUSTOMERS: u32 = 52_000;
const COUPONS: u32 = 100_000;
const DAMAGES: u64 = 24;
const AT_ONCE: usize = 64;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
const ASKED_AGAIN: usize = 5;

/// What became of one damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Harmless,
    Mended,
    Refused,
}

/// A stopped system, and who was told of which coupon.
struct Base {
    directory: tempfile::TempDir,
    told: HashMap<String, u64>,
}

fn number(variable: &str, default: u64) -> u64 {
    let set = std::env::var(variable).ok();
    set.map_or(default, |set| set.parse().unwrap_or_else(|_| panic!("{variable} is no number")))
}

async fn base() -> Base {
    let mut system = System::open(Engines::Embedded).await;
    system.offer("sale", COUPONS).await;
    let names: Vec<String> = (0..CUSTOMERS).map(|number| format!("customer {number}")).collect();
    let told: HashMap<String, u64> = stream::iter(names)
        .map(async |name| {
            let answer = system.grab("sale", &name).await;
            assert_eq!(answer.status, 201, "{answer:?}");
            (name, answer.json["serial"].as_u64().expect("a serial"))
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let tables = system.data().join("log/tables");
    crate::system::eventually("there is a snapshot", ANSWER_TIMEOUT, async || {
        files(&tables).iter().any(|path| path.ends_with("snapshot.value"))
    })
    .await;
    system.kill(); // as a power cut would leave it, but for what was not synced
    let directory = tempfile::tempdir().expect("a directory");
    copy(&system.data(), directory.path());
    Base { directory, told }
}

fn files(directory: &Path) -> Vec<PathBuf> {
    let (mut files, mut folders) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

fn copy(from: &Path, to: &Path) {
    for path in files(from) {
        let target = to.join(path.strip_prefix(from).expect("a file in it"));
        std::fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        std::fs::copy(&path, target).expect("a copy");
    }
}

/// Damages one file in one way; what, in words.
fn damage(data: &Path, random: &mut SmallRng) -> String {
    // Every part of the system has the same chance, however many files it has.
    let part = *["log/partition", "log/", "views/"].choose(random).expect("a part");
    let of_part = |path: &&PathBuf| {
        let name = path.strip_prefix(data).expect("a file in it").to_string_lossy().into_owned();
        name.starts_with(part)
    };
    let all = files(data);
    let mut candidates: Vec<&PathBuf> = all.iter().filter(of_part).collect();
    candidates.retain(|path| std::fs::metadata(path).is_ok_and(|file| file.len() > 0));
    let path = *candidates.choose(random).expect("a file");
    let mut bytes = std::fs::read(path).expect("bytes");
    // Room that was made ahead is no part of what was written.
    let written = bytes.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    let at = random.random_range(0..written);
    let how = match random.random_range(0..4) {
        0 => {
            bytes[at] ^= 1 << random.random_range(0..8);
            format!("bit flipped at {at} of {written}")
        }
        1 => {
            bytes.truncate(at);
            format!("cut at {at} of {written}")
        }
        2 => {
            let page = at / 4_096 * 4_096;
            let end = bytes.len().min(page + 4_096);
            bytes[page..end].fill(0);
            format!("page zeroed at {page} of {written}")
        }
        _ => {
            std::fs::remove_file(path).expect("removed");
            return format!("{}: deleted", path.display());
        }
    };
    std::fs::write(path, bytes).expect("written");
    format!("{}: {how}", path.display())
}

/// Starts the system and waits until it is ready, has ended, or says that it cannot work.
async fn start(system: &mut System, what: &str) -> Result<(), String> {
    system.spawn();
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    loop {
        if let Some(status) = ended(system.process()) {
            let said = system.last_lines();
            assert_eq!(status.code(), Some(1), "{what}: ended with {status}:\n{said}");
            return Err(said);
        }
        let readyz = system.request(reqwest::Method::GET, "/readyz", None).await;
        match readyz {
            Ok(answer) if answer.status == 200 => return Ok(()),
            Ok(answer) if says_what_to_do(&answer.text) => return Err(answer.text),
            Ok(_) | Err(_) => {}
        }
        assert!(Instant::now() < deadline, "{what}: neither ready nor refused: {readyz:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn ended(process: &mut Child) -> Option<std::process::ExitStatus> {
    process.try_wait().expect("a status")
}

fn says_what_to_do(text: &str) -> bool {
    ["seckill repair", "move the directory away"].iter().any(|step| text.contains(step))
}

/// Asks as customers do. A coupon that was told stays, and a new one is nobody else's.
async fn ask(system: &System, base: &Base, random: &mut SmallRng, what: &str) {
    let names: Vec<&String> = base.told.keys().collect();
    for name in names.sample(random, ASKED_AGAIN) {
        let answer = system.grab("sale", name).await;
        let same = answer.json["serial"].as_u64() == base.told.get(*name).copied();
        let right = (answer.status == 200 && same) || [503, 504].contains(&answer.status);
        assert!(right, "{what}: {name} was told {}, now {answer:?}", base.told[*name]);
    }
    for new in 0..ASKED_AGAIN {
        let answer = system.grab("sale", &format!("new {new}")).await;
        let serial = answer.json["serial"].as_u64().unwrap_or_default();
        let right = (answer.status == 201 && serial > u64::from(CUSTOMERS))
            || [503, 504].contains(&answer.status);
        assert!(right, "{what}: a new customer is told {answer:?}");
    }
}

async fn outcome(base: &Base, data: &Path, random: &mut SmallRng, what: &str) -> Outcome {
    let mut system = System::on(Engines::Embedded, data);
    let started = start(&mut system, what).await;
    let answers = ended(system.process()).is_none();
    if answers {
        ask(&system, base, random, what).await;
    }
    if let Err(said) = started {
        assert!(says_what_to_do(&said) && said.contains("/"), "{what}: no next step in: {said}");
        return Outcome::Refused;
    }
    let mended = system.log().contains("made anew") || system.log().contains("made again");
    let mended = mended || system.log().contains("passed over") || system.log().contains(" is cut");
    system.stop();
    let verified = run("verify", &system.flags());
    assert!(verified.status.success(), "{what}: {}", text(&verified));
    if mended { Outcome::Mended } else { Outcome::Harmless }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_damage_never_gives_a_coupon_twice() {
    let _alone = alone().await;
    let base = base().await;
    let (damages, seed) = (number("SECKILL_DAMAGES", DAMAGES), number("SECKILL_DAMAGES_SEED", 1));
    let mut outcomes: BTreeMap<(String, Outcome), u32> = BTreeMap::new();
    for seed in seed..seed + damages {
        let mut random = SmallRng::seed_from_u64(seed);
        let data = tempfile::tempdir().expect("a directory");
        copy(base.directory.path(), data.path());
        let what = format!("seed {seed}: {}", damage(data.path(), &mut random));
        let outcome = outcome(&base, data.path(), &mut random, &what).await;
        println!("{outcome:?} {what}");
        let part = if what.contains("/views/") { "views" } else { "log" };
        let part = if what.contains("/tables/") { "tables" } else { part };
        *outcomes.entry((part.to_owned(), outcome)).or_default() += 1;
    }
    println!("{damages} damages: {outcomes:?}");
}
