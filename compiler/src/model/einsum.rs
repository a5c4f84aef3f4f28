//! The dense layer of any number of axes.

use serde::{Deserialize, Serialize};

use super::CallCx;
use super::activation::Activation;
use super::affine::KernelAndBias;
use super::layer::{BuildCx, Layer, LayerDef, floats};
use super::lora::Lora;
use super::quantization::Quantization;
use super::setters::{has, setters};
use crate::diag::Problem;
use crate::ir::{DType, NodeId, TensorType};

/// `activation(einsum(equation, x, kernel) + bias)`: the equation names the axes of the input, the kernel and the result
/// by letters, and an ellipsis stands for any number of axes.
///
/// `EinsumDense::new("ab,bc->ac", 64)` is `Dense::new(64)` without bias; `.bias_axes("c")` adds it. On sequences that is
/// `EinsumDense::new("...x,xy->...y", 64)`. Letters that input, kernel and result share are taken one by one; those of
/// input and kernel that the result lacks are summed over.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct EinsumDense {
    equation: String,
    output_shape: OutputShape,
    activation: Activation,
    bias_axes: Option<String>,
    #[serde(flatten)]
    weights: KernelAndBias,
    #[serde(flatten)]
    lora: Lora,
    #[serde(flatten)]
    quantization: Quantization,
}

/// The extents of a result without the batch and what an ellipsis stands for; `None` is that of the input.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(from = "OneOrMany", into = "Vec<Option<usize>>")]
pub struct OutputShape(Vec<Option<usize>>);

#[derive(Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(usize),
    Many(Vec<Option<usize>>),
}

impl From<OneOrMany> for OutputShape {
    fn from(shape: OneOrMany) -> OutputShape {
        match shape {
            OneOrMany::One(extent) => OutputShape::from(extent),
            OneOrMany::Many(extents) => OutputShape(extents),
        }
    }
}

impl From<OutputShape> for Vec<Option<usize>> {
    fn from(shape: OutputShape) -> Vec<Option<usize>> {
        shape.0
    }
}

impl From<usize> for OutputShape {
    fn from(extent: usize) -> OutputShape {
        OutputShape(vec![Some(extent)])
    }
}

impl<const N: usize> From<[usize; N]> for OutputShape {
    fn from(extents: [usize; N]) -> OutputShape {
        OutputShape(extents.map(Some).to_vec())
    }
}

impl<const N: usize> From<[Option<usize>; N]> for OutputShape {
    fn from(extents: [Option<usize>; N]) -> OutputShape {
        OutputShape(extents.to_vec())
    }
}

impl Default for EinsumDense {
    fn default() -> EinsumDense {
        EinsumDense {
            equation: String::new(),
            output_shape: OutputShape::default(),
            activation: Activation::Linear,
            bias_axes: None,
            weights: KernelAndBias::default(),
            lora: Lora::default(),
            quantization: Quantization::default(),
        }
    }
}

impl EinsumDense {
    /// With an equation and the extents of the result without the batch and what an ellipsis stands for; `None` where
    /// the extent is that of the input.
    pub fn new(equation: impl Into<String>, output_shape: impl Into<OutputShape>) -> Layer<EinsumDense> {
        let (equation, output_shape) = (equation.into(), output_shape.into());
        Layer::new(EinsumDense { equation, output_shape, ..EinsumDense::default() })
    }
}

has!(EinsumDense => weights: KernelAndBias);
has!(EinsumDense => lora: Lora);
has!(EinsumDense => quantization: Quantization);

impl Layer<EinsumDense> {
    setters! {
        activation: Activation;
        /// The letters of the result that have a bias; without them there is none.
        bias_axes: some into String;
    }
}

/// An axis of an equation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Axis {
    Letter(char),
    /// One of those that an ellipsis stands for.
    Elided(usize),
}

/// The axes of an equation.
struct Equation {
    input: Vec<Axis>,
    kernel: Vec<Axis>,
    output: Vec<Axis>,
}

/// The parts of an equation without its ellipses, which stand on one side of input and result.
struct Parts<'a> {
    input: &'a str,
    kernel: &'a str,
    output: &'a str,
    elided: Option<Side>,
}

#[derive(Clone, Copy, PartialEq)]
enum Side {
    Left,
    Right,
}

