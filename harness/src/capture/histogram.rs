//! A histogram of bounded size for spans of time.

/// log2 of the number of buckets in which each power of two is divided.
const SUB_BITS: u32 = 9;

/// Buckets of one power of two.
const SUB: usize = 1 << SUB_BITS;

/// How many values there were, and where they lie: log-linear, in at most 230 KB.
///
/// [`Histogram::min`] and [`Histogram::max`] are exact. A quantile is exact for values below 1,024 and where all values are equal; else
/// it's off by at most 1/1,024 of itself (the middle of a bucket whose width is at most 1/512 of its values).
/// The order of the values makes no difference.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    count: u64,
    min: u64,
    max: u64,
    /// By power of two; empty ones have no buckets.
    octaves: Vec<Option<Box<[u64; SUB]>>>,
}

/// Octave and bucket of a value. Octave 0 has the values below 512 one by one; octave n has those from 2^(n + 8) on.
fn place(value: u64) -> (usize, usize) {
    let Some(exponent) = value.checked_ilog2().filter(|&exponent| exponent >= SUB_BITS) else {
        return (0, value as usize);
    };
    let shift = exponent - SUB_BITS;
    (shift as usize + 1, (value >> shift) as usize % SUB)
}

/// The value in the middle of a bucket.
fn middle(octave: usize, bucket: usize) -> u64 {
    let Some(shift) = octave.checked_sub(1) else { return bucket as u64 };
    let low = ((SUB + bucket) as u64) << shift;
    low + ((1_u64 << shift) - 1) / 2
}

impl Histogram {
    /// Counts a value.
    pub fn add(&mut self, value: u64) {
        self.min = if self.count == 0 { value } else { self.min.min(value) };
        self.max = self.max.max(value);
        self.count += 1;
        let (octave, bucket) = place(value);
        if self.octaves.len() <= octave {
            self.octaves.resize(octave + 1, None);
        }
        if let Some(place) = self.octaves.get_mut(octave)
            && let Some(count) = place.get_or_insert_with(|| Box::new([0; SUB])).get_mut(bucket)
        {
            *count += 1;
        }
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The smallest value. `None` if there was none.
    pub fn min(&self) -> Option<u64> {
        (self.count > 0).then_some(self.min)
    }

    /// The largest value. `None` if there was none.
    pub fn max(&self) -> Option<u64> {
        (self.count > 0).then_some(self.max)
    }

    /// The smallest value that at least `percent` of 100 values don't exceed (nearest rank). `None` if there was none.
    pub fn percentile(&self, percent: u8) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let rank = (u128::from(self.count) * u128::from(percent.min(100))).div_ceil(100).max(1);
        let mut seen = 0_u128;
        for (octave, buckets) in self.octaves.iter().enumerate() {
            for (bucket, &count) in buckets.iter().flat_map(|buckets| buckets.iter().enumerate()) {
                seen += u128::from(count);
                if seen >= rank {
                    return Some(middle(octave, bucket).clamp(self.min, self.max));
                }
            }
        }
        Some(self.max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn small_values_are_exact() {
        let mut histogram = Histogram::default();
        assert_eq!((histogram.min(), histogram.percentile(50), histogram.max()), (None, None, None));
        (0..1000).rev().for_each(|value| histogram.add(value));
        assert_eq!((histogram.min(), histogram.max(), histogram.count()), (Some(0), Some(999), 1000));
        assert_eq!((histogram.percentile(50), histogram.percentile(99)), (Some(499), Some(989)));
        assert_eq!((histogram.percentile(0), histogram.percentile(100)), (Some(0), Some(999)));
    }

    #[test]
    fn equal_values_are_exact_and_memory_is_bounded() {
        let mut histogram = Histogram::default();
        (0..5).for_each(|_| histogram.add(123_456_789));
        assert_eq!(histogram.percentile(50), Some(123_456_789));
        (0..64).for_each(|bit| histogram.add(1 << bit));
        histogram.add(u64::MAX);
        assert_eq!(histogram.octaves.len(), 56);
        assert!(histogram.octaves.len() * SUB * 8 <= 230_000);
        assert_eq!(histogram.max(), Some(u64::MAX));
    }

    proptest! {
        #[test]
        fn near_the_sorted_list(mut values in prop::collection::vec((any::<u64>(), 0..64_u32).prop_map(|(v, s)| v >> s), 1..200)) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|&value| histogram.add(value));
            values.sort_unstable();
            for percent in [1_u8, 50, 90, 99, 100] {
                let rank = (values.len() * usize::from(percent)).div_ceil(100).max(1);
                let exact = values[rank - 1];
                let found = histogram.percentile(percent).unwrap();
                prop_assert!(found.abs_diff(exact) <= exact / 1024, "{found} for {exact}");
            }
        }
    }
}
