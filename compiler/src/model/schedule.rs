//! Learning rates: numbers, and Keras's schedules as graph over the number of steps so far.

use std::f64::consts::PI;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use super::config::{self, Object};
use super::numbers::{finite, not_negative, positive};
use super::setters::{With, setters};
use crate::diag::Problem;
use crate::ir::{Graph, NodeId};

/// The learning rate of an optimizer.
#[derive(Clone, PartialEq, Debug)]
pub enum LearningRate {
    /// A number, which callbacks may change.
    Constant(f64),
    /// A function of the steps so far.
    Schedule(Schedule),
}

impl LearningRate {
    pub(crate) fn check(&self, kind: &str) -> Result<(), Problem> {
        match self {
            LearningRate::Constant(rate) => not_negative(kind, "learning_rate", *rate),
            LearningRate::Schedule(schedule) => schedule.check(),
        }
    }
}

impl From<f64> for LearningRate {
    fn from(rate: f64) -> LearningRate {
        LearningRate::Constant(rate)
    }
}

impl Serialize for LearningRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            LearningRate::Constant(rate) => rate.serialize(serializer),
            LearningRate::Schedule(schedule) => schedule.object().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for LearningRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<LearningRate, D::Error> {
        let value = Value::deserialize(deserializer)?;
        match value.as_f64() {
            Some(rate) => Ok(LearningRate::Constant(rate)),
            None => Schedule::read(&value).map(LearningRate::Schedule).map_err(serde::de::Error::custom),
        }
    }
}

/// Every schedule: its struct, its class, how it is read, checked and evaluated.
macro_rules! schedules {
    ($($name:ident),+) => {
        /// A learning rate that depends on the steps so far.
        #[derive(Clone, PartialEq, Debug)]
        pub enum Schedule {
            $($name($name)),+
        }

        impl Schedule {
            /// Keras's classes.
            pub(crate) const CLASSES: &[&str] = &[$(stringify!($name)),+];

            fn check(&self) -> Result<(), Problem> {
                match self {
                    $(Schedule::$name(schedule) => schedule.check()),+
                }
            }

            /// The rate after a number of steps; both are `f32` scalars.
            pub(crate) fn at(&self, g: &mut Graph, step: NodeId) -> NodeId {
                match self {
                    $(Schedule::$name(schedule) => schedule.at(g, step)),+
                }
            }

            /// Keras's serialised object.
            fn object(&self) -> Value {
                let (class, form) = match self {
                    $(Schedule::$name(schedule) => (stringify!($name), config::write(schedule))),+
                };
                config::object("keras.optimizers.schedules", class, form)
            }

            /// Reads a serialised object.
            fn read(value: &Value) -> Result<Schedule, String> {
                let Object { class, config } = Object::parse(value)?;
                let schedule = match class.as_str() {
                    $(stringify!($name) => config::read::<$name>(&class, &config).map(Schedule::$name),)+
                    _ => return Err(format!("no learning rate schedule is called `{}`", class.escape_debug())),
                };
                schedule.map_err(|problems| {
                    let messages: Vec<String> = problems.into_iter().map(|p| p.message).collect();
                    messages.join("; ")
                })
            }
        }

        $(
            impl From<$name> for LearningRate {
                fn from(schedule: $name) -> LearningRate {
                    LearningRate::Schedule(Schedule::$name(schedule))
                }
            }
        )+
    };
}

schedules! {
    CosineDecay, CosineDecayRestarts, ExponentialDecay, InverseTimeDecay, PiecewiseConstantDecay, PolynomialDecay
}

/// Serialises whole numbers as integers: Keras's counts of steps.
fn whole<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    match x.fract() == 0.0 && x.abs() < 2f64.powi(53) {
        true => (*x as i64).serialize(serializer),
        false => x.serialize(serializer),
    }
}

/// `initial_learning_rate * decay_rate^(step / decay_steps)`
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ExponentialDecay {
    initial_learning_rate: f64,
    #[serde(serialize_with = "whole")]
    decay_steps: f64,
    decay_rate: f64,
    staircase: bool,
}

impl ExponentialDecay {
    pub fn new(initial_learning_rate: f64, decay_steps: impl Into<f64>, decay_rate: f64) -> ExponentialDecay {
        ExponentialDecay { initial_learning_rate, decay_steps: decay_steps.into(), decay_rate, staircase: false }
    }

