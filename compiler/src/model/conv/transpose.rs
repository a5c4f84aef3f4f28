//! The transposed convolution.

use serde::{Deserialize, Serialize};

use super::{ConvArguments, convolution};
use crate::diag::Problem;
use crate::ir::{Dim, Graph, NodeId, Op, Shape, SliceAxis, WindowAxis};
use crate::model::activation::Activation;
use crate::model::affine::KernelAndBias;
use crate::model::call::CallCx;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::setters::{has, setters};
use crate::model::window::{Extents, Padding, Windows, axis_name, check_size, ranked};

/// The transpose of a convolution, as its gradient is: every element adds a multiple of the kernel to the result, at
/// places that are `strides` apart. Items `[spatial..., channels]` become `[larger..., filters]`. The kernel is
/// `[window..., filters, channels]`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default = "ConvTranspose::default")]
pub struct ConvTranspose<const N: usize> {
    filters: usize,
    #[serde(flatten)]
    conv: ConvArguments<N>,
    output_padding: Option<Extents<N>>,
    activation: Activation,
    use_bias: bool,
    #[serde(flatten)]
    weights: KernelAndBias,
}

/// A transposed convolution of sequences.
pub type Conv1DTranspose = ConvTranspose<1>;
/// A transposed convolution of images.
pub type Conv2DTranspose = ConvTranspose<2>;
/// A transposed convolution of volumes.
pub type Conv3DTranspose = ConvTranspose<3>;

impl<const N: usize> Default for ConvTranspose<N> {
    fn default() -> ConvTranspose<N> {
        ConvTranspose {
            filters: 0,
            conv: ConvArguments::default(),
            output_padding: None,
            activation: Activation::Linear,
            use_bias: true,
            weights: KernelAndBias::default(),
        }
    }
}

impl<const N: usize> ConvTranspose<N> {
    pub fn new(filters: usize, kernel_size: impl Into<Extents<N>>) -> Layer<ConvTranspose<N>> {
        Layer::new(ConvTranspose { filters, conv: ConvArguments::new(kernel_size), ..ConvTranspose::default() })
    }

    /// What becomes of each spatial axis.
    fn results(&self, extents: &[usize]) -> Vec<Landing> {
        landings(self.conv.windows(), self.output_padding.as_ref().map(|p| &p.0[..]), extents)
    }
}

/// Where the windows of one axis land: the result is a part of everything that they cover.
struct Landing {
    /// What they cover, and places behind it that no window reaches.
    extent: usize,
    /// The part that is the result.
    start: usize,
    count: usize,
}

impl Landing {
    /// Keras's arithmetic. Without `output_padding`, valid padding keeps all that the windows cover and at least a whole
    /// stride of each position; same padding keeps `stride` places for each position. With it, the result is longer by
    /// as many places than the least that valid padding keeps, or than `(positions - 1) * stride` and, where a window
    /// spans an odd number of places, one. Same padding cuts both ends, the first one less where the cut is odd, and
    /// never reaches in front of the first window.
    fn new(w: &WindowAxis, positions: usize, padding: Padding, output_padding: Option<usize>) -> Landing {
        let (span, reach) = (w.span(), (positions - 1) * w.stride);
        let covered = reach + span;
        let (start, count) = match (padding, output_padding) {
            (Padding::Same, None) => {
                let both = w.stride + span - 2;
                ((span - 1) - both.div_ceil(2).min(span - 1), reach + w.stride)
            }
            (Padding::Same, Some(extra)) => {
                let both = (span + span % 2 + extra).saturating_sub(2);
                ((span - 1) - both.div_ceil(2).min(span - 1), reach + span % 2 + extra)
            }
            (_, None) => (0, reach + span.max(w.stride)),
            (_, Some(extra)) => (0, covered + extra),
        };
        Landing { extent: covered.max(start + count), start, count }
    }
}

convolution!(ConvTranspose => conv);
has!(const N: usize; ConvTranspose<N> => weights: KernelAndBias);

