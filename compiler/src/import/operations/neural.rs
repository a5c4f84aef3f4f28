//! Layers as functions: convolutions, pooling, normalisation, losses, attention.

use super::elementwise::Built;
use super::{Call, Class};
use crate::ir::{DType, Dim, NodeId, Shape};
use crate::model::functions::Spatial;
use crate::model::{CategoricalCrossentropy, DataFormat, Loss, Padding, binary_values, unit};

pub(super) const CLASSES: &[Class] = &[
    ("Conv", |c| {
        let (x, kernel, how) = c.convolution("kernel")?;
        c.graph.convolution(x, kernel, &how).map(|y| vec![y])
    }),
    ("DepthwiseConv", |c| {
        let (x, kernel, how) = c.convolution("kernel")?;
        c.graph.depthwise_convolution(x, kernel, &how).map(|y| vec![y])
    }),
    ("SeparableConv", |c| {
        let (x, kernel, how) = c.convolution("depthwise_kernel")?;
        let y = c.graph.depthwise_convolution(x, kernel, &how)?;
        let points = c.tensor(2, "pointwise_kernel")?;
        let points = c.real(points);
        let one = vec![1; how.size.len()];
        let how = Spatial { size: one.clone(), strides: one, padding: Padding::Valid, ..how };
        c.graph.convolution(y, points, &how).map(|y| vec![y])
    }),
    ("ConvTranspose", |c| {
        let (x, kernel, how) = c.convolution("kernel")?;
        let extra: Option<Vec<usize>> = c.numbers(4, "output_padding")?;
        let extra = extra.map(|extra| if extra.len() == 1 { vec![extra[0]; how.size.len()] } else { extra });
        let wrong = |extra: &Vec<usize>| {
            extra.len() != how.size.len() || extra.iter().zip(&how.strides).any(|(extra, stride)| extra >= stride)
        };
        if let Some(extra) = extra.as_ref().filter(|extra| wrong(extra)) {
            return Err(format!("`output_padding` is {extra:?} and `strides` is {:?}", how.strides));
        }
        c.graph.transposed_convolution(x, kernel, extra.as_deref(), &how).map(|y| vec![y])
    }),
    ("MaxPool", |c| {
        let (x, how) = c.pooling()?;
        c.graph.pooled(x, true, &how).map(|y| vec![y])
    }),
    ("AveragePool", |c| {
        let (x, how) = c.pooling()?;
        c.graph.pooled(x, false, &how).map(|y| vec![y])
    }),
    ("AdaptiveMaxPool", |c| c.adaptive(true)),
    ("AdaptiveAveragePool", |c| c.adaptive(false)),
    ("BatchNorm", |c| c.batch_norm()),
    ("LayerNorm", |c| c.layer_norm()),
    ("RMSNorm", |c| {
        let x = c.real_x()?;
        let (axes, shape) = (c.norm_axes(2)?, c.shape(x));
        let square = c.graph.square(x);
        let mean = c.graph.mean(square, &axes);
        let scale = c.inverse_root(mean, &axes, &shape, EPSILON)?;
        let y = c.graph.mul(x, scale);
        c.scaled_by(y, "scale", 1, None)
    }),
    ("Normalize", |c| {
        let x = c.real_x()?;
        let (axes, shape) = (c.norm_axes(usize::MAX)?, c.shape(x));
        let order: f64 = c.value(usize::MAX, "order")?.unwrap_or(2.0);
        let epsilon: f64 = c.value(usize::MAX, "epsilon")?.unwrap_or(EPSILON);
        if order == 2.0 {
            return Ok(vec![unit(c.graph, x, &axes, epsilon)]);
        }
        if axes.len() != 1 || order < 1.0 {
            return Err("another order than 2 is supported along one axis".into());
        }
        let norm = c.graph.vector_norm(x, order, &axes);
        let norm = c.graph.max_s(norm, epsilon);
        let norm = c.graph.unreduce(norm, &axes, &shape);
        Ok(vec![c.graph.div(x, norm)])
    }),
    ("BinaryCrossentropy", |c| {
        let (target, output) = c.target_and_output()?;
        let from_logits = c.flag(2, "from_logits")?;
        Ok(vec![binary_values(c.graph, target, output, from_logits)])
    }),
    ("CategoricalCrossentropy", |c| {
        let (target, output) = c.target_and_output()?;
        c.crossentropy(target, output)
    }),
    ("SparseCategoricalCrossentropy", |c| {
        let (mut target, output) = (c.tensor(0, "target")?, c.tensor(1, "output")?);
        let output = c.real(output);
        let rank = c.shape(output).rank();
        if c.shape(target).rank() == rank && c.shape(target).last() == Some(&Dim::ONE) {
            target = c.graph.squeeze(target, rank - 1);
        }
        let axis = c.axis_at(3, "axis", -1, rank)?;
        let classes = c.graph.extent_of(output, axis)?;
        if c.shape(target).rank() + 1 != rank {
            return Err(format!("labels {} for {}", c.shape(target), c.shape(output)));
        }
        let dtype = c.ty(output).dtype;
        let target = c.graph.one_hot(target, classes, axis, dtype);
        c.crossentropy(target, output)
    }),
    ("PSNR", |c| {
        let max = c.number(2, "max_val")?;
        let [a, b] = c.pair([(0, "x1"), (1, "x2")], true)?;
        let apart = c.graph.sub(a, b);
        let square = c.graph.square(apart);
        let axes: Vec<usize> = (0..c.shape(square).rank()).collect();
        let mean = c.graph.mean(square, &axes);
        let log = c.graph.log(mean);
        let noise = c.graph.mul_s(log, -10.0 * std::f64::consts::LOG10_E);
        Ok(vec![c.graph.add_s(noise, 20.0 * max.log10())])
    }),
    ("DotProductAttention", |c| c.attention()),
    ("Unfold", |c| {
        let x = c.x()?;
        let (how, [top, left]) = c.blocks()?;
        let x = c.graph.padded(x, &[(0, 0), (0, 0), (top, top), (left, left)], PAD)?;
        let [batch, channels] = [c.shape(x)[0], c.shape(x)[1]];
        let y = c.graph.unfolded(x, &how)?;
        // [batch, channels, window..., positions...]
        let shape = c.shape(y);
        let inner = channels.scale * shape[2].scale * shape[3].scale;
        let positions = shape[4].scale * shape[5].scale;
        Ok(vec![c.graph.reshape(y, Shape(vec![batch, Dim::fixed(inner), Dim::fixed(positions)]))])
    }),
    ("Fold", |c| {
        let x = c.x()?;
        let (how, [top, left]) = c.blocks()?;
        let size: Vec<usize> = c.numbers(1, "output_size")?.ok_or("`output_size` is missing")?;
        let [rows, columns] = two(&size).ok_or("`output_size` is one number or two")?;
        c.graph.folded(x, &how, [rows, columns], [top, left]).map(|y| vec![y])
    }),
    ("DepthToSpace", |c| c.blocked(true)),
    ("SpaceToDepth", |c| c.blocked(false)),
];

