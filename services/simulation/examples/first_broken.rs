//! Says with which seed, from 0 on, a promise is broken first, and which one; for versions of this program that
//! are known to be wrong (deploy/local/mutants).

use seckill_simulation::{Run, simulate};
use seckill_telemetry::say;

fn main() {
    let runs = std::env::args().nth(1).and_then(|runs| runs.parse().ok()).unwrap_or(2_000);
    std::panic::set_hook(Box::new(|_| {})); // what panics is broken too, and told below
    for seed in 0..runs {
        if let Err(failed) = simulate(Run::new(seed)) {
            let broken = failed.broken[0].replace('\n', " ");
            return say!("seed {seed}: {broken:.100}");
        }
    }
    say!("not found in {runs} runs");
}