    fn check(&self) -> Result<(), Problem> {
        let kind = "ExponentialDecay";
        not_negative(kind, "initial_learning_rate", self.initial_learning_rate)?;
        not_negative(kind, "decay_rate", self.decay_rate)?;
        positive(kind, "decay_steps", self.decay_steps)
    }

    fn at(&self, g: &mut Graph, step: NodeId) -> NodeId {
        let p = progress(g, step, self.decay_steps, self.staircase);
        let base = g.lit_like(p, self.decay_rate);
        let power = g.pow(base, p);
        g.mul_s(power, self.initial_learning_rate)
    }
}

impl ExponentialDecay {
    setters! {
        /// Whether the rate changes only after every `decay_steps` steps.
        staircase: bool;
    }
}

/// `initial_learning_rate / (1 + decay_rate * step / decay_steps)`
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct InverseTimeDecay {
    initial_learning_rate: f64,
    #[serde(serialize_with = "whole")]
    decay_steps: f64,
    decay_rate: f64,
    staircase: bool,
}

impl InverseTimeDecay {
    pub fn new(initial_learning_rate: f64, decay_steps: impl Into<f64>, decay_rate: f64) -> InverseTimeDecay {
        InverseTimeDecay { initial_learning_rate, decay_steps: decay_steps.into(), decay_rate, staircase: false }
    }

    fn check(&self) -> Result<(), Problem> {
        let kind = "InverseTimeDecay";
        not_negative(kind, "initial_learning_rate", self.initial_learning_rate)?;
        not_negative(kind, "decay_rate", self.decay_rate)?;
        positive(kind, "decay_steps", self.decay_steps)
    }

    fn at(&self, g: &mut Graph, step: NodeId) -> NodeId {
        let p = progress(g, step, self.decay_steps, self.staircase);
        let grown = g.mul_s(p, self.decay_rate);
        let divisor = g.add_s(grown, 1.0);
        let rate = g.lit_like(divisor, self.initial_learning_rate);
        g.div(rate, divisor)
    }
}

impl InverseTimeDecay {
    setters! {
        /// Whether the rate changes only after every `decay_steps` steps.
        staircase: bool;
    }
}

/// `step / decay_steps`, perhaps in whole stairs.
fn progress(g: &mut Graph, step: NodeId, decay_steps: f64, staircase: bool) -> NodeId {
    let steps = g.lit_like(step, decay_steps);
    let p = g.div(step, steps);
    if staircase { g.floor(p) } else { p }
}

/// `values[0]` up to step `boundaries[0]`, then `values[1]` up to `boundaries[1]`, and so on.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct PiecewiseConstantDecay {
    boundaries: Vec<u32>,
    values: Vec<f64>,
}

impl PiecewiseConstantDecay {
    /// There is one value more than boundaries.
    pub fn new(boundaries: impl Into<Vec<u32>>, values: impl Into<Vec<f64>>) -> PiecewiseConstantDecay {
        PiecewiseConstantDecay { boundaries: boundaries.into(), values: values.into() }
    }

    fn check(&self) -> Result<(), Problem> {
        let kind = "PiecewiseConstantDecay";
        if self.values.len() != self.boundaries.len() + 1 {
            let (b, v) = (self.boundaries.len(), self.values.len());
            return Err(Problem::value(format!("{kind} with {b} boundaries and {v} values: needs one value more")));
        }
        if !self.boundaries.is_sorted() {
            return Err(Problem::value(format!("{kind} with boundaries {:?}: must not decrease", self.boundaries)));
        }
        self.values.iter().try_for_each(|&v| not_negative(kind, "a value", v))
    }

    fn at(&self, g: &mut Graph, step: NodeId) -> NodeId {
        let (last, rest) = match self.values.split_last() {
            Some((last, rest)) => (*last, rest),
            None => (0.0, &[][..]),
        };
        let mut rate = g.lit_like(step, last);
        for (&boundary, &value) in self.boundaries.iter().zip(rest).rev() {
            let boundary = g.lit_like(step, boundary as f64);
            let before = g.le(step, boundary);
            let value = g.lit_like(step, value);
            rate = g.select(before, value, rate);
        }
        rate
    }
}