impl<'a> Parts<'a> {
    fn read(equation: &'a str) -> Option<Parts<'a>> {
        let (operands, output) = equation.split_once("->")?;
        let (input, kernel) = operands.split_once(',')?;
        let (input, output, elided) = match (input.strip_prefix("..."), output.strip_prefix("...")) {
            (Some(input), Some(output)) => (input, output, Some(Side::Left)),
            _ => match (input.strip_suffix("..."), output.strip_suffix("...")) {
                (Some(input), Some(output)) => (input, output, Some(Side::Right)),
                _ => (input, output, None),
            },
        };
        let distinct = |part: &str| {
            let letters = part.chars().all(|c| c.is_ascii_alphabetic());
            letters && !part.is_empty() && part.char_indices().all(|(i, c)| !part[..i].contains(c))
        };
        [input, kernel, output].into_iter().all(distinct).then_some(Parts { input, kernel, output, elided })
    }
}

impl Equation {
    /// The equation for inputs of a rank.
    fn of(equation: &str, rank: usize) -> Result<Equation, Problem> {
        let Some(Parts { input, kernel, output, elided }) = Parts::read(equation) else {
            let message = format!("EinsumDense with equation `{}`", equation.escape_debug());
            return Err(Problem::value(message).help(
                "it looks like `ab,bc->ac`, `...ab,bc->...ac` or `ab...,bc->ac...`, with each letter once in a part",
            ));
        };
        let missing = rank.checked_sub(input.len()).filter(|n| *n == 0 || elided.is_some());
        let Some(missing) = missing else {
            let axes = input.len();
            let message = format!("EinsumDense with equation `{equation}` takes {axes} axes, its input has {rank}");
            return Err(Problem::shape(message).help("an ellipsis stands for further axes: `...ab,bc->...ac`"));
        };
        let axes = |letters: &str, elided: Option<Side>| {
            let (letters, dots) = (letters.chars().map(Axis::Letter), (0..missing).map(Axis::Elided));
            match elided {
                None => letters.collect::<Vec<_>>(),
                Some(Side::Left) => dots.chain(letters).collect(),
                Some(Side::Right) => letters.chain(dots).collect(),
            }
        };
        Ok(Equation { input: axes(input, elided), kernel: axes(kernel, None), output: axes(output, elided) })
    }
}

/// The extents of kernel, result and bias.
struct Extents {
    kernel: Vec<usize>,
    output: Vec<usize>,
    bias: Option<Vec<usize>>,
}

impl EinsumDense {
    /// What an equation and the extents of an item make of each other.
    fn extents(&self, axes: &Equation, item: &[usize]) -> Result<Extents, Problem> {
        let fail = |what: String| Problem::value(format!("EinsumDense with equation `{}`: {what}", self.equation));
        let name = |axis: Axis| match axis {
            Axis::Letter(c) => format!("`{c}`"),
            Axis::Elided(i) => format!("axis {i} of the ellipsis"),
        };
        let Some((batch, first)) = axes.input.first().zip(axes.output.first()) else {
            return Err(fail("it names no axes".into()));
        };
        if batch != first || axes.kernel.contains(batch) {
            let message =
                format!("{} is the batch, which comes first in the result and is none of the kernel", name(*batch));
            return Err(fail(message));
        }
        let of_input = |axis: &Axis| Some(item[axes.input.iter().position(|a| a == axis)?.checked_sub(1)?]);
        let mut given = self.output_shape.0.iter();
        let mut output = Vec::new();
        for axis in &axes.output[1..] {
            let wanted = match axis {
                Axis::Elided(_) => None,
                Axis::Letter(_) => given.next().copied().ok_or_else(|| {
                    fail(format!("output_shape has no extent for {}", name(*axis)))
                        .help("it has one for each letter of the result but the batch")
                })?,
            };
            output.push(match (wanted, of_input(axis)) {
                (Some(0), _) => return Err(fail(format!("output_shape is 0 for {}", name(*axis)))),
                (Some(n), Some(m)) if n != m => {
                    return Err(fail(format!("{} is {m} in the input and {n} in output_shape", name(*axis))));
                }
                (Some(n), _) | (None, Some(n)) => n,
                (None, None) => {
                    return Err(fail(format!(
                        "output_shape leaves {} open, which is no axis of the input",
                        name(*axis)
                    )));
                }
            });
        }
        if given.next().is_some() {
            return Err(fail("output_shape has more extents than the result has letters besides the batch".into()));
        }
        let of_output = |axis: &Axis| Some(output[axes.output.iter().position(|a| a == axis)?.checked_sub(1)?]);
        let nowhere = |axis: &&Axis| !axes.input.contains(*axis) && !axes.kernel.contains(*axis);
        if let Some(axis) = axes.output.iter().find(nowhere) {
            return Err(fail(format!("{} is an axis of neither input nor kernel", name(*axis))));
        }
        let extent = |axis: &Axis| of_output(axis).or(of_input(axis));
        let alone = |axis: &Axis| fail(format!("{} is an axis of the kernel only", name(*axis)));
        let kernel: Vec<usize> =
            axes.kernel.iter().map(|axis| extent(axis).ok_or_else(|| alone(axis))).collect::<Result<_, _>>()?;
        let bias = self.bias_axes.as_ref().map(|letters| {
            let biased: Vec<Axis> = letters.chars().map(Axis::Letter).collect();
            if let Some(axis) = biased.iter().find(|axis| of_output(axis).is_none()) {
                return Err(fail(format!(
                    "bias_axes names {}, which is no axis of an item of the result",
                    name(*axis)
                )));
            }
            let first = axes.output.iter().position(|axis| biased.contains(axis)).unwrap_or(axes.output.len());
            let extent = |axis: &Axis| if biased.contains(axis) { of_output(axis).unwrap_or(1) } else { 1 };
            Ok(axes.output[first..].iter().map(extent).collect())
        });
        Ok(Extents { kernel, bias: bias.transpose()?, output })
    }
}

impl LayerDef for EinsumDense {
    fn kind(&self) -> &'static str {
        "EinsumDense"
    }

