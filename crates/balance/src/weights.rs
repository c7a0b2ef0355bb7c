//! Shares, served exactly over short runs instead of by a coin per request.

use std::sync::{
    OnceLock,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use crate::Rng;

/// Up to this sum of weights (after division by what they have in common) the
/// order of a whole round is kept; 2 bytes each.
const ROUND: u64 = 1_024;

/// Weights of choices.
///
/// The order is the one of smooth weighted round robin, written down once, so
/// that a choice is one step of a [`Turn`] that all workers share.
#[derive(Debug)]
pub struct Weights {
    order: Order,
}

/// Whose turn it is, from a random start.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Turn {
    start: OnceLock<usize>,
    taken: AtomicUsize,
}

impl Turn {
    /// The next number, one more than the one before.
    pub(crate) fn next(&self, rng: &mut Rng) -> usize {
        let start = *self.start.get_or_init(|| rng.next_u64() as usize);
        start.wrapping_add(self.taken.fetch_add(1, Relaxed))
    }
}

#[derive(Debug)]
enum Order {
    Only(usize),
    Round(Box<[u16]>),
    /// Sums of the weights up to each choice, for rounds too long to write down.
    Sums(Box<[u64]>),
    Nothing,
}

impl Weights {
    /// Choices by `weights`; a single choice is always taken, whatever its weight.
    pub fn new(weights: &[u32]) -> Self {
        Self { order: order(weights) }
    }

    /// The number of the next choice; none when there are several and all weigh nothing.
    pub fn pick(&self, turn: &Turn, rng: &mut Rng) -> Option<usize> {
        match &self.order {
            Order::Only(choice) => Some(*choice),
            Order::Nothing => None,
            Order::Round(round) => {
                round.get(turn.next(rng) % round.len()).map(|choice| usize::from(*choice))
            }
            Order::Sums(sums) => {
                // Steps of the golden ratio spread evenly over the whole range.
                let at = (turn.next(rng) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                let sum = sums.last().copied().unwrap_or_default();
                let point = ((u128::from(at) * u128::from(sum)) >> 64) as u64;
                Some(sums.partition_point(|sum| *sum <= point))
            }
        }
    }
}

fn order(weights: &[u32]) -> Order {
    let mut heavy = weights.iter().enumerate().filter(|(_, weight)| **weight > 0);
    match (weights.len(), heavy.next(), heavy.next()) {
        (0, _, _) | (2.., None, _) => return Order::Nothing,
        (1, _, _) => return Order::Only(0),
        (_, Some((only, _)), None) => return Order::Only(only),
        _ => {}
    }
    let divisor = weights.iter().fold(0, |divisor, weight| common(divisor, *weight)).max(1);
    let small: Vec<u64> = weights.iter().map(|weight| u64::from(weight / divisor)).collect();
    match small.iter().sum::<u64>() {
        sum if sum <= ROUND => Order::Round(round(&small, sum)),
        _ => Order::Sums(
            small
                .iter()
                .scan(0, |sum, weight| {
                    *sum += weight;
                    Some(*sum)
                })
                .collect(),
        ),
    }
}

/// The greatest common divisor.
fn common(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { common(b, a % b) }
}

/// Smooth weighted round robin: each choice gains its weight, the one with the most
/// is taken and pays the sum.
fn round(weights: &[u64], sum: u64) -> Box<[u16]> {
    let mut credit = vec![0_i64; weights.len()];
    (0..sum)
        .map(|_| {
            let mut richest = 0;
            for (choice, weight) in weights.iter().enumerate() {
                credit[choice] += *weight as i64;
                if credit[choice] > credit[richest] {
                    richest = choice;
                }
            }
            credit[richest] -= sum as i64;
            richest as u16
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each choice is taken in `count` turns.
    fn shares(weights: &[u32], seed: u64, count: usize) -> Vec<usize> {
        let chosen = Weights::new(weights);
        let (turn, mut rng) = (Turn::default(), Rng::new(seed));
        let mut shares = vec![0; weights.len()];
        for _ in 0..count {
            if let Some(choice) = chosen.pick(&turn, &mut rng) {
                shares[choice] += 1;
            }
        }
        shares
    }

    #[test]
    fn a_whole_round_is_exact_from_any_start() {
        for seed in 0..50 {
            assert_eq!(shares(&[90, 10], seed, 10), [9, 1]);
            assert_eq!(shares(&[50, 30, 20], seed, 10), [5, 3, 2]);
        }
    }

    #[test]
    fn long_rounds_are_close_after_a_hundred() {
        for seed in 0..50 {
            let shares = shares(&[33_333, 66_667], seed, 100);
            assert!((32..=35).contains(&shares[0]), "{shares:?}");
        }
    }

    #[test]
    fn a_single_choice_is_taken_whatever_its_weight() {
        assert_eq!(shares(&[0], 0, 3), [3]);
        assert_eq!(shares(&[0, 7], 0, 3), [0, 3]);
    }

    #[test]
    fn several_choices_without_weight_are_no_choice() {
        assert_eq!(shares(&[0, 0], 0, 3), [0, 0]);
        assert_eq!(shares(&[], 0, 3), Vec::<usize>::new());
    }

    #[test]
    fn starts_differ_between_seeds() {
        let firsts: Vec<_> = (0..50).map(|seed| shares(&[1, 1], seed, 1)[0]).collect();
        assert!(firsts.contains(&1) && firsts.contains(&0));
    }
}
