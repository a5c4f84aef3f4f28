//! Random models with absurd arguments: they lower or they are explained, and nothing panics.

mod common;

use bakelite_compiler::ir::verify;
use bakelite_compiler::prelude::*;
use common::Numbers;

struct Chooser(Numbers);

impl Chooser {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.0.next(0.0, from.len() as f64) as usize]
    }

    fn size(&mut self) -> usize {
        self.pick(&[0, 1, 1, 2, 2, 3, 3, 4, 5, 7, 16, 1 << 20, 1 << 40, usize::MAX])
    }

    fn axis(&mut self) -> isize {
        self.pick(&[-1, -1, 0, 1, 2, 3, -2, -5, isize::MIN, isize::MAX])
    }

    fn float(&mut self) -> f64 {
        self.pick(&[0.0, 0.5, 0.1, 1.0, -1.0, 1e-30, 1e30, f64::NAN, f64::INFINITY])
    }

    fn pair(&mut self) -> (usize, usize) {
        (self.size(), self.size())
    }

    fn padding(&mut self) -> Padding {
        self.pick(&[Same, Valid])
    }

    fn dtype(&mut self) -> DType {
        self.pick(&[F32, F32, F32, F32, F32, I32, U8, U32, F64, Bool])
    }

    fn shape(&mut self) -> Vec<usize> {
        let rank = self.pick(&[0, 1, 1, 2, 3, 3, 3, 5]);
        let sizes = [1, 2, 3, 4, 5, 8, 9];
        (0..rank).map(|_| if self.0.next(0.0, 1.0) < 0.03 { self.size() } else { self.pick(&sizes) }).collect()
    }

    fn activation(&mut self) -> Activation {
        match self.size() {
            0 => LeakyRelu(self.float()),
            1 => Elu(self.float()),
            2 => LogSoftmax,
            _ => self.pick(&Activation::ALL),
        }
    }

    fn layer(&mut self, x: &Tensor, y: &Tensor) -> Tensor {
        match self.0.next(0.0, 24.0) as usize {
            0 | 1 => Dense::new(self.size()).activation(self.activation()).use_bias(self.pick(&[true, false])).apply(x),
            2 | 3 => Conv2D::new(self.size(), self.pair())
                .strides(self.pair())
                .padding(self.padding())
                .groups(self.pick(&[0, 1, 1, 1, 2, 3]))
                .apply(x),
            4 => Conv2D::new(3, self.size()).dilation_rate(self.size()).activation(self.activation()).apply(x),
            5 => MaxPooling2D::new(self.pair()).padding(self.padding()).apply(x),
            6 => AveragePooling2D::new(self.pair()).strides(self.pair()).padding(self.padding()).apply(x),
            7 => GlobalAveragePooling2D.apply(x),
            8 => BatchNormalization::new().axis(self.axis()).momentum(self.float()).epsilon(self.float()).apply(x),
            9 => Dropout::new(self.float()).apply(x),
            10 => Flatten.apply(x),
            11 => Reshape::new([self.size() as isize, self.axis()]).apply(x),
            12 => Rescaling::new(self.float()).offset(self.float()).apply(x),
            13 => Add.apply_many(&[x, y]),
            14 => Multiply.apply_many(&[x, y, x]),
            15 => Concatenate::new().axis(self.axis()).apply_many(&[x, y]),
            16 => x.slice(self.axis(), self.size(), self.size()),
            17 => x.sum(&[self.axis(), self.axis()]),
            18 => x.mean(&[self.axis()]),
            19 => x.cast(self.dtype()),
            20 => x * self.float() - y / 2.0,
            21 => x.max_all().gradient(y),
            22 => self.activation().apply(x),
            _ => {
                Dense::new(3).kernel_initializer(RandomUniform { minval: self.float(), maxval: self.float() }).apply(x)
            }
        }
    }
}

#[test]
fn absurd_models_are_explained() {
    let (mut sound, mut explained) = (0, 0);
    for seed in 0..3000 {
        let mut c = Chooser(Numbers::new(seed));
        let m = Model::new("absurd");
        let shape = c.shape();
        let inputs = [m.input("a", shape.clone(), c.dtype()), m.input("b", shape, c.dtype())];
        let mut tensors: Vec<Tensor> = inputs.to_vec();
        for _ in 0..c.pick(&[1, 2, 3, 4, 8]) {
            let (x, y) = (c.pick(&[1, 1, 1, 2]), c.pick(&[1, 2]));
            let (x, y) = (&tensors[tensors.len() - x].clone(), &tensors[tensors.len() - y].clone());
            let next = c.layer(x, y);
            // A mistake ends the branch; others go on from where it began.
            tensors.push(if next.ty().is_some() { next } else { x.clone() });
        }
        let last = tensors.last().unwrap();
        m.output_as("y", last);
        m.entry("both").output("a", &(&inputs[0] * 1.0)).output("b", &(&inputs[1] * 1.0));
        if c.pick(&[true, true, false]) {
            let losses: Losses = match c.size() {
                0 => BinaryCrossentropy::from_logits().into(),
                1 => CategoricalCrossentropy::new().label_smoothing(c.float()).into(),
                2 => SparseCategoricalCrossentropy::from_logits().into(),
                3 => SparseCategoricalCrossentropy::new().into(),
                _ => MeanSquaredError.into(),
            };
            m.compile(Adam::new(0.1), losses, [Accuracy]);
        }
        match m.lower() {
            Ok(module) => {
                verify::verify_module(&module).unwrap_or_else(|e| panic!("seed {seed}: {e:?}"));
                sound += 1;
            }
            Err(problems) => {
                assert!(!problems.list.is_empty());
                explained += 1;
            }
        }
    }
    assert!(sound > 100 && explained > 100, "{sound} sound, {explained} explained");
}
