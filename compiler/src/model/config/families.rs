//! The classes of initializers, regularizers and constraints.

use serde_json::{Value, json};

use super::{Arguments, Family, Row, keras_family};
use crate::model::regularizer::Vectors;
use crate::model::{Constraint, Distribution, Fan, Initializer, Regularizer, Scaling, Window};

/// The part of a complex number.
#[derive(Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Real,
    Imag,
}

keras_family!(Initializer);

impl Family for Initializer {
    const MODULE: &'static str = "keras.initializers";
    const WHAT: &'static str = "initializer";
    const CLASSES: &'static [Row<Initializer>] = &[
        ("Zeros", |_| Initializer::Zeros),
        ("Ones", |_| Initializer::Ones),
        ("Constant", |a| Initializer::Constant(a.take("value", 0.0))),
        ("RandomUniform", |a| Initializer::RandomUniform {
            minval: a.take("minval", -0.05),
            maxval: a.take("maxval", 0.05),
        }),
        ("RandomNormal", |a| Initializer::RandomNormal { mean: a.take("mean", 0.0), stddev: a.take("stddev", 0.05) }),
        ("TruncatedNormal", |a| Initializer::TruncatedNormal {
            mean: a.take("mean", 0.0),
            stddev: a.take("stddev", 0.05),
        }),
        ("VarianceScaling", |a| Initializer::VarianceScaling {
            scale: a.take("scale", 1.0),
            mode: a.take("mode", Fan::In),
            distribution: a.take("distribution", Distribution::TruncatedNormal),
        }),
        ("GlorotUniform", |_| Initializer::GlorotUniform),
        ("GlorotNormal", |_| Initializer::GlorotNormal),
        ("HeUniform", |_| Initializer::HeUniform),
        ("HeNormal", |_| Initializer::HeNormal),
        ("LecunUniform", |_| Initializer::LecunUniform),
        ("LecunNormal", |_| Initializer::LecunNormal),
        ("Orthogonal", |a| Initializer::Orthogonal { gain: a.take("gain", 1.0) }),
        ("Identity", |a| Initializer::Identity { gain: a.take("gain", 1.0) }),
        ("STFT", |a| Initializer::STFT {
            imaginary: a.take("side", Side::Real) == Side::Imag,
            window: a.take("window", Some(Window::Hann)),
            scaling: a.take("scaling", Some(Scaling::Density)),
            periodic: a.take("periodic", false),
        }),
    ];
    const ALIASES: &'static [(&'static str, &'static str)] = &[
        ("zero", "Zeros"),
        ("one", "Ones"),
        ("uniform", "RandomUniform"),
        ("normal", "RandomNormal"),
        ("IdentityInitializer", "Identity"),
        ("OrthogonalInitializer", "Orthogonal"),
        ("STFTInitializer", "STFT"),
    ];

    fn write(&self) -> (&'static str, Value) {
        let none = json!({});
        match *self {
            Initializer::Zeros => ("Zeros", none),
            Initializer::Ones => ("Ones", none),
            Initializer::Constant(value) => ("Constant", json!({ "value": value })),
            Initializer::RandomUniform { minval, maxval } => {
                ("RandomUniform", json!({ "minval": minval, "maxval": maxval }))
            }
            Initializer::RandomNormal { mean, stddev } => ("RandomNormal", json!({ "mean": mean, "stddev": stddev })),
            Initializer::TruncatedNormal { mean, stddev } => {
                ("TruncatedNormal", json!({ "mean": mean, "stddev": stddev }))
            }
            Initializer::VarianceScaling { scale, mode, distribution } => {
                ("VarianceScaling", json!({ "scale": scale, "mode": mode, "distribution": distribution }))
            }
            Initializer::GlorotUniform => ("GlorotUniform", none),
            Initializer::GlorotNormal => ("GlorotNormal", none),
            Initializer::HeUniform => ("HeUniform", none),
            Initializer::HeNormal => ("HeNormal", none),
            Initializer::LecunUniform => ("LecunUniform", none),
            Initializer::LecunNormal => ("LecunNormal", none),
            Initializer::Orthogonal { gain } => ("Orthogonal", json!({ "gain": gain })),
            Initializer::Identity { gain } => ("Identity", json!({ "gain": gain })),
            Initializer::STFT { imaginary, window, scaling, periodic } => {
                let side = if imaginary { Side::Imag } else { Side::Real };
                ("STFT", json!({ "side": side, "window": window, "scaling": scaling, "periodic": periodic }))
            }
        }
    }
}

