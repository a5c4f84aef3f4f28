//! Models run by the reference interpreter.
#![allow(dead_code, reason = "each test binary uses a part")]

pub mod rows;

use bakelite_compiler::ir::eval::{Evaluated, Tensor, evaluate};
use bakelite_compiler::ir::{DType, Graph, Module};
use bakelite_compiler::model::Model;

/// A module with its storage, as the runtime holds it.
pub struct Interpreted {
    pub module: Module,
    pub storage: Vec<Tensor>,
}

impl Interpreted {
    pub fn new(model: &Model, seed: u32) -> Interpreted {
        let module = model.lower().unwrap_or_else(|e| panic!("{e}"));
        let storage = module.storage.iter().map(|c| Tensor::splat(c.ty.dtype, &c.ty.shape.at(1), 7.0)).collect();
        let mut this = Interpreted { module, storage };
        this.call("init", 1, &[Tensor::u32(&[2], &[seed, 0])]);
        this
    }

    pub fn entry(&self, name: &str) -> &Graph {
        self.module.entry(name).unwrap_or_else(|| panic!("no entry {name}"))
    }

    /// Evaluates without assigning.
    pub fn peek(&self, entry: &str, batch: usize, inputs: &[Tensor]) -> Evaluated {
        evaluate(self.entry(entry), batch, inputs, &self.storage).unwrap_or_else(|e| panic!("{entry}: {e}"))
    }

    /// Calls an entry point: its outputs; storage changes.
    pub fn call(&mut self, entry: &str, batch: usize, inputs: &[Tensor]) -> Vec<Tensor> {
        let result = self.peek(entry, batch, inputs);
        for (id, value) in result.assigns {
            self.storage[id.0 as usize] = value;
        }
        result.outputs
    }

    pub fn index(&self, name: &str) -> usize {
        let names: Vec<&str> = self.module.storage.iter().map(|c| c.name.as_str()).collect();
        names.iter().position(|n| *n == name).unwrap_or_else(|| panic!("no cell {name} among {names:?}"))
    }

    pub fn cell(&self, name: &str) -> &Tensor {
        &self.storage[self.index(name)]
    }

    pub fn set(&mut self, name: &str, values: &[f64]) {
        let cell = self.index(name);
        let Tensor { dtype, shape, .. } = &self.storage[cell];
        self.storage[cell] = Tensor::from_numbers(*dtype, shape, values);
    }
}

/// Reproducible numbers in `[low, high)`.
pub struct Numbers(u64);

impl Numbers {
    pub fn new(seed: u64) -> Numbers {
        Numbers(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    pub fn next(&mut self, low: f64, high: f64) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        low + (high - low) * ((self.0 >> 11) as f64 / (1u64 << 53) as f64)
    }

    pub fn tensor(&mut self, shape: &[usize], low: f64, high: f64) -> Tensor {
        let values: Vec<f64> = (0..shape.iter().product()).map(|_| self.next(low, high)).collect();
        Tensor::from_numbers(DType::F32, shape, &values)
    }

    pub fn labels(&mut self, shape: &[usize], classes: usize) -> Tensor {
        let values: Vec<f64> = (0..shape.iter().product()).map(|_| self.next(0.0, classes as f64).floor()).collect();
        Tensor::from_numbers(DType::I32, shape, &values)
    }
}

/// The only number of a tensor.
pub fn scalar(t: &Tensor) -> f64 {
    let numbers = t.to_numbers();
    assert_eq!(numbers.len(), 1, "{t:?}");
    numbers[0]
}

pub fn assert_close(got: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(got.len(), expected.len(), "{what}");
    for (i, (g, e)) in got.iter().zip(expected).enumerate() {
        assert!((g - e).abs() <= tolerance * (1.0 + e.abs()), "{what}: element {i} is {g}, expected {e}");
    }
}
