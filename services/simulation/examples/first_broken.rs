//! Says with which seed, from 0 on, a promise is broken first, and which one; for versions of this program that
//! are known to be wrong (deploy/local/mutants).

use seckill_simulation::{Run, simulate};

fn main() {
    let runs = std::env::args().nth(1).and_then(|runs| runs.parse().ok()).unwrap_or(2_000);
    std::panic::set_hook(Box::new(|_| {})); // what panics is broken too, and told below
    for seed in 0..runs {
        if let Err(failed) = simulate(Run::new(seed)) {
            return println!("seed {seed}: {:.100}", failed.broken[0].replace('\n', " "));
        }
    }
    println!("not found in {runs} runs");
}
