//! Signals and their frequencies. A complex tensor is a pair of real ones.

use serde_json::Value;

use super::elementwise::Built;
use super::{Call, Class};
use crate::ir::{NodeId, Op, WindowAxis};
use crate::model::functions::{Frames, window_called};

pub(super) const CLASSES: &[Class] = &[
    ("FFT", |c| c.transforms(1, false)),
    ("FFT2", |c| c.transforms(2, false)),
    ("IFFT2", |c| c.transforms(2, true)),
    ("RFFT", |c| {
        let x = c.real_x()?;
        let length = c.length(x, 1)?;
        c.graph.real_fourier(x, length).map(|(re, im)| vec![re, im])
    }),
    ("IRFFT", |c| {
        let (re, im) = c.complex()?;
        let length = match c.value::<usize>(1, "fft_length")? {
            Some(length) => length,
            None => (c.length(re, usize::MAX)?.max(1) - 1) * 2,
        };
        c.graph.real_fourier_inverse((re, im), length).map(|y| vec![y])
    }),
    ("STFT", |c| {
        let x = c.real_x()?;
        let frames = c.frames()?;
        c.graph.short_time_fourier(x, &frames).map(|(re, im)| vec![re, im])
    }),
    ("ISTFT", |c| {
        let x = c.complex()?;
        let (frames, length) = (c.frames()?, c.value::<usize>(usize::MAX, "length")?);
        let factor = match c.plain(usize::MAX, "window")? {
            // Keras divides by the step where there is no window, and the transform multiplies by its length.
            None if c.has_no_window() => frames.length as f64 / frames.stride as f64,
            _ => 1.0,
        };
        c.graph.short_time_fourier_inverse(x, &frames, factor, length).map(|y| vec![y])
    }),
    ("ExtractSequences", |c| {
        let x = c.x()?;
        let size: usize = c.value(1, "sequence_length")?.ok_or("`sequence_length` is missing")?;
        let stride: usize = c.value(2, "sequence_stride")?.ok_or("`sequence_stride` is missing")?;
        let axis = c.shape(x).rank().checked_sub(1).ok_or("a scalar is no signal")?;
        let samples = c.graph.extent_of(x, axis)?;
        if size == 0 || stride == 0 || size > samples || stride > 1 << 20 {
            return Err(format!("sequences of {size}, {stride} apart, of {samples} samples"));
        }
        let axes = vec![WindowAxis { axis, size, stride, dilation: 1 }];
        Ok(vec![c.graph.push(Op::Window(axes), &[x])])
    }),
];

impl Call<'_> {
    /// Real and imaginary part.
    fn complex(&mut self) -> Result<(NodeId, NodeId), String> {
        let parts = self.list(0, "x")?;
        let [re, im] = parts[..] else { return Err("a complex tensor is a pair of real ones".into()) };
        let (re, im) = (self.real(re), self.real(im));
        match self.shape(re) == self.shape(im) {
            true => Ok((re, im)),
            false => Err(format!("the parts are {} and {}", self.shape(re), self.shape(im))),
        }
    }

    /// Transforms along the last axes.
    fn transforms(&mut self, axes: usize, inverse: bool) -> Built {
        let (mut re, mut im) = self.complex()?;
        let rank = self.shape(re).rank();
        for axis in (rank.checked_sub(axes).ok_or("it has too few axes")?..rank).rev() {
            (re, im) = self.graph.fourier_along((re, im), axis, inverse)?;
        }
        Ok(vec![re, im])
    }

    /// The argument `fft_length`, or the extent of the last axis.
    fn length(&mut self, x: NodeId, place: usize) -> Result<usize, String> {
        let axis = self.shape(x).rank().checked_sub(1).ok_or("a scalar is no signal")?;
        match self.value::<usize>(place, "fft_length")? {
            Some(length) if (1..=1 << 20).contains(&length) => Ok(length),
            Some(length) => Err(format!("a transform of {length} points")),
            None => self.graph.extent_of(x, axis),
        }
    }

    fn has_no_window(&self) -> bool {
        self.operation.config.contains_key("window")
    }

    fn frames(&self) -> Result<Frames, String> {
        let number = |name: &str| -> Result<usize, String> {
            self.value(usize::MAX, name)?.ok_or_else(|| format!("`{name}` is missing"))
        };
        let (size, stride, length) = (number("sequence_length")?, number("sequence_stride")?, number("fft_length")?);
        let window = match self.argument(usize::MAX, "window") {
            None => window_called("hann", size.min(1 << 20), true),
            Some(super::Argument::Plain(Value::Null)) => None,
            Some(super::Argument::Plain(Value::String(name))) => {
                let window = window_called(&name, size.min(1 << 20), true);
                Some(window.ok_or_else(|| format!("the window `{}`", name.escape_debug()))?)
            }
            Some(_) => {
                let window = self.constant(usize::MAX, "window")?.ok_or("`window` is no row of numbers")?;
                Some(window.values)
            }
        };
        let center: bool = self.value(usize::MAX, "center")?.unwrap_or(true);
        Frames::new(size, stride, length, window, center)
    }
}
