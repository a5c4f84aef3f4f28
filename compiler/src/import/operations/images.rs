//! Images, with the channels last or first; a single image is one of three axes.

use super::elementwise::Built;
use super::{Call, Class};
use crate::ir::{DType, Dim, Graph, NodeId, Op, SliceAxis};
use crate::model::functions::{PadMode, Spatial};
use crate::model::{DataFormat, Padding, Resizing};

pub(super) const CLASSES: &[Class] = &[
    ("RGBToGrayscale", |c| {
        c.image(|g, x| {
            let dtype = g.ty(x).dtype;
            let x = if dtype.is_float() { x } else { g.cast(x, DType::F32) };
            let y = g.grey(x)?;
            Ok(g.cast(y, dtype))
        })
    }),
    ("RGBToHSV", |c| c.image(Graph::hue_of)),
    ("HSVToRGB", |c| c.image(Graph::colour_of)),
    ("Resize", |c| {
        let how: Resizing = c.resizing()?;
        c.image(|g, x| Ok(how.resized(g, x)))
    }),
    ("GaussianBlur", |c| {
        let size = c.extents("kernel_size", 2)?.unwrap_or(vec![3, 3]);
        let sigma: Vec<f64> = c.numbers(usize::MAX, "sigma")?.unwrap_or(vec![1.0, 1.0]);
        let [first, second] = sigma[..] else { return Err("`sigma` has two numbers".into()) };
        // Keras names columns first.
        c.image(|g, x| g.blurred(x, [size[1], size[0]], [second, first]))
    }),
    ("SobelEdges", |c| {
        if c.data_format()? != DataFormat::ChannelsLast {
            return Err("it is supported with the channels last".into());
        }
        c.image(Graph::sobel)
    }),
    ("SSIM", |c| {
        let value = |name: &str, default: f64| Ok::<f64, String>(c.value(usize::MAX, name)?.unwrap_or(default));
        let (max, sigma, k) =
            (value("max_val", 1.0)?, value("filter_sigma", 1.5)?, [value("k1", 0.01)?, value("k2", 0.03)?]);
        let size: usize = c.value(usize::MAX, "filter_size")?.unwrap_or(11);
        let (a, b) = (c.tensor(0, "image1")?, c.tensor(1, "image2")?);
        let (a, b) = (c.real(a), c.real(b));
        let format = c.data_format()?;
        if c.shape(a) != c.shape(b) || c.shape(a).rank() < 3 {
            return Err(format!("{} and {} are no pair of images", c.shape(a), c.shape(b)));
        }
        let (a, b) = (to_last(c.graph, a, format), to_last(c.graph, b, format));
        c.graph.similarity(a, b, max, size, sigma, k).map(|y| vec![y])
    }),
    ("ExtractPatches", |c| {
        let x = c.tensor(0, "images")?;
        let sizes: Vec<usize> = c.numbers(usize::MAX, "size")?.ok_or("`size` is missing")?;
        let rank = if sizes.len() == 3 { 3 } else { 2 };
        let size = c.extents("size", rank)?.unwrap_or_default();
        let padding: String = c.value(usize::MAX, "padding")?.unwrap_or_else(|| "valid".into());
        let how = Spatial {
            strides: c.extents("strides", rank)?.unwrap_or_else(|| size.clone()),
            dilation: c.extents("dilation_rate", rank)?.unwrap_or(vec![1; rank]),
            padding: if padding == "same" { Padding::Same } else { Padding::Valid },
            format: c.data_format()?,
            size,
        };
        let single = c.shape(x).rank() == rank + 1;
        let x = if single { c.graph.expand(x, 0) } else { x };
        let y = c.graph.patches(x, &how)?;
        Ok(vec![if single { c.graph.squeeze(y, 0) } else { y }])
    }),
    ("PadImages", |c| c.margins("padding", true)),
    ("CropImages", |c| c.margins("cropping", false)),
];

/// A batch of images, or one image, with the channels last.
fn to_last(g: &mut Graph, x: NodeId, format: DataFormat) -> NodeId {
    let rank = g.rank_of(x);
    if format == DataFormat::ChannelsLast {
        return x;
    }
    g.axis_to_last(x, rank - 3)
}

