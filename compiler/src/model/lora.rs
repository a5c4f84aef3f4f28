//! Adaptations of low rank.
//!
//! Source: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021, and
//! [Keras](https://keras.io/api/layers/core_layers/dense/).

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::initializer::Initializer;
use super::layer::{BuildCx, Layer, LayerDef, Weight};
use super::saved::Filed;
use super::setters::{Has, setters};
use crate::diag::Problem;
use crate::ir::NodeId;

/// A kernel that stays as it is, and beside it a product of two thin matrices that are trained in its place:
/// `kernel + lora_alpha / lora_rank * a . b`. `a` is `[..., lora_rank]` and begins as `he_uniform`, `b` is
/// `[lora_rank, n]` and begins as zeros, where the kernel is `[..., n]`.
///
/// Keras's files hold the sum and not the product: whoever reads one, Keras too, begins with `a` and `b` of zeros, which
/// training does not change unless the optimizer still moves. Other files (safetensors, `.h5`) hold all three.
/// To adapt a kernel that is trained already, `init` the model, which draws `a`, and then set the kernel alone with
/// [`bakelite::Model::set_param`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Lora {
    lora_rank: Option<usize>,
    lora_alpha: Option<f64>,
}

/// The names of the thin matrices of a kernel.
struct Thin {
    a: String,
    b: String,
}

impl Thin {
    fn of(name: &str) -> Thin {
        Thin { a: format!("lora_{name}_a"), b: format!("lora_{name}_b") }
    }
}

impl Lora {
    pub(crate) fn is_on(&self) -> bool {
        self.lora_rank.is_some()
    }

    /// What the product is multiplied by.
    fn factor(&self, rank: usize) -> f64 {
        self.lora_alpha.map_or(1.0, |alpha| alpha / rank as f64)
    }

    /// A kernel as it is to be declared, before the layer's other weights.
    pub(crate) fn kernel(&self, kernel: Weight) -> Weight {
        let Some(rank) = self.lora_rank else { return kernel };
        let Thin { a, b } = Thin::of(&kernel.name);
        kernel.fixed().filed(Filed::Adapted { a, b, factor: self.factor(rank) })
    }

    /// Declares what adapts a kernel, behind the layer's other weights.
    pub(crate) fn declare(&self, cx: &mut BuildCx<'_>, kernel: &Weight) -> Result<(), Problem> {
        let Some(rank) = self.lora_rank else {
            let alone = || Problem::value(format!("{} with a lora_alpha, and without a lora_rank", cx.kind()));
            return self.lora_alpha.map_or(Ok(()), |_| Err(alone()));
        };
        cx.positive("lora_rank", rank)?;
        if self.lora_alpha.is_some_and(|alpha| !alpha.is_finite()) {
            return Err(Problem::value(format!("{} with a lora_alpha that is no number", cx.kind())));
        }
        if kernel.constraint.is_some() {
            let message = format!("{} with lora_rank {rank} and a constraint on its `{}`", cx.kind(), kernel.name);
            return Err(Problem::value(message).help("leave one of them out: the sum of both is not held to anything"));
        }
        let Thin { a, b } = Thin::of(&kernel.name);
        let (features, rest) = kernel.shape.split_last().map_or((1, &[][..]), |(last, rest)| (*last, rest));
        let thin = |name, shape: Vec<usize>, initializer| {
            Weight::new(name, shape, initializer).regularizer(kernel.regularizer).filed(Filed::Within)
        };
        cx.weight(thin(a, [rest, &[rank]].concat(), Initializer::HeUniform))?;
        cx.weight(thin(b, vec![rank, features], Initializer::Zeros))
    }

    /// The kernel that a layer computes with.
    pub(crate) fn weight(&self, cx: &mut CallCx<'_>, name: &str) -> NodeId {
        let kernel = cx.weight(name);
        let Some(rank) = self.lora_rank else { return kernel };
        let Thin { a, b } = Thin::of(name);
        let (a, b) = (cx.weight(&a), cx.weight(&b));
        let last = cx.ty(a).shape.rank() - 1;
        let product = cx.contract(a, b, &[], &[(last, 0)]);
        let product = cx.mul_s(product, self.factor(rank));
        cx.add(kernel, product)
    }
}

impl<D: LayerDef + Clone + Has<Lora>> Layer<D> {
    setters! {
        in Has::<Lora>::part;
        /// Leaves the kernel as it is, and trains a product of two matrices with this rank that is added to it (LoRA).
        lora_rank: some usize;
        /// What the product is multiplied by, times the rank; the rank itself where it is not set.
        lora_alpha: some f64;
    }
}