    fn operands(&self, given: &[TensorType]) -> Vec<DType> {
        floats(given)
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.float()?;
        self.activation.check(cx)?;
        let item = cx.any_item()?;
        let axes = Equation::of(&self.equation, item.len() + 1)?;
        let Extents { kernel, output, bias } = self.extents(&axes, &item)?;
        output.last().map_or(Ok(()), |&features| self.activation.check_features(features))?;
        let fan = |result: bool| {
            let chosen = axes.kernel.iter().zip(&kernel).filter(|(axis, _)| axes.output.contains(axis) == result);
            chosen.fold(1usize, |n, (_, extent)| n.saturating_mul(*extent))
        };
        let (fan_in, fan_out) = (fan(false), fan(true));
        // One factor for each result of the kernel, where the axes of the result are.
        let of_kernel = axes.output.iter().zip(std::iter::once(&1).chain(&output));
        let scale = of_kernel.map(|(axis, n)| if axes.kernel.contains(axis) { *n } else { 1 }).collect();
        let kernel = self.weights.kernel_with_fans("kernel", kernel, fan_in, fan_out);
        cx.weight(self.quantization.kernel(self.lora.kernel(kernel.clone())))?;
        if let Some(shape) = bias {
            cx.weight(self.weights.bias("bias", shape))?;
        }
        self.lora.declare(cx, &kernel)?;
        self.quantization.declare(cx, "kernel", scale, &self.lora)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let rank = cx.ty(x[0]).shape.rank();
        let Equation { input, kernel, output } =
            Equation::of(&self.equation, rank).unwrap_or_else(|p| cx.fault(p.message));
        let places = |axes: &[Axis]| -> Vec<usize> {
            axes.iter().filter_map(|axis| output.iter().position(|place| place == axis)).collect()
        };
        let summed: Vec<usize> = (0..rank).filter(|&i| !output.contains(&input[i])).collect();
        let of_inputs = places(&input);
        let (x, scale) = self.quantization.inputs(cx, x[0], &summed);
        // Axes of the input alone are summed over first.
        let lost = |axis: &Axis| !kernel.contains(axis) && !output.contains(axis);
        let alone: Vec<usize> = (0..rank).filter(|&i| lost(&input[i])).collect();
        let x = cx.sum(x, &alone);
        let input: Vec<Axis> = input.iter().copied().filter(|axis| !lost(axis)).collect();
        let pairs = |kept: bool| -> Vec<(usize, usize)> {
            let shared = input.iter().enumerate().filter(|(_, axis)| output.contains(axis) == kept);
            shared.filter_map(|(i, axis)| Some((i, kernel.iter().position(|k| k == axis)?))).collect()
        };
        let (batch, sum) = (pairs(true), pairs(false));
        let weight = self.lora.weight(cx, "kernel");
        let y = cx.contract(x, weight, &batch, &sum);
        // Shared axes, then those of the input, then those of the kernel: see `Op::Contract`.
        let own = |axes: &[Axis], others: &[Axis]| -> Vec<Axis> {
            axes.iter().copied().filter(|axis| output.contains(axis) && !others.contains(axis)).collect()
        };
        let shared: Vec<Axis> = batch.iter().map(|(i, _)| input[*i]).collect();
        let found = [shared, own(&input, &kernel), own(&kernel, &input)].concat();
        let order: Vec<usize> = output.iter().filter_map(|axis| found.iter().position(|a| a == axis)).collect();
        let y = cx.permute(y, &order);
        let mut of_kernel = places(&kernel);
        of_kernel.sort_unstable();
        let y = self.quantization.results(cx, y, (scale, &of_inputs), ("kernel", &of_kernel));
        let y = cx.add_bias(y, "bias");
        vec![self.activation.on(cx, y)]
    }
}
