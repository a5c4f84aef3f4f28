use serde::{Deserialize, Serialize};

use super::{Adam, Optimizer, Options, Parameter, Slot, StepCx, Update, common, finite, fraction, not_negative};
use crate::diag::Problem;
use crate::ir::NodeId;
use crate::model::numbers::unrolled;
use crate::model::schedule::LearningRate;
use crate::model::setters::{With, setters};

/// Steps of matrices along the nearest orthogonal matrix to their momentum (Jordan et al., 2024; scaled as Liu et al.,
/// 2025, arXiv:2502.16982). Weights that are no matrices, embeddings and what else is excluded are changed as by
/// [`AdamW`](super::AdamW); the last dense layer should be excluded.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Muon {
    learning_rate: LearningRate,
    adam_beta_1: f64,
    adam_beta_2: f64,
    adam_weight_decay: Option<f64>,
    epsilon: f64,
    exclude_layers: Vec<String>,
    exclude_embeddings: bool,
    muon_a: f64,
    muon_b: f64,
    muon_c: f64,
    adam_lr_ratio: f64,
    momentum: f64,
    ns_steps: usize,
    nesterov: bool,
    rms_rate: Option<f64>,
    #[serde(flatten)]
    options: Options,
}

impl Default for Muon {
    fn default() -> Muon {
        Muon {
            learning_rate: LearningRate::Constant(0.001),
            adam_beta_1: 0.9,
            adam_beta_2: 0.999,
            adam_weight_decay: Some(0.004),
            epsilon: 1e-7,
            exclude_layers: Vec::new(),
            exclude_embeddings: true,
            muon_a: 3.4445,
            muon_b: -4.775,
            muon_c: 2.0315,
            adam_lr_ratio: 1.0,
            momentum: 0.95,
            ns_steps: 5,
            nesterov: true,
            rms_rate: Some(0.2),
            options: Options { weight_decay: Some(0.004), ..Options::default() },
        }
    }
}

common!(Muon);

impl Muon {
    setters! {
        adam_beta_1: f64;
        adam_beta_2: f64;
        /// The decay of weights that are changed as by AdamW, 0.004 unless set.
        adam_weight_decay: into Option<f64>;
        /// What is added to the root of AdamW's average of squares.
        epsilon: f64;
        /// Whether weights with `embedding` in their path are changed as by AdamW; they are unless this is false.
        exclude_embeddings: bool;
        /// The factor of the matrix in an iteration.
        muon_a: f64;
        /// The factor of its third power.
        muon_b: f64;
        /// The factor of its fifth power.
        muon_c: f64;
        /// How many times as large the learning rate is for weights that are changed as by AdamW.
        adam_lr_ratio: f64;
        /// How much of its old value the momentum keeps.
        momentum: f64;
        /// The number of iterations towards the orthogonal matrix.
        ns_steps: usize;
        /// Whether a step looks ahead along the momentum.
        nesterov: bool;
        /// The root mean square of a step of a matrix, in learning rates; `None` leaves the orthogonal matrix as it is.
        rms_rate: into Option<f64>;
    }

    /// Weights with one of these texts in their path are changed as by AdamW.
    pub fn exclude_layers<T: Into<String>>(self, names: impl IntoIterator<Item = T>) -> Muon {
        self.with(|def| def.exclude_layers = names.into_iter().map(Into::into).collect())
    }

    /// Whether a weight is changed as by AdamW.
    fn excludes(&self, weight: &Parameter<'_>) -> bool {
        let embedding = self.exclude_embeddings && weight.name.to_lowercase().contains("embedding");
        weight.ty.shape.rank() != 2 || embedding || self.exclude_layers.iter().any(|text| weight.name.contains(text))
    }

    fn adam(&self) -> Adam {
        Adam::default().beta_1(self.adam_beta_1).beta_2(self.adam_beta_2).epsilon(self.epsilon)
    }

