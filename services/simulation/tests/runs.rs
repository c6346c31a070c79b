//! Runs of the whole program, and that a seed says all about one.

use std::thread;

use seckill_simulation::{Run, Totals, shortest, simulate};

/// More with `seckill simulate`.
const RUNS: u64 = 2_000;

fn play(seeds: impl Iterator<Item = u64>) -> Totals {
    let mut totals = Totals::default();
    for seed in seeds {
        match simulate(Run::new(seed)) {
            Ok(of_run) => totals.add(&of_run),
            Err(_) => {
                let run = Run { trace: true, ..shortest(Run::new(seed)) };
                let failed = simulate(run).expect_err("it failed a moment ago");
                failed.trace.iter().for_each(|line| eprintln!("{line}"));
                panic!("seed {seed}: {:#?}", failed.broken);
            }
        }
    }
    totals
}

#[test]
fn every_promise_is_kept_in_every_run() {
    let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
    let mut totals = Totals::default();
    thread::scope(|scope| {
        let every = |first| (first..RUNS).step_by(usize::try_from(threads).unwrap_or(1));
        let playing = |first| scope.spawn(move || play(every(first)));
        let playing: Vec<_> = (0..threads).map(playing).collect();
        playing.into_iter().for_each(|of| totals.add(&of.join().expect("every promise is kept")));
    });
    println!("{RUNS} runs: {totals:?}");
    assert!(totals.coupons > 10 * RUNS && totals.takeovers > 5 * RUNS, "much happens");
    assert!(totals.void > RUNS / 4, "owners are deposed in the middle of their work");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..10 {
        let run = Run { trace: true, ..Run::new(seed) };
        let (one, other) = (simulate(run).expect("a run"), simulate(run).expect("a run"));
        let mut lines = one.trace.iter().zip(&other.trace).enumerate();
        let differ = lines.find(|(_, (one, other))| one != other);
        assert_eq!(differ, None, "seed {seed}");
        assert!(one.trace.len() > 300 && one == other);
    }
}
