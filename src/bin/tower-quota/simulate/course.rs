//! How many requests were admitted and refused in each window, over time.

use std::time::Duration;

/// What a picture shows of one limit, step by step.
pub(super) struct Course {
    /// What the limit allows in one window, for all who have it.
    pub(super) quota: u64,
    pub(super) length: Duration,
    /// The most requests admitted in any window that ends in the step.
    pub(super) admitted: Vec<u64>,
    /// Refusals in the window at the end of the step.
    pub(super) refused: Vec<u64>,
}

impl Course {
    /// Moments are in order.
    pub(super) fn new(
        (quota, window): (u64, Duration),
        length: Duration,
        steps: usize,
        admitted: &[Duration],
        refused: &[Duration],
    ) -> Self {
        let counts = |moments: &[Duration], most: bool| {
            let mut counts = vec![0; steps];
            for (step, count) in counts.iter_mut().enumerate() {
                let begins = length.mul_f64(step as f64 / steps as f64);
                let ends = length.mul_f64((step + 1) as f64 / steps as f64);
                *count = in_window(moments, ends, window);
                if most {
                    let from = moments.partition_point(|&at| at <= begins);
                    let to = moments.partition_point(|&at| at <= ends);
                    let windows = moments[from..to].iter();
                    let fullest = windows.map(|&at| in_window(moments, at, window)).max();
                    *count = (*count).max(fullest.unwrap_or(0));
                }
            }
            counts
        };
        Self {
            quota,
            length,
            admitted: counts(admitted, true),
            refused: counts(refused, false),
        }
    }

    /// The same in fewer steps, each the most of those that it stands for.
    pub(super) fn narrowed(values: &[u64], steps: usize) -> Vec<u64> {
        let part = |nth: usize| nth * values.len() / steps;
        let most = |nth| values[part(nth)..part(nth + 1)].iter().copied().max();
        (0..steps).map(|nth| most(nth).unwrap_or(0)).collect()
    }
}

/// How many lie in the window that ends at a moment, that moment included and its beginning not.
fn in_window(moments: &[Duration], ends: Duration, window: Duration) -> u64 {
    let to = moments.partition_point(|&at| at <= ends);
    let from = match ends.checked_sub(window) {
        Some(begins) => moments.partition_point(|&at| at <= begins),
        None => 0,
    };
    (to - from) as u64
}

/// One row of blocks: each value against `most`, in eighths. What is more than nothing is seen.
pub(super) fn bars(values: &[u64], most: u64) -> String {
    const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let block = |&value: &u64| match value {
        0 => ' ',
        _ => BLOCKS[(value * 8).div_ceil(most.max(1)).clamp(1, 8) as usize],
    };
    values.iter().map(block).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_window_of_each_step_is_seen() {
        let seconds = |at: &[u64]| Vec::from_iter(at.iter().map(|&at| Duration::from_secs(at)));
        let window = Duration::from_secs(10);
        let admitted = seconds(&[1, 1, 1, 11, 39]);
        let course = Course::new((3, window), 4 * window, 4, &admitted, &seconds(&[2]));
        assert_eq!(course.admitted, [3, 1, 0, 1]);
        assert_eq!(course.refused, [1, 0, 0, 0]);
        assert_eq!(Course::narrowed(&course.admitted, 2), [3, 1]);
        assert_eq!(bars(&course.admitted, 3), "█▃ ▃");
    }
}