impl Call<'_> {
    /// A function of channels-last images.
    fn image(&mut self, f: impl FnOnce(&mut Graph, NodeId) -> Result<NodeId, String>) -> Built {
        let x = self.tensor(0, "images")?;
        let (rank, format) = (self.shape(x).rank(), self.data_format()?);
        if !(3..=4).contains(&rank) {
            return Err(format!("{} is neither an image nor a batch of them", self.shape(x)));
        }
        // What works on batches takes a single image as one of 1.
        let single = rank == 3;
        let x = if single { self.graph.expand(x, 0) } else { x };
        let x = to_last(self.graph, x, format);
        let y = f(self.graph, x)?;
        let y = match format {
            DataFormat::ChannelsLast => y,
            DataFormat::ChannelsFirst => self.graph.axis_from_last(y, 1),
        };
        Ok(vec![if single { self.graph.squeeze(y, 0) } else { y }])
    }

    /// The layer that does the same as `Resize`.
    fn resizing(&self) -> Result<Resizing, String> {
        let mut arguments = self.operation.config.clone();
        let size: Vec<usize> = self.numbers(usize::MAX, "size")?.ok_or("`size` is missing")?;
        let [height, width] = size[..] else { return Err("`size` has two numbers".into()) };
        if [height, width].iter().any(|n| !(1..=1 << 20).contains(n)) {
            return Err(format!("images of {height} by {width}"));
        }
        for name in ["size", "name", "data_format"] {
            arguments.remove(name);
        }
        arguments.insert("height".into(), height.into());
        arguments.insert("width".into(), width.into());
        serde_json::from_value(serde_json::Value::Object(arguments)).map_err(|why| why.to_string())
    }

    /// Rows and columns that are added around images or taken off, of which the size of the result tells those that are
    /// not named.
    fn margins(&mut self, what: &str, add: bool) -> Built {
        let x = self.tensor(0, "images")?;
        let (rank, format) = (self.shape(x).rank(), self.data_format()?);
        if !(3..=4).contains(&rank) {
            return Err(format!("{} is neither an image nor a batch of them", self.shape(x)));
        }
        let rows = if format == DataFormat::ChannelsLast { rank - 3 } else { rank - 2 };
        let mut edges = vec![(0, 0); rank];
        for (axis, low, high, target) in
            [(rows, "top", "bottom", "target_height"), (rows + 1, "left", "right", "target_width")]
        {
            let extent = self.graph.extent_of(x, axis)? as i64;
            let named = |side: &str| self.value::<i64>(usize::MAX, &format!("{side}_{what}"));
            let (low, high, target) = (named(low)?, named(high)?, self.value::<i64>(usize::MAX, target)?);
            let both =
                target.map(|target| if add { target.saturating_sub(extent) } else { extent.saturating_sub(target) });
            let (low, high) = match (low, high, both) {
                (Some(low), Some(high), _) => (low, high),
                (Some(low), None, Some(both)) => (low, both.saturating_sub(low)),
                (None, Some(high), Some(both)) => (both.saturating_sub(high), high),
                _ => return Err(format!("two of three say the {what} of axis {axis}")),
            };
            let size = |n: i64| usize::try_from(n).ok().filter(|n| *n <= 1 << 20);
            let ends = size(low).zip(size(high));
            edges[axis] = ends
                .filter(|(low, high)| add || low + high < extent as usize)
                .ok_or_else(|| format!("{low} and {high} are no {what} of {extent}"))?;
        }
        if add {
            return self.graph.padded(x, &edges, PadMode::Constant(0.0)).map(|y| vec![y]);
        }
        let shape = self.shape(x);
        let places = shape.iter().zip(&edges).map(|(&extent, &(low, high))| {
            let count = Dim { scale: extent.scale - low - high, ..extent };
            SliceAxis { start: low, step: 1, count }
        });
        let places = places.collect();
        Ok(vec![self.graph.push(Op::Slice(places), &[x])])
    }
}
