//! Limited-memory BFGS over a function that gives its value and gradient, such as an entry point with a gradient with
//! respect to an input: style transfer, for one.

use std::collections::VecDeque;

/// How to minimize: `Lbfgs::iterations(20).minimize(&mut image, |x, gradient| ...)`.
#[derive(Clone, Copy, PartialEq, Debug)]
#[must_use]
pub struct Lbfgs {
    iterations: usize,
    memory: usize,
    tolerance: f64,
}

/// Where a minimization ended.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Minimum {
    /// The value there.
    pub value: f64,
    /// Steps that were taken.
    pub iterations: usize,
    /// Calls of the function.
    pub calls: usize,
    /// Whether the gradient is as small as was asked for.
    pub converged: bool,
}

/// A step and how it changed the gradient.
struct Correction {
    step: Vec<f32>,
    change: Vec<f32>,
    /// Their product.
    curvature: f64,
}

/// Sufficient decrease, as a fraction of what the slope promises.
const DECREASE: f64 = 1e-4;
/// The slope that may be left after a step, as a fraction of the slope before it.
const SLOPE: f64 = 0.9;
/// Calls in the search for one step.
const SEARCH: usize = 20;

impl Lbfgs {
    /// At most this many steps, with the last 10 remembered, until no element of the gradient exceeds 1e-5.
    pub fn iterations(iterations: usize) -> Lbfgs {
        Lbfgs { iterations, memory: 10, tolerance: 1e-5 }
    }

    /// How many steps are remembered; each takes twice the memory of `x`.
    pub fn memory(mut self, steps: usize) -> Lbfgs {
        self.memory = steps;
        self
    }

    /// The largest element of a gradient that counts as zero.
    pub fn tolerance(mut self, tolerance: f64) -> Lbfgs {
        self.tolerance = tolerance;
        self
    }

