//! Medians and spreads.

use serde::Serialize;

/// What the rounds showed of one quantity.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub(crate) fn of(values: &[f64]) -> Option<Self> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        Some(Self { median: median(&sorted)?, min, max })
    }
}

/// The middle one of values in order, or the mean of the two in the middle; `None` of nothing.
fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { f64::midpoint(sorted[middle - 1], upper) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[7.0]), Some(7.0));
        assert_eq!(median(&[1.0, 5.0, 9.0]), Some(5.0));
        assert_eq!(median(&[1.0, 3.0, 4.0, 100.0]), Some(3.5));
    }

    #[test]
    fn a_spread_has_its_ends() {
        assert_eq!(Spread::of(&[]), None);
        let expected = Spread { median: 2.0, min: 1.0, max: 30.0 };
        assert_eq!(Spread::of(&[2.0, 30.0, 1.0]), Some(expected));
    }
}