    /// What is near the orthogonal matrix nearest to a matrix: each iteration moves all singular values towards 1.
    fn orthogonal(&self, cx: &mut StepCx<'_>, x: NodeId) -> NodeId {
        let shape = cx.ty(x).shape.clone();
        let tall = shape[0].scale > shape[1].scale;
        let x = if tall { cx.permute(x, &[1, 0]) } else { x };
        let norm = cx.norm(x);
        let norm = cx.add_s(norm, 1e-7);
        let norm = cx.broadcast_like(norm, x);
        let mut x = cx.div(x, norm);
        for _ in 0..self.ns_steps {
            let square = cx.contract(x, x, &[], &[(1, 1)]);
            let (third, fifth) = (cx.mul_s(square, self.muon_b), cx.mul_s(square, self.muon_c));
            let fifth = cx.contract(fifth, square, &[], &[(1, 0)]);
            let factor = cx.add(third, fifth);
            let (kept, moved) = (cx.mul_s(x, self.muon_a), cx.contract(factor, x, &[], &[(1, 0)]));
            x = cx.add(kept, moved);
        }
        if tall { cx.permute(x, &[1, 0]) } else { x }
    }
}

impl Optimizer for Muon {
    fn kind(&self) -> &'static str {
        "Muon"
    }

    common!(in impl);

    fn check(&self) -> Result<(), Problem> {
        self.adam_weight_decay.map_or(Ok(()), |decay| not_negative("Muon", "adam_weight_decay", decay))?;
        not_negative("Muon", "epsilon", self.epsilon)?;
        not_negative("Muon", "adam_lr_ratio", self.adam_lr_ratio)?;
        self.rms_rate.map_or(Ok(()), |rate| not_negative("Muon", "rms_rate", rate))?;
        fraction("Muon", "adam_beta_1", self.adam_beta_1)?;
        fraction("Muon", "adam_beta_2", self.adam_beta_2)?;
        fraction("Muon", "momentum", self.momentum)?;
        finite("Muon", "muon_a", self.muon_a)?;
        finite("Muon", "muon_b", self.muon_b)?;
        finite("Muon", "muon_c", self.muon_c)?;
        // Each is three products in the graph of every matrix.
        unrolled("Muon", "ns_steps", self.ns_steps).map_err(|problem| problem.help("5 iterations are usual"))?;
        match self.exclude_layers.iter().find(|text| text.contains(PATTERN)) {
            None => Ok(()),
            Some(text) => Err(Problem::value(format!("Muon with exclude_layers `{}`", text.escape_debug()))
                .help("name parts of paths as they are; patterns are not supported")),
        }
    }

    fn slots(&self, weight: &Parameter<'_>) -> Vec<Slot> {
        let velocity = self.excludes(weight).then_some(Slot::zeros("velocity"));
        [Slot::zeros("momentum")].into_iter().chain(velocity).collect()
    }

    fn decay(&self, weight: &Parameter<'_>) -> Option<f64> {
        let decay = if self.excludes(weight) { self.adam_weight_decay } else { self.options.weight_decay };
        self.options.decay(weight.name, decay)
    }

    fn update(&self, cx: &mut StepCx<'_>, weight: NodeId, gradient: NodeId, slots: &[NodeId]) -> Update {
        let &[momentum] = slots else {
            return cx.at_rate(self.adam_lr_ratio, |cx| self.adam().update(cx, weight, gradient, slots));
        };
        let kept = cx.mul_s(momentum, self.momentum);
        let momentum = cx.add(kept, gradient);
        let ahead = match self.nesterov {
            true => {
                let next = cx.mul_s(momentum, self.momentum);
                cx.add(gradient, next)
            }
            false => momentum,
        };
        let direction = self.orthogonal(cx, ahead);
        let longest = cx.ty(weight).shape.iter().map(|d| d.scale).max().unwrap_or(1);
        let size = self.rms_rate.map_or(1.0, |rate| rate * (longest as f64).sqrt());
        let rate = cx.learning_rate_like(direction);
        let change = cx.mul(rate, direction);
        let change = cx.mul_s(change, size);
        Update { weight: cx.sub(weight, change), slots: vec![momentum] }
    }
}

/// What texts to exclude cannot contain, since Keras reads it as a part of a pattern.
const PATTERN: [char; 14] = ['.', '^', '$', '*', '+', '?', '{', '}', '[', ']', '\\', '|', '(', ')'];
