//! Convolutions.

use super::CallCx;
use super::activation::Activation;
use super::initializer::Initializer;
use super::layer::{BuildCx, Layer, LayerDef, Weight};
use super::regularizer::Regularizer;
use super::window::{Padding, Pair, Windows};
use crate::diag::Problem;
use crate::ir::{Dim, NodeId, Shape};

/// `activation(windows(x) . kernel + bias)`: items `[rows, columns, channels]` become `[rows, columns, filters]`. The
/// kernel is `[rows, columns, channels / groups, filters]`.
#[derive(Clone, PartialEq, Debug)]
pub struct Conv2D {
    filters: usize,
    windows: Windows,
    groups: usize,
    activation: Activation,
    use_bias: bool,
    kernel_initializer: Initializer,
    bias_initializer: Initializer,
    kernel_regularizer: Option<Regularizer>,
    bias_regularizer: Option<Regularizer>,
}

impl Conv2D {
    pub fn new(filters: usize, kernel_size: impl Into<Pair>) -> Layer<Conv2D> {
        let size = kernel_size.into().0.to_vec();
        Layer::new(Conv2D {
            filters,
            windows: Windows { size, strides: vec![1; 2], dilation: vec![1; 2], padding: Padding::Valid },
            groups: 1,
            activation: Activation::Linear,
            use_bias: true,
            kernel_initializer: Initializer::GlorotUniform,
            bias_initializer: Initializer::Zeros,
            kernel_regularizer: None,
            bias_regularizer: None,
        })
    }
}

impl Layer<Conv2D> {
    pub fn strides(self, strides: impl Into<Pair>) -> Layer<Conv2D> {
        self.with(|c| c.windows.strides = strides.into().0.to_vec())
    }

    pub fn padding(self, padding: Padding) -> Layer<Conv2D> {
        self.with(|c| c.windows.padding = padding)
    }

    pub fn dilation_rate(self, rate: impl Into<Pair>) -> Layer<Conv2D> {
        self.with(|c| c.windows.dilation = rate.into().0.to_vec())
    }

    /// Splits channels and filters into groups that do not see each other.
    pub fn groups(self, groups: usize) -> Layer<Conv2D> {
        self.with(|c| c.groups = groups)
    }

    pub fn activation(self, activation: Activation) -> Layer<Conv2D> {
        self.with(|c| c.activation = activation)
    }

    pub fn use_bias(self, use_bias: bool) -> Layer<Conv2D> {
        self.with(|c| c.use_bias = use_bias)
    }

    pub fn kernel_initializer(self, initializer: Initializer) -> Layer<Conv2D> {
        self.with(|c| c.kernel_initializer = initializer)
    }

    pub fn bias_initializer(self, initializer: Initializer) -> Layer<Conv2D> {
        self.with(|c| c.bias_initializer = initializer)
    }

    pub fn kernel_regularizer(self, regularizer: Regularizer) -> Layer<Conv2D> {
        self.with(|c| c.kernel_regularizer = Some(regularizer))
    }

    pub fn bias_regularizer(self, regularizer: Regularizer) -> Layer<Conv2D> {
        self.with(|c| c.bias_regularizer = Some(regularizer))
    }
}

impl LayerDef for Conv2D {
    fn kind(&self) -> &'static str {
        "Conv2D"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("filters", self.filters)?;
        cx.positive("groups", self.groups)?;
        let item = cx.item(3, "rows, columns, channels")?;
        let channels = item[2];
        self.windows.check(self.kind(), "kernel_size", cx, &item[..2])?;
        self.activation.check(cx)?;
        let groups = self.groups;
        for (what, count) in [("channels of its input", channels), ("filters", self.filters)] {
            if count % groups != 0 {
                return Err(Problem::value(format!("Conv2D with groups {groups} does not divide the {count} {what}")));
            }
        }
        let [rows, columns] = self.windows.size[..] else {
            return Err(Problem::value("Conv2D has two spatial axes"));
        };
        let shape = [rows, columns, channels / groups, self.filters];
        let kernel = Weight::new("kernel", shape, self.kernel_initializer);
        cx.weight(kernel.regularizer(self.kernel_regularizer))?;
        if self.use_bias {
            let bias = Weight::new("bias", [self.filters], self.bias_initializer);
            cx.weight(bias.regularizer(self.bias_regularizer))?;
        }
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let kernel = cx.weight("kernel");
        let windows = self.windows.over(cx, x[0], 0.0);
        let mut y = match self.groups {
            1 => cx.contract(windows, kernel, &[], &[(4, 0), (5, 1), (3, 2)]),
            groups => grouped(cx, windows, kernel, groups),
        };
        if let Some(bias) = cx.optional_weight("bias") {
            let bias = cx.broadcast_like(bias, y);
            y = cx.add(y, bias);
        }
        vec![self.activation.on(cx, y)]
    }
}

/// Contracts windows `[batch, rows, columns, channels, kr, kc]` with the kernel group by group.
fn grouped(cx: &mut CallCx<'_>, windows: NodeId, kernel: NodeId, groups: usize) -> NodeId {
    let split = |shape: &Shape, axis: usize| {
        let mut dims = shape.0.clone();
        dims[axis] = Dim::fixed(shape[axis].scale / groups);
        dims.insert(axis, Dim::fixed(groups));
        Shape(dims)
    };
    let (left, right) = (split(&cx.ty(windows).shape, 3), split(&cx.ty(kernel).shape, 3));
    let windows = cx.reshape(windows, left);
    let kernel = cx.reshape(kernel, right);
    // [group, batch, rows, columns, filters / groups]
    let y = cx.contract(windows, kernel, &[(3, 3)], &[(5, 0), (6, 1), (4, 2)]);
    let y = cx.permute(y, &[1, 2, 3, 0, 4]);
    let mut dims = cx.ty(y).shape.0.clone();
    dims[3] = Dim::fixed(groups * dims[4].scale);
    dims.pop();
    cx.reshape(y, Shape(dims))
}
