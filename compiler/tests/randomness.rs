//! What is random in training: by its distribution, by its repeatability, and as nothing in prediction.

mod common;

use bakelite_compiler::ir::eval::Tensor as Value;
use bakelite_compiler::prelude::*;
use common::{Interpreted, Numbers};

/// A layer's result for some items, in training and in prediction, with two seeds of the model.
struct Drawn {
    x: Vec<f64>,
    first: Vec<f64>,
    again: Vec<f64>,
    next_step: Vec<f64>,
    other_seed: Vec<f64>,
    predicted: Vec<f64>,
}

fn drawn(item: &[usize], batch: usize, build: impl Fn(&Tensor) -> Tensor) -> Drawn {
    let m = Model::new("drawn");
    let x = m.input("x", item.to_vec(), F32);
    let y = build(&x);
    m.output_as("y", &y);
    m.max_batch(batch);
    m.entry("train").output("y", &y).training(true);
    let x = Numbers::new(3).tensor(&[&[batch], item].concat(), -1.0, 1.0);
    let call = |run: &mut Interpreted, entry: &str| run.call(entry, batch, std::slice::from_ref(&x))[0].to_numbers();
    let mut run = Interpreted::new(&m, 1);
    let predicted = call(&mut run, "predict");
    let (first, next_step) = (call(&mut run, "train"), call(&mut run, "train"));
    let again = call(&mut Interpreted::new(&m, 1), "train");
    let other_seed = call(&mut Interpreted::new(&m, 2), "train");
    Drawn { x: x.to_numbers(), first, again, next_step, other_seed, predicted }
}

impl Drawn {
    /// The same bits for the same seed and step, others for others, and the input itself in prediction.
    fn check(self, what: &str) -> Drawn {
        assert_eq!(self.first, self.again, "{what}");
        assert_ne!(self.first, self.next_step, "{what}");
        assert_ne!(self.first, self.other_seed, "{what}");
        assert_eq!(self.predicted, self.x, "{what}");
        self
    }
}

fn mean(xs: &[f64]) -> f64 {
    xs.iter().sum::<f64>() / xs.len() as f64
}

fn near(x: f64, expected: f64, tolerance: f64, what: &str) {
    assert!((x - expected).abs() < tolerance, "{what}: {x}, expected about {expected}");
}

#[test]
fn dropout_drops_its_rate_and_scales_the_rest() {
    let d = drawn(&[50, 40], 10, |x| Dropout::new(0.3).apply(x)).check("dropout");
    let dropped: Vec<f64> = d.first.iter().map(|y| (*y == 0.0) as u8 as f64).collect();
    near(mean(&dropped), 0.3, 0.01, "dropped");
    assert!(d.x.iter().zip(&d.first).all(|(x, y)| *y == 0.0 || (y - x / 0.7).abs() < 1e-5));
}

#[test]
fn a_pattern_is_shared_along_its_axes() {
    let whole = |d: Drawn, row: usize, stride: usize, what: &str| {
        let channels =
            |item: &[f64], c: usize| -> Vec<bool> { item.iter().skip(c).step_by(stride).map(|y| *y == 0.0).collect() };
        for item in d.first.chunks(row) {
            for c in 0..stride {
                let zero = channels(item, c);
                assert!(zero.iter().all(|z| *z == zero[0]), "{what}");
            }
        }
    };
    whole(drawn(&[6, 5], 20, |x| SpatialDropout1D::new(0.5).apply(x)).check("spatial"), 30, 5, "spatial");
    let noise = |x: &Tensor| Dropout::new(0.5).noise_shape(vec![None, Some(1), None]).apply(x);
    whole(drawn(&[6, 5], 20, noise).check("noise_shape"), 30, 5, "noise_shape");
}

#[test]
fn noise_has_its_mean_and_deviation() {
    let d = drawn(&[50, 40], 10, |x| GaussianNoise::new(0.5).apply(x)).check("noise");
    let noise: Vec<f64> = d.x.iter().zip(&d.first).map(|(x, y)| y - x).collect();
    near(mean(&noise), 0.0, 0.02, "mean");
    near(mean(&noise.iter().map(|n| n * n).collect::<Vec<_>>()).sqrt(), 0.5, 0.01, "deviation");
    let d = drawn(&[50, 40], 10, |x| GaussianDropout::new(0.2).apply(x)).check("gaussian dropout");
    let factor: Vec<f64> = d.x.iter().zip(&d.first).filter(|(x, _)| x.abs() > 0.1).map(|(x, y)| y / x).collect();
    near(mean(&factor), 1.0, 0.02, "mean factor");
    near(mean(&factor.iter().map(|f| (f - 1.0).powi(2)).collect::<Vec<_>>()), 0.25, 0.02, "variance of the factor");
}

