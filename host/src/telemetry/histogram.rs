//! A histogram with fixed buckets and plain counters: whoever holds it has it to itself.

/// Upper bounds of durations in seconds.
pub(super) const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Upper bounds of sizes in bytes: 256 bytes to 1 GiB in steps of 4 and 16.
pub(super) const BYTES: [f64; 8] =
    [256.0, 1024.0, 4096.0, 16384.0, 65536.0, 1_048_576.0, 16_777_216.0, 1_073_741_824.0];

/// Counts of observations by bucket.
#[derive(Clone, Debug)]
pub(super) struct Histogram<const N: usize> {
    bounds: &'static [f64; N],
    /// Observations at most as large as the bound of the same index and larger than the one before.
    counts: [u64; N],
    /// Observations larger than every bound.
    above: u64,
    sum: f64,
}

impl<const N: usize> Histogram<N> {
    pub(super) fn new(bounds: &'static [f64; N]) -> Self {
        Self { bounds, counts: [0; N], above: 0, sum: 0.0 }
    }

    pub(super) fn observe(&mut self, value: f64) {
        self.sum += value;
        match self.bounds.iter().position(|bound| value <= *bound) {
            Some(index) => self.counts[index] += 1,
            None => self.above += 1,
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.above += other.above;
        self.sum += other.sum;
    }

    pub(super) fn count(&self) -> u64 {
        self.counts.iter().sum::<u64>() + self.above
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum
    }

    /// Upper bounds, each with the number of observations at most as large.
    pub(super) fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        self.bounds.iter().zip(self.counts).scan(0, |total, (bound, count)| {
            *total += count;
            Some((*bound, *total))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_equal_to_a_bound_is_in_its_bucket() {
        let mut histogram = Histogram::new(&BYTES);
        for value in [0.0, 256.0, 257.0, 2e9] {
            histogram.observe(value);
        }
        let cumulative: Vec<_> = histogram.cumulative().map(|(_, count)| count).collect();
        assert_eq!(cumulative, [2, 3, 3, 3, 3, 3, 3, 3]);
        assert_eq!(histogram.count(), 4);
    }

    #[test]
    fn merging_adds_up() {
        let mut one = Histogram::new(&SECONDS);
        let mut two = one.clone();
        one.observe(0.2);
        two.observe(0.2);
        two.observe(60.0);
        one.merge(&two);
        assert_eq!(one.count(), 3);
        assert!((one.sum() - 60.4).abs() < 1e-9);
    }
}
