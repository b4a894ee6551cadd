//! Medians, and how sure one can be of them.

/// A median with the interval that holds the true one in 95 of 100 runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Median {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// The median of some values, and the interval from their order alone (that of the sign test), so that
/// nothing is assumed of how they are spread.
///
/// # Panics
///
/// If there are fewer than six values, which give no such interval.
pub fn median(values: &[f64]) -> Median {
    assert!(values.len() >= 6, "too few rounds for an interval");
    let sorted = sorted(values);
    let rank = rank(sorted.len());
    Median {
        value: middle(&sorted),
        low: sorted[rank],
        high: sorted[sorted.len() - 1 - rank],
    }
}

/// The value in the middle.
pub fn middle(values: &[f64]) -> f64 {
    let sorted = sorted(values);
    let half = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[half],
        _ => (sorted[half - 1] + sorted[half]) / 2.0,
    }
}

/// The value that `share` of the values do not exceed.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let sorted = sorted(values);
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted[rank.clamp(1, sorted.len()) - 1]
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// How many values lie outside the interval at either end: as many as a fair coin, thrown once for each
/// value, leaves a chance of no more than 2.5 % for.
fn rank(count: usize) -> usize {
    let mut probability = 0.5f64.powi(i32::try_from(count).unwrap_or(i32::MAX));
    let mut below = 0.0;
    for rank in 0..count {
        below += probability;
        if below > 0.025 {
            return rank.saturating_sub(1);
        }
        probability *= (count - rank) as f64 / (rank + 1) as f64;
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ranks_are_those_of_the_sign_test() {
        // From the tables: the interval's ends are the values with these numbers, counted from 1.
        for (count, lower) in [(6, 1), (10, 2), (20, 6), (30, 10), (41, 14), (100, 40)] {
            assert_eq!(rank(count) + 1, lower, "{count}");
        }
    }

    #[test]
    fn a_median_lies_in_its_interval() {
        let values: Vec<f64> = (1..=30).rev().map(f64::from).collect();
        let median = median(&values);
        assert_eq!(
            median,
            Median {
                value: 15.5,
                low: 10.0,
                high: 21.0
            }
        );
    }

    #[test]
    fn quantiles_are_values_that_were_seen() {
        let values: Vec<f64> = (1..=1000).map(f64::from).collect();
        assert_eq!(quantile(&values, 0.999), 999.0);
        assert_eq!(quantile(&values, 1.0), 1000.0);
        assert_eq!(quantile(&values[..1], 0.999), 1.0);
        assert_eq!(middle(&values[..3]), 2.0);
    }
}