#[test]
fn alpha_dropout_keeps_mean_and_variance() {
    let normal = |x: &Tensor| AlphaDropout::new(0.2).apply(x);
    let d = drawn(&[50, 40], 10, normal).check("alpha dropout");
    // Uniform inputs have mean 0 and variance 1/3, which stays up to what dropped elements add: they count as variance 1.
    near(mean(&d.first), 0.0, 0.03, "mean");
}

#[test]
fn a_seed_of_its_own_makes_a_layer_independent_of_the_model() {
    let d = drawn(&[9], 8, |x| Dropout::new(0.5).seed(7u64).apply(x));
    assert_eq!(d.first, d.again);
    assert_eq!(d.first, d.other_seed);
    assert_ne!(d.first, d.next_step);
}

#[test]
fn flips_are_of_whole_images_and_half_of_them() {
    let d = drawn(&[3, 4, 1], 400, |x| RandomFlip::new(FlipMode::Horizontal).apply(x)).check("flip");
    let mut flipped = 0;
    for (x, y) in d.x.chunks(12).zip(d.first.chunks(12)) {
        let mirror: Vec<f64> = x.chunks(4).flat_map(|row| row.iter().rev().copied()).collect();
        assert!(y == x || y == mirror);
        flipped += (y == mirror) as usize;
    }
    near(flipped as f64 / 400.0, 0.5, 0.1, "flipped");
}

#[test]
fn brightness_and_contrast_change_images_as_a_whole() {
    let d =
        drawn(&[2, 3, 1], 300, |x| RandomBrightness::new(0.2).value_range([-5.0, 5.0]).apply(x)).check("brightness");
    for (x, y) in d.x.chunks(6).zip(d.first.chunks(6)) {
        let amount = y[0] - x[0];
        assert!(amount.abs() <= 2.0 && x.iter().zip(y).all(|(x, y)| (y - x - amount).abs() < 1e-5));
    }
    let d =
        drawn(&[2, 3, 1], 300, |x| RandomContrast::new((0.5, 0.2)).value_range([-5.0, 5.0]).apply(x)).check("contrast");
    for (x, y) in d.x.chunks(6).zip(d.first.chunks(6)) {
        let (m, n) = (mean(x), mean(y));
        near(n, m, 1e-5, "the mean stays");
        let far = (0..6).max_by(|a, b| (x[*a] - m).abs().total_cmp(&(x[*b] - m).abs())).unwrap_or(0);
        let factor = (y[far] - m) / (x[far] - m);
        assert!(
            (0.799..=1.501).contains(&factor) && x.iter().zip(y).all(|(x, y)| (y - m - factor * (x - m)).abs() < 1e-4)
        );
    }
}

#[test]
fn images_move_by_what_is_drawn() {
    let still = |x: &Tensor| RandomTranslation::new((0.0, 0.0), (0.0, 0.0)).apply(x);
    let d = drawn(&[3, 4, 2], 5, still);
    assert!(d.x.iter().zip(&d.first).all(|(x, y)| (x - y).abs() < 1e-5), "no translation");
    // Down by a third of three rows, and in from the mirror at the edge.
    let down = |x: &Tensor| RandomTranslation::new((1.0 / 3.0, 1.0 / 3.0), 0.0).apply(x);
    let d = drawn(&[3, 2, 1], 4, down);
    for (x, y) in d.x.chunks(6).zip(d.first.chunks(6)) {
        let moved = [&x[..2], &x[..2], &x[2..4]].concat();
        assert!(y.iter().zip(&moved).all(|(y, m)| (y - m).abs() < 1e-5), "{x:?} became {y:?}");
    }
    let same = |x: &Tensor| RandomZoom::new((0.0, 0.0)).apply(x);
    let d = drawn(&[3, 4, 2], 5, same);
    assert!(d.x.iter().zip(&d.first).all(|(x, y)| (x - y).abs() < 1e-5), "no zoom");
    drawn(&[5, 4, 2], 5, |x| RandomZoom::new(0.5).fill_mode(FillMode::Wrap).apply(x)).check("zoom");
}

#[test]
fn adapted_statistics_normalise_their_data() {
    let data = [1.0, 10.0, 3.0, 30.0, 5.0, 20.0];
    let m = Model::new("adapted");
    let x = m.input("x", 2, F32);
    m.output_as("y", &Normalization::adapted(&data, 2).apply(&x));
    let values: Vec<f64> = data.iter().map(|x| *x as f64).collect();
    let y = Interpreted::new(&m, 1).call("predict", 3, &[Value::from_numbers(F32, &[3, 2], &values)])[0].to_numbers();
    for column in 0..2 {
        let column: Vec<f64> = y.iter().skip(column).step_by(2).copied().collect();
        near(mean(&column), 0.0, 1e-6, "mean");
        near(mean(&column.iter().map(|y| y * y).collect::<Vec<_>>()), 1.0, 1e-5, "variance");
    }
}
