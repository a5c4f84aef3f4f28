//! What every optimizer can do besides its rule.

use serde::{Deserialize, Serialize};

use super::{Optimizer, fraction, not_negative};
use crate::diag::Problem;

/// Weight decay, clipping of gradients, averaging of weights, accumulation of gradients: Keras's arguments of every
/// optimizer.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Options {
    pub weight_decay: Option<f64>,
    pub clipnorm: Option<f64>,
    pub global_clipnorm: Option<f64>,
    pub clipvalue: Option<f64>,
    pub use_ema: bool,
    pub ema_momentum: f64,
    pub ema_overwrite_frequency: Option<u32>,
    /// Divides gradients of a loss that was multiplied by it. Both cancel in the `f32` of a step.
    pub loss_scale_factor: Option<f64>,
    pub gradient_accumulation_steps: Option<u32>,
    /// Names of weights that do not decay.
    #[serde(skip)]
    pub exclude_from_weight_decay: Vec<String>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            weight_decay: None,
            clipnorm: None,
            global_clipnorm: None,
            clipvalue: None,
            use_ema: false,
            ema_momentum: 0.99,
            ema_overwrite_frequency: None,
            loss_scale_factor: None,
            gradient_accumulation_steps: None,
            exclude_from_weight_decay: Vec::new(),
        }
    }
}

impl Options {
    /// The decay of a weight, unless it is none or the weight is excluded.
    pub(super) fn decay(&self, name: &str, decay: Option<f64>) -> Option<f64> {
        let own = name.rsplit('/').next().unwrap_or(name);
        let matches =
            |pattern: &String| if pattern.contains('/') { name.contains(pattern) } else { own.contains(pattern) };
        let excluded = self.exclude_from_weight_decay.iter().any(matches);
        decay.filter(|decay| *decay != 0.0 && !excluded)
    }
}

/// Checks everything that an optimizer was given.
pub(crate) fn check(optimizer: &dyn Optimizer) -> Result<(), Problem> {
    let (kind, o) = (optimizer.kind(), optimizer.options());
    optimizer.learning_rate().check(kind)?;
    optimizer.check()?;
    let sizes = [
        ("weight_decay", o.weight_decay),
        ("clipnorm", o.clipnorm),
        ("global_clipnorm", o.global_clipnorm),
        ("clipvalue", o.clipvalue),
    ];
    for (name, value) in sizes {
        value.map_or(Ok(()), |value| not_negative(kind, name, value))?;
    }
    if sizes[1..].iter().filter(|(_, value)| value.is_some()).count() > 1 {
        let message = format!("{kind} with two of clipnorm, global_clipnorm and clipvalue: gradients are clipped once");
        return Err(Problem::value(message));
    }
    fraction(kind, "ema_momentum", o.ema_momentum)?;
    if o.ema_overwrite_frequency == Some(0) {
        return Err(Problem::value(format!("{kind} with ema_overwrite_frequency 0: must be at least 1")));
    }
    match o.gradient_accumulation_steps {
        Some(steps @ 0..2) => {
            Err(Problem::value(format!("{kind} with gradient_accumulation_steps {steps}: must be at least 2")))
        }
        _ => Ok(()),
    }
}

/// Constructor with a learning rate, and the methods of the options, for structs with the fields `learning_rate` and
/// `options` and a [`Default`].
macro_rules! common {
    ($name:ident) => {
        impl $name {
            /// With a learning rate: a number or a schedule.
            pub fn new(learning_rate: impl Into<$crate::model::schedule::LearningRate>) -> $name {
                $name { learning_rate: learning_rate.into(), ..$name::default() }
            }

            /// Shrinks every weight by this fraction, times the learning rate, in each step.
            pub fn weight_decay(mut self, decay: impl Into<Option<f64>>) -> $name {
                self.options.weight_decay = decay.into();
                self
            }

            /// Weights that do not decay: those with one of these texts in their name, as in `bias`, or in their path
            /// where the text has a `/`.
            pub fn exclude_from_weight_decay<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> $name {
                self.options.exclude_from_weight_decay = names.into_iter().map(Into::into).collect();
                self
            }

            /// Scales down the gradient of a weight whose norm is larger.
            pub fn clipnorm(mut self, norm: f64) -> $name {
                self.options.clipnorm = Some(norm);
                self
            }

            /// Scales down all gradients where their norm, taken together, is larger.
            pub fn global_clipnorm(mut self, norm: f64) -> $name {
                self.options.global_clipnorm = Some(norm);
                self
            }

            /// Clips every element of the gradients to this magnitude.
            pub fn clipvalue(mut self, value: f64) -> $name {
                self.options.clipvalue = Some(value);
                self
            }

            /// Keeps moving averages of the weights, which replace the weights at the end of training.
            pub fn use_ema(mut self, use_ema: bool) -> $name {
                self.options.use_ema = use_ema;
                self
            }

            /// How much of its old value an average keeps, 0.99 unless set.
            pub fn ema_momentum(mut self, momentum: f64) -> $name {
                self.options.ema_momentum = momentum;
                self
            }

            /// Replaces the weights by their averages every so many steps.
            pub fn ema_overwrite_frequency(mut self, steps: u32) -> $name {
                self.options.ema_overwrite_frequency = Some(steps);
                self
            }

            /// Updates once in so many steps, by the mean of their gradients.
            pub fn gradient_accumulation_steps(mut self, steps: u32) -> $name {
                self.options.gradient_accumulation_steps = Some(steps);
                self
            }
        }
    };
    // The methods of the trait that read the two fields.
    (in impl) => {
        fn learning_rate(&self) -> &$crate::model::schedule::LearningRate {
            &self.learning_rate
        }

        fn options(&self) -> &$crate::model::optimizer::Options {
            &self.options
        }
    };
}

pub(super) use common;