impl Default for PiecewiseConstantDecay {
    fn default() -> PiecewiseConstantDecay {
        PiecewiseConstantDecay { boundaries: vec![], values: vec![0.0] }
    }
}

/// From `initial_learning_rate` to `end_learning_rate` in `decay_steps` steps, along a power of what is left.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct PolynomialDecay {
    initial_learning_rate: f64,
    #[serde(serialize_with = "whole")]
    decay_steps: f64,
    end_learning_rate: f64,
    power: f64,
    cycle: bool,
}

impl PolynomialDecay {
    pub fn new(initial_learning_rate: f64, decay_steps: impl Into<f64>) -> PolynomialDecay {
        PolynomialDecay { initial_learning_rate, decay_steps: decay_steps.into(), ..PolynomialDecay::default() }
    }

    fn check(&self) -> Result<(), Problem> {
        let kind = "PolynomialDecay";
        not_negative(kind, "initial_learning_rate", self.initial_learning_rate)?;
        not_negative(kind, "end_learning_rate", self.end_learning_rate)?;
        finite(kind, "power", self.power)?;
        positive(kind, "decay_steps", self.decay_steps)
    }

    fn at(&self, g: &mut Graph, step: NodeId) -> NodeId {
        let mut steps = g.lit_like(step, self.decay_steps);
        let mut now = step;
        if self.cycle {
            let cycles = g.div(step, steps);
            let cycles = g.ceil(cycles);
            let cycles = g.max_s(cycles, 1.0);
            steps = g.mul(steps, cycles);
        } else {
            now = g.min(step, steps);
        }
        let p = g.div(now, steps);
        let left = g.s_sub(1.0, p);
        let power = g.lit_like(left, self.power);
        let left = g.pow(left, power);
        let scaled = g.mul_s(left, self.initial_learning_rate - self.end_learning_rate);
        g.add_s(scaled, self.end_learning_rate)
    }
}

impl Default for PolynomialDecay {
    fn default() -> PolynomialDecay {
        PolynomialDecay {
            initial_learning_rate: 0.0,
            decay_steps: 0.0,
            end_learning_rate: 0.0001,
            power: 1.0,
            cycle: false,
        }
    }
}

impl PolynomialDecay {
    setters! {
        /// Where the rate ends, 0.0001 unless set.
        end_learning_rate: f64;
        /// The power, 1 (a line) unless set.
        power: f64;
        /// Whether the decay begins anew where it has ended, each time longer.
        cycle: bool;
    }
}

/// Half a wave of a cosine down to `alpha` times the rate, perhaps after a line up to it.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CosineDecay {
    initial_learning_rate: f64,
    #[serde(serialize_with = "whole")]
    decay_steps: f64,
    alpha: f64,
    warmup_target: Option<f64>,
    #[serde(serialize_with = "whole")]
    warmup_steps: f64,
}

impl CosineDecay {
    pub fn new(initial_learning_rate: f64, decay_steps: impl Into<f64>) -> CosineDecay {
        CosineDecay { initial_learning_rate, decay_steps: decay_steps.into(), ..CosineDecay::default() }
    }

    /// Begins with a line from the initial rate up to another, in some steps.
    pub fn warmup(mut self, target: f64, steps: impl Into<f64>) -> CosineDecay {
        self.warmup_target = Some(target);
        self.warmup_steps = steps.into();
        self
    }

    fn check(&self) -> Result<(), Problem> {
        let kind = "CosineDecay";
        not_negative(kind, "initial_learning_rate", self.initial_learning_rate)?;
        not_negative(kind, "warmup_target", self.warmup_target.unwrap_or(0.0))?;
        not_negative(kind, "warmup_steps", self.warmup_steps)?;
        finite(kind, "alpha", self.alpha)?;
        positive(kind, "decay_steps", self.decay_steps)
    }

    /// The decay from a rate, after some steps of it.
    fn decayed(&self, g: &mut Graph, step: NodeId, from: f64) -> NodeId {
        let share = g.mul_s(step, PI / self.decay_steps);
        let wave = half_wave(g, share);
        let scaled = g.mul_s(wave, 1.0 - self.alpha);
        let rate = g.add_s(scaled, self.alpha);
        g.mul_s(rate, from)
    }

