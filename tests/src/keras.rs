//! A fixture's model in the DSL.

use bakelite_compiler::prelude::*;

use crate::fixture::{Case, Config};

/// The model of a case, compiled for training with its loss, optimizer and metrics.
pub fn model(case: &Case) -> Result<Model, String> {
    let m = Model::new(identifier(&case.name));
    m.max_batch(case.batch);
    let mut x = m.input("x", case.item.clone(), F32);
    for config in &case.layers {
        x = layer(config, &x).ok_or_else(|| format!("no layer {config:?}"))?;
    }
    m.output(&x);
    let optimizer = optimizer(&case.optimizer).ok_or_else(|| format!("no optimizer {:?}", case.optimizer))?;
    let logits = case.loss.flag("from_logits").unwrap_or(false);
    let losses: Losses = match (case.loss.class.as_str(), logits) {
        ("MeanSquaredError", _) => MeanSquaredError.into(),
        ("BinaryCrossentropy", false) => BinaryCrossentropy::new().into(),
        ("BinaryCrossentropy", true) => BinaryCrossentropy::from_logits().into(),
        ("CategoricalCrossentropy", false) => CategoricalCrossentropy::new().into(),
        ("CategoricalCrossentropy", true) => CategoricalCrossentropy::from_logits().into(),
        ("SparseCategoricalCrossentropy", false) => SparseCategoricalCrossentropy::new().into(),
        ("SparseCategoricalCrossentropy", true) => SparseCategoricalCrossentropy::from_logits().into(),
        _ => return Err(format!("no loss {:?}", case.loss)),
    };
    let metrics: Metrics = match case.metrics.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => ().into(),
        ["accuracy"] => [Accuracy].into(),
        _ => return Err(format!("no metrics {:?}", case.metrics)),
    };
    m.compile(optimizer, losses, metrics);
    Ok(m)
}

fn identifier(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
}

fn layer(c: &Config, x: &Tensor) -> Option<Tensor> {
    let name = c.text("name")?;
    let bias = c.flag("use_bias").unwrap_or(true);
    let activation = match c.text("activation") {
        Some(name) => activation(name)?,
        None => Linear,
    };
    let penalty = |argument: &str| match c.config(argument) {
        Some(config) => Some(Some(regularizer(&config)?)),
        None => Some(None),
    };
    Some(match c.class.as_str() {
        "Dense" => {
            let mut layer = Dense::new(c.size("units")?).activation(activation).use_bias(bias).name(name);
            if let Some(r) = penalty("kernel_regularizer")? {
                layer = layer.kernel_regularizer(r);
            }
            if let Some(r) = penalty("bias_regularizer")? {
                layer = layer.bias_regularizer(r);
            }
            layer.apply(x)
        }
        "Activation" => activation.apply(x),
        "Flatten" => Flatten.apply(x),
        "Reshape" => {
            let target = c.arguments.get("target_shape")?.as_array()?;
            let target: Vec<isize> = target.iter().filter_map(|n| n.as_i64()).map(|n| n as isize).collect();
            Reshape::new(target).apply(x)
        }
        "Conv2D" => {
            let layer = Conv2D::new(c.size("filters")?, c.sizes("kernel_size")?)
                .strides(c.sizes("strides").unwrap_or((1, 1)))
                .dilation_rate(c.sizes("dilation_rate").unwrap_or((1, 1)));
            layer.padding(padding(c)?).activation(activation).use_bias(bias).name(name).apply(x)
        }
        "MaxPooling2D" => {
            let size = c.sizes("pool_size")?;
            MaxPooling2D::new(size).strides(c.sizes("strides").unwrap_or(size)).padding(padding(c)?).apply(x)
        }
        "BatchNormalization" => {
            let mut layer = BatchNormalization::new().name(name);
            if let Some(axis) = c.arguments.get("axis").and_then(|a| a.as_i64()) {
                layer = layer.axis(axis as isize);
            }
            if let Some(momentum) = c.float("momentum") {
                layer = layer.momentum(momentum);
            }
            if let Some(epsilon) = c.float("epsilon") {
                layer = layer.epsilon(epsilon);
            }
            layer.center(c.flag("center").unwrap_or(true)).scale(c.flag("scale").unwrap_or(true)).apply(x)
        }
        _ => return None,
    })
}

fn padding(c: &Config) -> Option<Padding> {
    match c.text("padding") {
        None | Some("valid") => Some(Valid),
        Some("same") => Some(Same),
        Some(_) => None,
    }
}

fn activation(name: &str) -> Option<Activation> {
    Some(match name {
        "linear" => Linear,
        "relu" => Relu,
        "tanh" => Tanh,
        "sigmoid" => Sigmoid,
        "softmax" => Softmax,
        "elu" => Elu(1.0),
        "selu" => Selu,
        "softplus" => Softplus,
        "softsign" => Softsign,
        "gelu" => Gelu,
        "silu" => Silu,
        "exponential" => Exponential,
        _ => return None,
    })
}

fn regularizer(c: &Config) -> Option<Regularizer> {
    Some(match c.class.as_str() {
        "L1" => L1(c.float("l1")?),
        "L2" => L2(c.float("l2")?),
        "L1L2" => L1L2 { l1: c.float("l1")?, l2: c.float("l2")? },
        _ => return None,
    })
}

fn optimizer(c: &Config) -> Option<Box<dyn Optimizer>> {
    let rate = c.float("learning_rate")?;
    Some(match c.class.as_str() {
        "SGD" => {
            let momentum = c.float("momentum").unwrap_or(0.0);
            Box::new(SGD::new(rate).momentum(momentum).nesterov(c.flag("nesterov").unwrap_or(false)))
        }
        "RMSprop" => Box::new(
            RMSprop::new(rate)
                .rho(c.float("rho").unwrap_or(0.9))
                .momentum(c.float("momentum").unwrap_or(0.0))
                .epsilon(c.float("epsilon").unwrap_or(1e-7))
                .centered(c.flag("centered").unwrap_or(false)),
        ),
        "Adam" => Box::new(
            Adam::new(rate)
                .beta_1(c.float("beta_1").unwrap_or(0.9))
                .beta_2(c.float("beta_2").unwrap_or(0.999))
                .epsilon(c.float("epsilon").unwrap_or(1e-7))
                .amsgrad(c.flag("amsgrad").unwrap_or(false)),
        ),
        _ => return None,
    })
}
