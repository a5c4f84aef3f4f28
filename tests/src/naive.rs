//! The `tiny` workload as plain loops: what someone writes who has one small network and no framework.

/// RMSprop's constants, as Keras has them.
const RATE: f32 = 1e-3;
const RHO: f32 = 0.9;
const EPSILON: f32 = 1e-7;

/// Rows of a step.
pub const BATCH: usize = 8;

/// A dense layer with the second moments of its gradients.
struct Dense<const I: usize, const O: usize> {
    kernel: [[f32; O]; I],
    bias: [f32; O],
    kernel_moment: [[f32; O]; I],
    bias_moment: [f32; O],
}

impl<const I: usize, const O: usize> Dense<I, O> {
    fn new(kernel: &[f32], bias: &[f32]) -> Self {
        Dense {
            kernel: std::array::from_fn(|i| std::array::from_fn(|o| kernel[i * O + o])),
            bias: std::array::from_fn(|o| bias[o]),
            kernel_moment: [[0.0; O]; I],
            bias_moment: [0.0; O],
        }
    }

    fn forward(&self, x: &[f32; I]) -> [f32; O] {
        let mut y = self.bias;
        for (x, row) in x.iter().zip(&self.kernel) {
            for (y, w) in y.iter_mut().zip(row) {
                *y += x * w;
            }
        }
        y
    }

    /// The gradient with respect to the input.
    fn backward(&self, dy: &[f32; O]) -> [f32; I] {
        std::array::from_fn(|i| self.kernel[i].iter().zip(dy).map(|(w, d)| w * d).sum())
    }

    /// One RMSprop step from the inputs of a batch and the gradients of its outputs.
    fn update(&mut self, x: &[[f32; I]; BATCH], dy: &[[f32; O]; BATCH]) {
        for i in 0..I {
            let mut gradient = [0.0; O];
            for (x, dy) in x.iter().zip(dy) {
                for (g, d) in gradient.iter_mut().zip(dy) {
                    *g += x[i] * d;
                }
            }
            rmsprop(&mut self.kernel[i], &mut self.kernel_moment[i], &gradient);
        }
        let mut gradient = [0.0; O];
        for dy in dy {
            for (g, d) in gradient.iter_mut().zip(dy) {
                *g += d;
            }
        }
        rmsprop(&mut self.bias, &mut self.bias_moment, &gradient);
    }
}

fn rmsprop<const N: usize>(weights: &mut [f32; N], moments: &mut [f32; N], gradients: &[f32; N]) {
    for ((w, m), g) in weights.iter_mut().zip(moments).zip(gradients) {
        *m = RHO * *m + (1.0 - RHO) * g * g;
        *w -= RATE * g / (*m + EPSILON).sqrt();
    }
}

/// The gradient before a tanh from the one after it and its value.
fn tanh_backward<const N: usize>(dy: &[f32; N], y: &[f32; N]) -> [f32; N] {
    std::array::from_fn(|i| dy[i] * (1.0 - y[i] * y[i]))
}

/// Dense layers 4-32-32-4 with tanh between them, mean squared error, RMSprop.
pub struct Tiny {
    first: Dense<4, 32>,
    second: Dense<32, 32>,
    third: Dense<32, 4>,
}

impl Tiny {
    /// From kernels and biases in order, kernels as `[inputs][outputs]`.
    pub fn new(weights: [&[f32]; 6]) -> Tiny {
        let [k1, b1, k2, b2, k3, b3] = weights;
        Tiny { first: Dense::new(k1, b1), second: Dense::new(k2, b2), third: Dense::new(k3, b3) }
    }

    pub fn predict(&self, x: &[f32; 4]) -> [f32; 4] {
        let h = self.first.forward(x).map(f32::tanh);
        let h = self.second.forward(&h).map(f32::tanh);
        self.third.forward(&h)
    }

    /// One training step; returns the loss before it.
    pub fn step(&mut self, x: &[[f32; 4]; BATCH], target: &[[f32; 4]; BATCH]) -> f32 {
        let h1 = x.each_ref().map(|x| self.first.forward(x).map(f32::tanh));
        let h2 = h1.each_ref().map(|h| self.second.forward(h).map(f32::tanh));
        let y = h2.each_ref().map(|h| self.third.forward(h));

        let count = (BATCH * 4) as f32;
        let difference: [[f32; 4]; BATCH] = std::array::from_fn(|b| std::array::from_fn(|o| y[b][o] - target[b][o]));
        let loss = difference.as_flattened().iter().map(|d| d * d).sum::<f32>() / count;

        let dy = difference.map(|row| row.map(|d| 2.0 * d / count));
        let d2: [_; BATCH] = std::array::from_fn(|b| tanh_backward(&self.third.backward(&dy[b]), &h2[b]));
        let d1: [_; BATCH] = std::array::from_fn(|b| tanh_backward(&self.second.backward(&d2[b]), &h1[b]));
        self.third.update(&h2, &dy);
        self.second.update(&h1, &d2);
        self.first.update(x, &d1);
        loss
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::{Fixtures, close};

    #[test]
    fn trains_as_keras_does() {
        let fixtures = Fixtures::load();
        let case = fixtures.case("tiny");
        let names = ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias", "dense_2/kernel", "dense_2/bias"];
        let weights = names.map(|name| case.weight(name).values());
        let mut tiny = Tiny::new(weights.each_ref().map(Vec::as_slice));
        let (x, y) = (case.inputs[0].values(), case.targets[0].values());
        let (x, y) = (x.as_chunks::<4>().0.as_chunks::<BATCH>().0, y.as_chunks::<4>().0.as_chunks::<BATCH>().0);
        let losses: Vec<f64> = x.iter().zip(y).map(|(x, y)| tiny.step(x, y) as f64).collect();
        close(&losses, &case.losses, 1e-5).unwrap();
        let after: Vec<f64> = x[0][..4].iter().flat_map(|x| tiny.predict(x)).map(f64::from).collect();
        close(&after, &case.after[0], 1e-5).unwrap();
    }
}