keras_family!(Regularizer);

impl Family for Regularizer {
    const MODULE: &'static str = "keras.regularizers";
    const WHAT: &'static str = "regularizer";
    const CLASSES: &'static [Row<Regularizer>] = &[
        ("L1", |a| Regularizer::L1(a.take("l1", 0.01))),
        ("L2", |a| Regularizer::L2(a.take("l2", 0.01))),
        ("L1L2", |a| Regularizer::L1L2 { l1: a.take("l1", 0.0), l2: a.take("l2", 0.0) }),
        ("OrthogonalRegularizer", |a| Regularizer::OrthogonalRegularizer {
            factor: a.take("factor", 0.01),
            mode: a.take("mode", Vectors::Rows),
        }),
    ];
    const ALIASES: &'static [(&'static str, &'static str)] = &[("l1_l2", "L1L2")];

    fn write(&self) -> (&'static str, Value) {
        match *self {
            Regularizer::L1(l1) => ("L1", json!({ "l1": l1 })),
            Regularizer::L2(l2) => ("L2", json!({ "l2": l2 })),
            Regularizer::L1L2 { l1, l2 } => ("L1L2", json!({ "l1": l1, "l2": l2 })),
            Regularizer::OrthogonalRegularizer { factor, mode } => {
                ("OrthogonalRegularizer", json!({ "factor": factor, "mode": mode }))
            }
        }
    }
}

keras_family!(Constraint);

/// The axis or axes that a norm runs over.
fn axes(a: &mut Arguments<'_>) -> Vec<isize> {
    a.take("axis", OneOrMore(vec![0])).0
}

/// A number, or a list of them.
struct OneOrMore(Vec<isize>);

impl<'de> serde::Deserialize<'de> for OneOrMore {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<OneOrMore, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged, expecting = "an axis or a list of axes")]
        enum Form {
            One(isize),
            More(Vec<isize>),
        }
        Ok(OneOrMore(match Form::deserialize(deserializer)? {
            Form::One(axis) => vec![axis],
            Form::More(axes) => axes,
        }))
    }
}

impl Family for Constraint {
    const MODULE: &'static str = "keras.constraints";
    const WHAT: &'static str = "constraint";
    const CLASSES: &'static [Row<Constraint>] = &[
        ("MaxNorm", |a| Constraint::MaxNorm { max_value: a.take("max_value", 2.0), axis: axes(a) }),
        ("NonNeg", |_| Constraint::NonNeg),
        ("UnitNorm", |a| Constraint::UnitNorm { axis: axes(a) }),
        ("MinMaxNorm", |a| Constraint::MinMaxNorm {
            min_value: a.take("min_value", 0.0),
            max_value: a.take("max_value", 1.0),
            rate: a.take("rate", 1.0),
            axis: axes(a),
        }),
    ];

    fn write(&self) -> (&'static str, Value) {
        let axis = |axes: &[isize]| if let [axis] = axes { json!(axis) } else { json!(axes) };
        match self {
            Constraint::MaxNorm { max_value, axis: a } => {
                ("MaxNorm", json!({ "max_value": max_value, "axis": axis(a) }))
            }
            Constraint::NonNeg => ("NonNeg", json!({})),
            Constraint::UnitNorm { axis: a } => ("UnitNorm", json!({ "axis": axis(a) })),
            Constraint::MinMaxNorm { min_value, max_value, rate, axis: a } => {
                ("MinMaxNorm", json!({ "min_value": min_value, "max_value": max_value, "rate": rate, "axis": axis(a) }))
            }
        }
    }
}
