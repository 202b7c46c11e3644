//! Numbers with names, and what is made of many of them.

use std::time::Duration;

/// One number that a workload found.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What it measures.
    pub what: &'static str,
    /// `us`, `ms`, `KiB`, `MiB`, `1/s`, `%`, `x` or nothing.
    pub unit: &'static str,
    /// The number.
    pub value: f64,
}

/// Makes a figure.
pub fn figure(what: &'static str, unit: &'static str, value: f64) -> Figure {
    Figure { what, unit, value }
}

/// The value at this part (0 to 1) of sorted values, by nearest rank; 0 where there are none.
pub fn percentile(sorted: &[f64], part: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * part.clamp(0.0, 1.0)).round() as usize).copied().unwrap_or(0.0)
}

/// Times as milliseconds, sorted.
pub fn sorted_ms(times: impl IntoIterator<Item = Duration>) -> Vec<f64> {
    let mut ms: Vec<f64> = times.into_iter().map(|time| time.as_secs_f64() * 1e3).collect();
    ms.sort_by(f64::total_cmp);
    ms
}

/// A number with about three digits that matter.
pub fn short(value: f64) -> String {
    let digits = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_percentile_is_a_value_with_so_many_below(
            mut values in prop::collection::vec(0.0..1e6_f64, 1..200),
            part in 0.0..=1.0_f64,
        ) {
            values.sort_by(f64::total_cmp);
            let found = percentile(&values, part);
            prop_assert!(values.contains(&found));
            let below = values.iter().filter(|value| **value < found).count() as f64;
            let up_to = values.iter().filter(|value| **value <= found).count() as f64;
            let rank = (values.len() - 1) as f64 * part;
            prop_assert!(below <= rank + 0.5 && rank < up_to + 0.5);
        }
    }

    #[test]
    fn percentiles_of_nothing_and_of_the_ends() {
        let of = [1.0, 2.0, 3.0];
        let found = [0.0, 0.5, 1.0, 7.0].map(|part| short(percentile(&of, part)));
        assert_eq!(found, ["1.00", "2.00", "3.00", "3.00"]);
        assert_eq!(short(percentile(&[], 0.5)), "0.00");
        let ms = sorted_ms([Duration::from_millis(5), Duration::from_micros(500)]);
        assert_eq!(ms.iter().copied().map(short).collect::<Vec<_>>(), ["0.50", "5.00"]);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([1.234, 12.34, 123.4].map(short), ["1.23", "12.3", "123"]);
    }
}