    fn at(&self, g: &mut Graph, step: NodeId) -> NodeId {
        let Some(target) = self.warmup_target else {
            let step = g.min_s(step, self.decay_steps);
            return self.decayed(g, step, self.initial_learning_rate);
        };
        let step = g.min_s(step, self.decay_steps + self.warmup_steps);
        let after = g.add_s(step, -self.warmup_steps);
        let decayed = self.decayed(g, after, target);
        if self.warmup_steps == 0.0 {
            return decayed;
        }
        let line = g.mul_s(step, (target - self.initial_learning_rate) / self.warmup_steps);
        let line = g.add_s(line, self.initial_learning_rate);
        let warmup = g.lit_like(step, self.warmup_steps);
        let before = g.lt(step, warmup);
        g.select(before, line, decayed)
    }
}

impl CosineDecay {
    setters! {
        /// The share of the rate that is left in the end.
        alpha: f64;
    }
}

/// `(1 + cos(x)) / 2`
fn half_wave(g: &mut Graph, x: NodeId) -> NodeId {
    let wave = g.cos(x);
    let half = g.mul_s(wave, 0.5);
    g.add_s(half, 0.5)
}

/// Cosine decays one after the other, each `t_mul` times as long and `m_mul` times as high as the last.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct CosineDecayRestarts {
    initial_learning_rate: f64,
    #[serde(serialize_with = "whole")]
    first_decay_steps: f64,
    t_mul: f64,
    m_mul: f64,
    alpha: f64,
}

impl CosineDecayRestarts {
    pub fn new(initial_learning_rate: f64, first_decay_steps: impl Into<f64>) -> CosineDecayRestarts {
        let first_decay_steps = first_decay_steps.into();
        CosineDecayRestarts { initial_learning_rate, first_decay_steps, ..CosineDecayRestarts::default() }
    }

    fn check(&self) -> Result<(), Problem> {
        let kind = "CosineDecayRestarts";
        not_negative(kind, "initial_learning_rate", self.initial_learning_rate)?;
        not_negative(kind, "m_mul", self.m_mul)?;
        finite(kind, "alpha", self.alpha)?;
        if !(self.t_mul >= 1.0 && self.t_mul.is_finite()) {
            return Err(Problem::value(format!("{kind} with t_mul {}: must be at least 1", self.t_mul)));
        }
        positive(kind, "first_decay_steps", self.first_decay_steps)
    }

    fn at(&self, g: &mut Graph, step: NodeId) -> NodeId {
        let done = progress(g, step, self.first_decay_steps, false);
        let (restarts, share) = if self.t_mul == 1.0 {
            let restarts = g.floor(done);
            (restarts, g.sub(done, restarts))
        } else {
            // The lengths so far are a geometric series.
            let grown = g.mul_s(done, self.t_mul - 1.0);
            let grown = g.add_s(grown, 1.0);
            let log = g.log(grown);
            let base = g.scalar(crate::ir::DType::F32, self.t_mul);
            let base_log = g.log(base);
            let restarts = g.div(log, base_log);
            let restarts = g.floor(restarts);
            let base = g.lit_like(restarts, self.t_mul);
            let length = g.pow(base, restarts);
            let before = g.add_s(length, -1.0);
            let before = g.mul_s(before, 1.0 / (self.t_mul - 1.0));
            let done = g.sub(done, before);
            (restarts, g.div(done, length))
        };
        let base = g.lit_like(restarts, self.m_mul);
        let height = g.pow(base, restarts);
        let share = g.mul_s(share, PI);
        let wave = half_wave(g, share);
        let wave = g.mul(height, wave);
        let scaled = g.mul_s(wave, 1.0 - self.alpha);
        let rate = g.add_s(scaled, self.alpha);
        g.mul_s(rate, self.initial_learning_rate)
    }
}

impl Default for CosineDecayRestarts {
    fn default() -> CosineDecayRestarts {
        CosineDecayRestarts { initial_learning_rate: 0.0, first_decay_steps: 0.0, t_mul: 2.0, m_mul: 1.0, alpha: 0.0 }
    }
}

impl CosineDecayRestarts {
    setters! {
        /// How many times as long each decay is as the last.
        t_mul: f64;
        /// How many times as high each decay begins as the last.
        m_mul: f64;
        /// The share of the rate that is left in the end.
        alpha: f64;
    }
}