    /// Moves `x` to a minimum near it. `f` gives the value at a point and writes the gradient; its first error ends the
    /// search, with `x` at the best point so far.
    pub fn minimize<E>(
        &self,
        x: &mut [f32],
        mut f: impl FnMut(&[f32], &mut [f32]) -> Result<f64, E>,
    ) -> Result<Minimum, E> {
        let n = x.len();
        let mut gradient = vec![0.0; n];
        let mut value = f(x, &mut gradient)?;
        let mut calls = 1;
        let mut past: VecDeque<Correction> = VecDeque::with_capacity(self.memory + 1);
        let (mut next, mut next_gradient) = (vec![0.0; n], vec![0.0; n]);
        // The last point of a search that was low enough.
        let (mut best, mut best_gradient) = (vec![0.0; n], vec![0.0; n]);
        let small = |g: &[f32]| g.iter().all(|g| f64::from(g.abs()) <= self.tolerance);
        let mut iterations = 0;
        while iterations < self.iterations && !small(&gradient) {
            let mut direction = towards(&gradient, &past);
            let mut slope = dot(&direction, &gradient);
            if slope >= 0.0 {
                // Rounding has made the memory useless.
                past.clear();
                direction = gradient.iter().map(|g| -g).collect();
                slope = dot(&direction, &gradient);
            }
            // The first direction has the length of the gradient, which says nothing about that of a step.
            let mut t = if past.is_empty() { 1.0 / dot(&gradient, &gradient).sqrt().max(1.0) } else { 1.0 };
            let (mut low, mut high) = (0.0, f64::INFINITY);
            let mut found = None;
            for _ in 0..SEARCH {
                for ((next, x), d) in next.iter_mut().zip(&*x).zip(&direction) {
                    *next = x + (t * f64::from(*d)) as f32;
                }
                let candidate = f(&next, &mut next_gradient)?;
                calls += 1;
                // A value that is no number is too far away.
                if candidate.is_nan() || candidate > value + DECREASE * t * slope {
                    high = t;
                } else {
                    found = Some(candidate);
                    best.copy_from_slice(&next);
                    best_gradient.copy_from_slice(&next_gradient);
                    if dot(&direction, &next_gradient) >= SLOPE * slope {
                        break;
                    }
                    low = t;
                }
                t = if high.is_finite() { 0.5 * (low + high) } else { 2.0 * low };
            }
            let Some(reached) = found else { break };
            if best == *x {
                break;
            }
            let step: Vec<f32> = best.iter().zip(&*x).map(|(a, b)| a - b).collect();
            let change: Vec<f32> = best_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
            let curvature = dot(&step, &change);
            if curvature > 0.0 && self.memory > 0 {
                if past.len() == self.memory {
                    past.pop_front();
                }
                past.push_back(Correction { step, change, curvature });
            }
            x.copy_from_slice(&best);
            std::mem::swap(&mut gradient, &mut best_gradient);
            value = reached;
            iterations += 1;
        }
        Ok(Minimum { value, iterations, calls, converged: small(&gradient) })
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum()
}

/// Adds a multiple of a vector to another.
fn add(to: &mut [f32], factor: f64, x: &[f32]) {
    for (to, x) in to.iter_mut().zip(x) {
        *to += (factor * f64::from(*x)) as f32;
    }
}

/// The direction of descent: the gradient through the inverse curvature that past steps have shown.
fn towards(gradient: &[f32], past: &VecDeque<Correction>) -> Vec<f32> {
    let mut q: Vec<f32> = gradient.iter().map(|g| -g).collect();
    let mut shares = Vec::with_capacity(past.len());
    for c in past.iter().rev() {
        let share = dot(&c.step, &q) / c.curvature;
        add(&mut q, -share, &c.change);
        shares.push(share);
    }
    if let Some(last) = past.back() {
        let scale = (last.curvature / dot(&last.change, &last.change)) as f32;
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for (c, share) in past.iter().zip(shares.into_iter().rev()) {
        let other = dot(&c.change, &q) / c.curvature;
        add(&mut q, share - other, &c.step);
    }
    q
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn rosenbrock(x: &[f32], gradient: &mut [f32]) -> Result<f64, Infallible> {
        let mut sum = 0.0;
        gradient.fill(0.0);
        for i in 0..x.len() - 1 {
            let (a, b) = (f64::from(x[i]), f64::from(x[i + 1]));
            let (u, v) = (b - a * a, 1.0 - a);
            sum += 100.0 * u * u + v * v;
            gradient[i] += (-400.0 * a * u - 2.0 * v) as f32;
            gradient[i + 1] += (200.0 * u) as f32;
        }
        Ok(sum)
    }

    #[test]
    fn a_curved_valley_is_followed_to_its_end() {
        let mut x = vec![-1.2, 1.0, -0.5, 0.8];
        let end = Lbfgs::iterations(200).tolerance(1e-3).minimize(&mut x, rosenbrock).unwrap();
        assert!(x.iter().all(|x| (x - 1.0).abs() < 1e-3), "{x:?}, {end:?}");
        assert!(end.value < 1e-6 && end.iterations < 100, "{end:?}");
    }

    #[test]
    fn it_never_goes_up_and_stops_where_it_is_told() {
        let mut x = vec![-1.2, 1.0];
        let mut last = f64::INFINITY;
        for steps in [0, 1, 2, 5] {
            let mut start = x.clone();
            let end = Lbfgs::iterations(steps).memory(3).minimize(&mut start, rosenbrock).unwrap();
            assert!(end.iterations <= steps && end.value <= last, "{end:?}");
            last = end.value;
        }
        let flat = Lbfgs::iterations(5).minimize(&mut x, |_, g: &mut [f32]| {
            g.fill(0.0);
            Ok::<_, Infallible>(3.0)
        });
        assert_eq!(flat.unwrap(), Minimum { value: 3.0, iterations: 0, calls: 1, converged: true });
        let failed = Lbfgs::iterations(5).minimize(&mut x, |_, _| Err::<f64, _>("no"));
        assert_eq!(failed.unwrap_err(), "no");
    }
}