impl<const N: usize> Layer<ConvTranspose<N>> {
    setters! {
        /// How much longer the result is along each axis than it must be; less than the strides.
        output_padding: some into Extents<N>;
        activation: Activation;
        use_bias: bool;
    }
}

impl<const N: usize> LayerDef for ConvTranspose<N> {
    fn kind(&self) -> &'static str {
        ranked::<N>(["Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"])
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("filters", self.filters)?;
        let item = self.conv.data_format.item(cx, N)?;
        self.conv.windows().check_arguments(cx, "kernel_size")?;
        self.conv.windows().strided_or_dilated(cx)?;
        self.activation.check(cx)?;
        for (&extra, &stride) in self.output_padding.iter().flat_map(|p| p.0.iter().zip(&self.conv.strides.0)) {
            check_size(cx, "output_padding", extra)?;
            if extra >= stride {
                let message = format!("{} with output_padding {extra} and strides {stride}", self.kind());
                return Err(Problem::value(message).help("the output padding must be less than the stride"));
            }
        }
        if let Some(axis) = self.results(&item[..N]).iter().position(|r| r.count == 0) {
            let message = format!("{} has no {} left in its result", self.kind(), axis_name(axis, N));
            return Err(Problem::shape(message).help("give it more output_padding, or leave that out"));
        }
        let extents: Vec<usize> = self.results(&item[..N]).iter().map(|r| r.count).collect();
        self.activation.check_features(self.conv.data_format.last(&extents, self.filters))?;
        let shape = self.conv.kernel([self.filters, item[N]]);
        cx.weight(self.weights.kernel("kernel", shape))?;
        if self.use_bias {
            cx.weight(self.weights.bias("bias", [self.filters]))?;
        }
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let x = self.conv.data_format.to_last(cx, x[0]);
        let kernel = cx.weight("kernel");
        let output_padding = self.output_padding.as_ref().map(|p| &p.0[..]);
        let y = transposed(cx, self.conv.windows(), output_padding, x, kernel).unwrap_or_else(|why| cx.fault(why));
        vec![super::finish(cx, self.conv.data_format, y, &self.activation)]
    }
}

/// Adds a multiple of a kernel `[window..., filters, channels]` for every element of channels-last items. Fails where
/// nothing is left of the result.
pub(in crate::model) fn transposed(
    g: &mut Graph,
    windows: Windows<'_>,
    output_padding: Option<&[usize]>,
    x: NodeId,
    kernel: NodeId,
) -> Result<NodeId, String> {
    let n = windows.size.len();
    // [batch, positions..., window..., filters]
    let y = g.contract(x, kernel, &[], &[(n + 1, n + 1)]);
    let order: Vec<usize> = (0..n + 1).chain([2 * n + 1]).chain(n + 1..2 * n + 1).collect();
    let y = g.permute(y, &order);
    let mut dims = g.ty(y).shape.0[..n + 2].to_vec();
    let extents: Vec<usize> = dims[1..=n].iter().map(|d| d.scale).collect();
    let results = landings(windows, output_padding, &extents);
    if results.iter().any(|r| r.count == 0) {
        return Err("nothing is left of its result".into());
    }
    let mut slice: Vec<SliceAxis> = dims.iter().map(|&count| SliceAxis { start: 0, step: 1, count }).collect();
    for (axis, r) in results.iter().enumerate() {
        dims[axis + 1] = Dim::fixed(r.extent);
        slice[axis + 1] = SliceAxis { start: r.start, step: 1, count: Dim::fixed(r.count) };
    }
    let whole = results.iter().all(|r| r.count == r.extent);
    let y = g.push(Op::Fold { axes: windows.axes(1), shape: Shape(dims) }, &[y]);
    Ok(if whole { y } else { g.push(Op::Slice(slice), &[y]) })
}

/// What becomes of each spatial axis.
fn landings(windows: Windows<'_>, output_padding: Option<&[usize]>, extents: &[usize]) -> Vec<Landing> {
    let axes = windows.axes(0).into_iter().zip(extents).enumerate();
    axes.map(|(i, (w, &extent))| Landing::new(&w, extent, windows.padding, output_padding.map(|p| p[i]))).collect()
}