const PAD: crate::model::functions::PadMode = crate::model::functions::PadMode::Constant(0.0);

/// Keras's `backend.epsilon()`.
const EPSILON: f64 = 1e-7;

fn two(list: &[usize]) -> Option<[usize; 2]> {
    match list {
        [both] => Some([*both, *both]),
        [a, b] => Some([*a, *b]),
        _ => None,
    }
}

impl Call<'_> {
    /// The layout of images that the argument `data_format` names.
    pub(super) fn data_format(&self) -> Result<DataFormat, String> {
        let name: Option<String> = self.value(usize::MAX, "data_format")?;
        match name.as_deref() {
            None | Some("channels_last") => Ok(DataFormat::ChannelsLast),
            Some("channels_first") => Ok(DataFormat::ChannelsFirst),
            Some(other) => Err(format!("`data_format` is `{}`", other.escape_debug())),
        }
    }

    fn padding(&self) -> Result<Padding, String> {
        let name: Option<String> = self.value(usize::MAX, "padding")?;
        match name.map(|name| name.to_lowercase()).as_deref() {
            None | Some("valid") => Ok(Padding::Valid),
            Some("same") => Ok(Padding::Same),
            Some(other) => Err(format!("`padding` is `{}`", other.escape_debug())),
        }
    }

    /// One number for each spatial axis.
    pub(super) fn extents(&self, name: &str, rank: usize) -> Result<Option<Vec<usize>>, String> {
        let Some(mut list) = self.numbers::<usize>(usize::MAX, name)? else { return Ok(None) };
        if list.len() == 1 {
            list = vec![list[0]; rank];
        }
        match list.len() == rank {
            true => Ok(Some(list)),
            false => Err(format!("`{name}` has {} numbers for {rank} axes", list.len())),
        }
    }

    /// The number of spatial axes of a batch of items with channels.
    pub(super) fn spatial_rank(&self, x: NodeId) -> Result<usize, String> {
        let shape = self.shape(x);
        let rank = shape.rank().checked_sub(2).filter(|rank| (1..=3).contains(rank));
        rank.ok_or_else(|| format!("{shape} has no spatial axes between the batch and the channels"))
    }

    /// Items, a kernel, and how its windows lie.
    fn convolution(&mut self, kernel: &str) -> Result<(NodeId, NodeId, Spatial), String> {
        let (x, kernel) = (self.tensor(0, "inputs")?, self.tensor(1, kernel)?);
        let (x, kernel) = (self.real(x), self.real(kernel));
        let rank = self.spatial_rank(x)?;
        let shape = self.shape(kernel);
        let size = shape.as_fixed().filter(|extents| extents.len() == rank + 2);
        let size = size.ok_or_else(|| format!("a kernel {shape} for {rank} spatial axes"))?;
        let how = Spatial {
            size: size[..rank].to_vec(),
            strides: self.extents("strides", rank)?.unwrap_or(vec![1; rank]),
            dilation: self.extents("dilation_rate", rank)?.unwrap_or(vec![1; rank]),
            padding: self.padding()?,
            format: self.data_format()?,
        };
        Ok((x, kernel, how))
    }

    fn pooling(&mut self) -> Result<(NodeId, Spatial), String> {
        let x = self.tensor(0, "inputs")?;
        let x = self.real(x);
        let rank = self.spatial_rank(x)?;
        let size = self.extents("pool_size", rank)?.ok_or("`pool_size` is missing")?;
        let strides = self.extents("strides", rank)?.unwrap_or_else(|| size.clone());
        let (padding, format) = (self.padding()?, self.data_format()?);
        Ok((x, Spatial { size, strides, dilation: vec![1; rank], padding, format }))
    }

    fn adaptive(&mut self, largest: bool) -> Built {
        let x = self.tensor(0, "inputs")?;
        let x = self.real(x);
        let rank = self.spatial_rank(x)?;
        let size = self.extents("output_size", rank)?.ok_or("`output_size` is missing")?;
        let format = self.data_format()?;
        self.graph.pooled_to(x, &size, largest, format).map(|y| vec![y])
    }

    /// The axes of a normalisation, by default the last, in order.
    fn norm_axes(&mut self, place: usize) -> Result<Vec<usize>, String> {
        let x = self.x()?;
        let rank = self.shape(x).rank();
        let axes: Vec<i64> = self.numbers(place, "axis")?.unwrap_or_else(|| vec![-1]);
        let mut axes = axes.iter().map(|&axis| self.axis(axis, rank)).collect::<Result<Vec<_>, _>>()?;
        axes.sort_unstable();
        axes.dedup();
        Ok(axes)
    }

    /// `1 / sqrt(x + epsilon)`, spread over the axes that a reduction took.
    fn inverse_root(&mut self, x: NodeId, axes: &[usize], shape: &Shape, default: f64) -> Result<NodeId, String> {
        let epsilon: f64 = self.value(usize::MAX, "epsilon")?.unwrap_or(default);
        let sum = self.graph.add_s(x, epsilon);
        let root = self.graph.rsqrt(sum);
        Ok(self.graph.unreduce(root, axes, shape))
    }

    /// A tensor times an optional factor, which belongs to some axes or is stretched to the whole.
    fn scaled_by(&mut self, y: NodeId, name: &str, place: usize, axes: Option<&[usize]>) -> Built {
        match self.beside(y, name, place, axes)? {
            Some(factor) => Ok(vec![self.graph.mul(y, factor)]),
            None => Ok(vec![y]),
        }
    }

    /// An optional tensor in the shape of another.
    fn beside(
        &mut self,
        y: NodeId,
        name: &str,
        place: usize,
        axes: Option<&[usize]>,
    ) -> Result<Option<NodeId>, String> {
        let Some(factor) = self.optional(place, name)? else { return Ok(None) };
        let factor = self.real(factor);
        let shape = self.shape(y);
        Ok(Some(match axes {
            Some(axes) if axes.len() == self.shape(factor).rank() => self.graph.broadcast(factor, axes, shape),
            _ => self.graph.broadcast_to(factor, &shape),
        }))
    }

    fn batch_norm(&mut self) -> Built {
        let x = self.real_x()?;
        let shape = self.shape(x);
        let axis = self.axis_at(usize::MAX, "axis", -1, shape.rank())?;
        let mut part = |place: usize, name: &str| self.beside(x, name, place, Some(&[axis]));
        let mean = part(1, "mean")?.ok_or("`mean` is missing")?;
        let variance = part(2, "variance")?.ok_or("`variance` is missing")?;
        let (offset, scale) = (part(3, "offset")?, part(4, "scale")?);
        let factor = self.inverse_root(variance, &[], &shape, 1e-3)?;
        let factor = scale.map_or(factor, |scale| self.graph.mul(factor, scale));
        let apart = self.graph.sub(x, mean);
        let y = self.graph.mul(apart, factor);
        Ok(vec![offset.map_or(y, |offset| self.graph.add(y, offset))])
    }

    fn layer_norm(&mut self) -> Built {
        let x = self.real_x()?;
        let (axes, shape) = (self.norm_axes(usize::MAX)?, self.shape(x));
        let (mean, variance) = self.graph.mean_and_variance(x, &axes);
        let factor = self.inverse_root(variance, &axes, &shape, EPSILON)?;
        if self.flag(usize::MAX, "rms_scaling")? {
            let y = self.graph.mul(x, factor);
            return self.scaled_by(y, "gamma", 1, Some(&axes));
        }
        let mean = self.graph.unreduce(mean, &axes, &shape);
        let apart = self.graph.sub(x, mean);
        let y = self.graph.mul(apart, factor);
        let y = self.scaled_by(y, "gamma", 1, Some(&axes))?[0];
        let beta = self.beside(y, "beta", 2, Some(&axes))?;
        Ok(vec![beta.map_or(y, |beta| self.graph.add(y, beta))])
    }

    fn target_and_output(&mut self) -> Result<(NodeId, NodeId), String> {
        let [target, output] = self.pair([(0, "target"), (1, "output")], true)?;
        match self.shape(target) == self.shape(output) {
            true => Ok((target, output)),
            false => Err(format!("the target is {} and the output {}", self.shape(target), self.shape(output))),
        }
    }

    fn crossentropy(&mut self, target: NodeId, output: NodeId) -> Built {
        let axis = self.axis_at(3, "axis", -1, self.shape(output).rank())?;
        let loss = match self.flag(2, "from_logits")? {
            true => CategoricalCrossentropy::from_logits(),
            false => CategoricalCrossentropy::new(),
        };
        Ok(vec![loss.axis(axis as isize).values(self.graph, target, output)])
    }

    /// Attention of queries `[batch, steps, heads, features]` to keys and values, of which groups of heads may share one.
    fn attention(&mut self) -> Built {
        let names = ["query", "key", "value"];
        let mut parts = Vec::new();
        for (place, name) in names.iter().enumerate() {
            let x = self.tensor(place, name)?;
            parts.push(self.real(x));
        }
        let (query, shape, keys) = (parts[0], self.shape(parts[0]), self.shape(parts[1]));
        if shape.rank() != 4 || keys.rank() != 4 || self.shape(parts[2]).rank() != 4 {
            return Err("queries, keys and values are [batch, steps, heads, features]".into());
        }
        if self.plain(usize::MAX, "attn_logits_soft_cap")?.is_some() {
            return Err("`attn_logits_soft_cap` is not supported".into());
        }
        let (heads, shared) = (shape[2].scale, keys[2].scale);
        if shared == 0 || !heads.is_multiple_of(shared) {
            return Err(format!("{heads} heads share {shared}"));
        }
        for part in &mut parts[1..] {
            *part = self.graph.repeated(*part, heads / shared, 2)?;
        }
        let scale: f64 = self.value(5, "scale")?.unwrap_or(1.0 / (shape[3].scale as f64).sqrt());
        let scores = self.graph.einsum("btnh,bsnh->bnts", &[query, parts[1]])?;
        let mut scores = self.graph.mul_s(scores, scale);
        let wide = self.shape(scores);
        if let Some(bias) = self.optional(3, "bias")? {
            let bias = self.real(bias);
            let bias = self.over_heads(bias, &wide)?;
            scores = self.graph.add(scores, bias);
        }
        let lowest = self.graph.lit_like(scores, -0.7 * f32::MAX as f64);
        if let Some(mask) = self.optional(4, "mask")? {
            let mask = self.graph.cast(mask, DType::Bool);
            let mask = self.over_heads(mask, &wide)?;
            scores = self.graph.select(mask, scores, lowest);
        }
        if self.flag(usize::MAX, "is_causal")? {
            let (step, other) = (self.graph.iota(2, DType::I32, wide.clone()), self.graph.iota(3, DType::I32, wide));
            let past = self.graph.le(other, step);
            scores = self.graph.select(past, scores, lowest);
        }
        let weights = self.graph.softmax(scores, 3);
        self.graph.einsum("bnts,bsnh->btnh", &[weights, parts[2]]).map(|y| vec![y])
    }

    /// A bias or mask in the shape of the scores `[batch, heads, steps, other steps]`: axes that it lacks come before the
    /// last two, but three are `[batch, heads, other steps]` where the second is as long as the heads.
    fn over_heads(&mut self, x: NodeId, wide: &Shape) -> Result<NodeId, String> {
        let mut x = x;
        while self.shape(x).rank() < 4 {
            let axis = if self.shape(x).rank() == 3 && self.shape(x)[1] == wide[1] { 2 } else { 1 };
            if self.shape(x).rank() < 2 {
                return Err(format!("{} is no mask of {wide}", self.shape(x)));
            }
            x = self.graph.expand(x, axis);
        }
        Ok(self.graph.broadcast_to(x, wide))
    }

    /// The windows of `Unfold` and `Fold`, which have the channels first, and the padding of rows and columns.
    fn blocks(&self) -> Result<(Spatial, [usize; 2]), String> {
        let mut pairs = [[0; 2]; 4];
        for (pair, (name, default)) in
            pairs.iter_mut().zip([("kernel_size", 0), ("dilation", 1), ("padding", 0), ("stride", 1)])
        {
            let list: Vec<usize> = self.numbers(usize::MAX, name)?.unwrap_or(vec![default]);
            *pair = two(&list)
                .filter(|pair| pair.iter().all(|n| *n < 1 << 20))
                .ok_or_else(|| format!("`{name}` is {list:?}"))?;
        }
        let [size, dilation, padding, strides] = pairs.map(|pair| pair.to_vec());
        let how = Spatial { size, strides, dilation, padding: Padding::Valid, format: DataFormat::ChannelsFirst };
        Ok((how, [padding[0], padding[1]]))
    }

    fn blocked(&mut self, apart: bool) -> Built {
        let x = self.x()?;
        let block: usize = self.value(1, "block_size")?.ok_or("`block_size` is missing")?;
        let block =
            Some(block).filter(|n| (1..=1 << 10).contains(n)).ok_or_else(|| format!("`block_size` is {block}"))?;
        match self.data_format()? {
            DataFormat::ChannelsLast if apart => self.graph.depth_to_space(x, block).map(|y| vec![y]),
            DataFormat::ChannelsLast => self.graph.space_to_depth(x, block).map(|y| vec![y]),
            DataFormat::ChannelsFirst => Err("it is supported with the channels last".into()),
        }
    }
}
