//! What all tables need to run simulations.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub(crate) const MILLISECOND: Duration = Duration::from_millis(1);

/// Runs one simulation in a runtime of its own, in paused time, with a seed for all that is drawn outside of the simulator.
pub(crate) fn simulate<F: Future>(seed: u64, simulation: F) -> F::Output {
    fastrand::seed(seed);
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be built")
        .block_on(simulation)
}

/// Does all jobs, on all processors. The results come in the order of the jobs and do not depend on the number of processors.
pub(crate) fn parallel<J: Sync, R: Send>(jobs: &[J], run: impl Fn(&J) -> R + Sync) -> Vec<R> {
    let results = Mutex::new(Vec::from_iter(jobs.iter().map(|_| None)));
    let next = AtomicUsize::new(0);
    let work = || loop {
        let index = next.fetch_add(1, Ordering::Relaxed);
        let Some(job) = jobs.get(index) else { break };
        let result = run(job);
        results.lock().expect("nobody panics")[index] = Some(result);
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let results = results.into_inner().expect("nobody panics");
    results
        .into_iter()
        .map(|result| result.expect("every job was done"))
        .collect()
}

/// 500 ms, then twice as long each time up to 8 s, all with a jitter of half of it to either side.
pub(crate) fn backoff(attempt: u32) -> Duration {
    const LONGEST: Duration = Duration::from_secs(8);
    let whole = 500 * MILLISECOND * 2_u32.saturating_pow(attempt.min(8));
    whole.min(LONGEST).mul_f64(0.5 + fastrand::f64())
}
