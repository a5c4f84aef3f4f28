//! The arguments of layers with a kernel and a bias.

use serde::{Deserialize, Serialize};

use super::constraint::Constraint;
use super::initializer::Initializer;
use super::layer::{Layer, LayerDef, Weight};
use super::regularizer::Regularizer;
use super::setters::{Has, setters};

/// How a kernel and a bias begin, what is added to the loss for them, and what they are held to.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct KernelAndBias {
    kernel_initializer: Initializer,
    bias_initializer: Initializer,
    kernel_regularizer: Option<Regularizer>,
    bias_regularizer: Option<Regularizer>,
    kernel_constraint: Option<Constraint>,
    bias_constraint: Option<Constraint>,
}

impl Default for KernelAndBias {
    fn default() -> KernelAndBias {
        KernelAndBias {
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
            kernel_regularizer: None,
            bias_regularizer: None,
            kernel_constraint: None,
            bias_constraint: None,
        }
    }
}

impl KernelAndBias {
    /// A kernel, to be declared.
    pub fn kernel(&self, name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Weight {
        let weight = Weight::new(name, shape, self.kernel_initializer);
        weight.regularizer(self.kernel_regularizer).constraint(self.kernel_constraint.clone())
    }

    /// A kernel that makes so many numbers of so many, which its shape does not tell.
    pub fn kernel_with_fans(
        &self,
        name: impl Into<String>,
        shape: impl Into<Vec<usize>>,
        fan_in: usize,
        fan_out: usize,
    ) -> Weight {
        let initializer = self.kernel_initializer.with_fans(fan_in, fan_out);
        Weight { initializer, ..self.kernel(name, shape) }
    }

    /// A bias, to be declared.
    pub fn bias(&self, name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Weight {
        let weight = Weight::new(name, shape, self.bias_initializer);
        weight.regularizer(self.bias_regularizer).constraint(self.bias_constraint.clone())
    }
}

impl<D: LayerDef + Clone + Has<KernelAndBias>> Layer<D> {
    setters! {
        in Has::<KernelAndBias>::part;
        kernel_initializer: Initializer;
        bias_initializer: Initializer;
        kernel_regularizer: some Regularizer;
        bias_regularizer: some Regularizer;
        kernel_constraint: some Constraint;
        bias_constraint: some Constraint;
    }
}
