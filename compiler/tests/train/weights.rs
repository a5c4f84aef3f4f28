//! Initializers, regularizers, constraints.

use bakelite_compiler::ir::eval::Tensor as Value;
use bakelite_compiler::prelude::*;

use crate::common::{Interpreted, assert_close, scalar};

/// A 3x3 kernel, row by row.
const KERNEL: [f64; 9] = [1.0, -2.0, 0.5, 0.0, 3.0, -0.25, 2.0, 0.5, 0.0];

/// A step of a model of one kernel, with a learning rate of 0: the loss of all zeros, and the kernel afterwards.
fn step(layer: Layer<Dense>) -> (f64, Vec<f64>) {
    let m = Sequential::new("m").input("x", 3, F32).add(layer.use_bias(false));
    m.compile(SGD::new(0.0), MeanSquaredError, ());
    let mut run = Interpreted::new(&m, 1);
    run.set("dense/kernel", &KERNEL);
    let zeros = Value::splat(F32, &[2, 3], 0.0);
    let loss = scalar(&run.call("train_step", 2, &[zeros.clone(), zeros])[0]);
    (loss, run.cell("dense/kernel").to_numbers())
}

#[test]
fn constraints_hold_after_every_step() {
    let cases: [(Constraint, [f64; 9]); 5] = [
        (
            Constraint::max_norm(2.0),
            [0.8944272, -1.0988845, 0.49999988, 0., 1.6483266, -0.24999994, 1.7888544, 0.27472112, 0.],
        ),
        (
            Constraint::max_norm(1.5).axis([0, 1]),
            [0.3481553, -0.6963106, 0.17407764, 0., 1.0444659, -0.08703882, 0.6963106, 0.17407764, 0.],
        ),
        (NonNeg, [1., 0., 0.5, 0., 3., 0., 2., 0.5, 0.]),
        (
            Constraint::unit_norm().axis([-1]),
            [0.43643576, -0.8728715, 0.21821788, 0., 0.9965458, -0.08304548, 0.97014254, 0.24253564, 0.],
        ),
        (
            MinMaxNorm { min_value: 1.0, max_value: 2.0, rate: 0.25, axis: vec![0] },
            [0.9736068, -1.7747211, 0.5986067, 0., 2.6620817, -0.29930335, 1.9472136, 0.4436803, 0.],
        ),
    ];
    for (constraint, expected) in cases {
        let name = format!("{constraint:?}");
        assert_close(&step(Dense::new(3).kernel_constraint(constraint)).1, &expected, 1e-6, &name);
    }
}

#[test]
fn penalties_are_part_of_the_loss() {
    let rows = Regularizer::orthogonal(0.3);
    let columns = OrthogonalRegularizer { factor: 0.3, mode: Vectors::Columns };
    let cases = [
        (L1(0.1), 0.1 * 9.25),
        (L2(0.1), 0.1 * 18.5625),
        (L1L2 { l1: 0.1, l2: 0.2 }, 0.1 * 9.25 + 0.2 * 18.5625),
        (rows, 0.13413788),
        (columns, 0.13828722),
    ];
    for (regularizer, expected) in cases {
        let loss = step(Dense::new(3).kernel_regularizer(regularizer)).0;
        assert_close(&[loss], &[expected], 1e-6, &format!("{regularizer:?}"));
    }
}

#[test]
fn orthogonal_weights_have_orthonormal_rows_or_columns() {
    for (rows, columns, gain) in [(1, 1, 1.0), (2, 2, 1.0), (5, 5, 2.0), (40, 40, 1.0), (6, 24, 1.0), (17, 3, 0.5)] {
        let layer = Dense::new(columns).kernel_initializer(Orthogonal { gain });
        let m = Sequential::new("m").input("x", rows, F32).add(layer);
        let mut mean = 0.0;
        for seed in 0..8 {
            let w = Interpreted::new(&m, seed).cell("dense/kernel").to_numbers();
            let at = |vector: usize, i: usize| match rows > columns {
                true => w[i * columns + vector],
                false => w[vector * columns + i],
            };
            let (short, long) = (rows.min(columns), rows.max(columns));
            for (a, b) in (0..short).flat_map(|a| (0..short).map(move |b| (a, b))) {
                let product: f64 = (0..long).map(|i| at(a, i) * at(b, i)).sum();
                let expected = if a == b { gain * gain } else { 0.0 };
                assert!((product - expected).abs() < 1e-5, "{rows}x{columns}, {a} and {b}: {product}");
            }
            mean += w.iter().sum::<f64>() / w.len() as f64 / gain / 8.0;
        }
        assert!(mean.abs() < 1.0 / ((rows.max(columns) * rows.min(columns)) as f64).sqrt(), "mean {mean}");
    }
}

#[test]
fn identity_weights_are_diagonal() {
    let m = Sequential::new("m")
        .input("x", 2, F32)
        .add(Dense::new(3).kernel_initializer(Initializer::Identity { gain: 0.5 }));
    assert_eq!(Interpreted::new(&m, 1).cell("dense/kernel").to_numbers(), [0.5, 0.0, 0.0, 0.0, 0.5, 0.0]);
}
