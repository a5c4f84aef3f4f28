//! The spectrogram whose transform is a convolution with weights.

use serde::{Deserialize, Serialize};

use crate::diag::{Code, Problem};
use crate::ir::{Dim, NodeId, Shape};
use crate::model::call::CallCx;
use crate::model::conv::convolve;
use crate::model::functions::window_called;
use crate::model::initializer::Initializer;
use crate::model::layer::{BuildCx, Layer, LayerDef, Weight};
use crate::model::setters::setters;
use crate::model::window::{DataFormat, Padding, Windows};

/// What the samples of a frame are multiplied by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Window {
    Hann,
    Hamming,
}

impl Window {
    pub(crate) fn values(self, length: usize, periodic: bool) -> Vec<f64> {
        let name = if self == Window::Hann { "hann" } else { "hamming" };
        window_called(name, length, periodic).unwrap_or_default()
    }
}

/// What a window is divided by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scaling {
    /// The root of the sum of its squares.
    Density,
    /// The sum of its absolute values.
    Spectrum,
}

/// What a spectrogram shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SpectrogramMode {
    /// The logarithm of the magnitude.
    #[default]
    Log,
    Magnitude,
    /// The power, twice that of every frequency but the first and the last.
    Psd,
    Real,
    Imag,
    Angle,
    /// Real and imaginary parts, one behind the other.
    Stft,
}

/// The spectra of overlapping frames of a signal. Items `[samples, channels]` become `[frames, channels * frequencies]`.
/// The transform is a convolution whose kernels begin as sines and cosines and are trained.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct STFTSpectrogram {
    mode: SpectrogramMode,
    frame_length: usize,
    frame_step: Option<usize>,
    fft_length: Option<usize>,
    window: Option<Window>,
    periodic: bool,
    scaling: Option<Scaling>,
    padding: Padding,
    expand_dims: bool,
    data_format: DataFormat,
}

impl Default for STFTSpectrogram {
    fn default() -> STFTSpectrogram {
        STFTSpectrogram {
            mode: SpectrogramMode::Log,
            frame_length: 256,
            frame_step: None,
            fft_length: None,
            window: Some(Window::Hann),
            periodic: false,
            scaling: Some(Scaling::Density),
            padding: Padding::Valid,
            expand_dims: false,
            data_format: DataFormat::ChannelsLast,
        }
    }
}

impl STFTSpectrogram {
    /// Of frames of so many samples.
    pub fn new(frame_length: usize) -> Layer<STFTSpectrogram> {
        Layer::new(STFTSpectrogram { frame_length, ..STFTSpectrogram::default() })
    }

    fn step(&self) -> usize {
        self.frame_step.unwrap_or(self.frame_length / 2)
    }

    /// The number of frequencies.
    fn bins(&self) -> usize {
        self.fft_length.unwrap_or_else(|| self.frame_length.next_power_of_two()) / 2 + 1
    }

    fn initializer(&self, imaginary: bool) -> Initializer {
        Initializer::STFT { imaginary, window: self.window, scaling: self.scaling, periodic: self.periodic }
    }
}

impl Layer<STFTSpectrogram> {
    setters! {
        mode: SpectrogramMode;
        /// Samples between frames; by default half a frame.
        frame_step: some usize;
        /// Points of the transform; by default the next power of two.
        fft_length: some usize;
        periodic: bool;
        padding: Padding;
        /// Whether channels and frequencies are axes of their own.
        expand_dims: bool;
        data_format: DataFormat;
    }
}

/// A kernel `[frame, 1, frequencies]` of cosines, or of negative sines.
pub(crate) fn kernel(
    extents: &[usize],
    imaginary: bool,
    window: Option<Window>,
    scaling: Option<Scaling>,
    periodic: bool,
) -> Vec<f64> {
    let [frame, _, bins] = extents else { return Vec::new() };
    let window = window.map(|w| w.values(*frame, periodic));
    let scale = match (&window, scaling) {
        (Some(window), Some(Scaling::Density)) => window.iter().map(|w| w * w).sum::<f64>().sqrt(),
        (Some(window), Some(Scaling::Spectrum)) => window.iter().map(|w| w.abs()).sum(),
        _ => 1.0,
    };
    let period = 2 * bins.saturating_sub(1).max(1);
    let element = |i: usize| {
        let (time, frequency) = (i / bins, i % bins);
        let angle = -((time * frequency % period) as f64) * std::f64::consts::TAU / period as f64;
        let turn = if imaginary { angle.sin() } else { angle.cos() };
        turn * window.as_ref().map_or(1.0, |w| w[time] / scale)
    };
    (0..frame * bins).map(element).collect()
}

impl LayerDef for STFTSpectrogram {
    fn kind(&self) -> &'static str {
        "STFTSpectrogram"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        let item = self.data_format.item(cx, 1)?;
        let (frame, step) = (self.frame_length, self.step());
        if step > frame || self.padding == Padding::Causal {
            return Err(Problem::value(format!(
                "STFTSpectrogram with frames of {frame}, {step} apart, {:?}",
                self.padding
            ))
            .help("frames are at most a frame apart, and the padding is Valid or Same"));
        }
        let (size, strides) = ([frame], [step]);
        let windows = Windows { size: &size, strides: &strides, dilation: &[1], padding: self.padding };
        windows.check(cx, "frame_length", &item[..1])?;
        if self.fft_length.is_some_and(|length| length < frame || length > 1 << 20) {
            return Err(Problem::value(format!("STFTSpectrogram with frames of {frame} and a shorter transform")));
        }
        const MOST: usize = 1 << 22;
        let shape = [frame, 1, self.bins()];
        if frame * shape[2] > MOST {
            let message = format!("STFTSpectrogram with frames of {frame} samples and {} frequencies", shape[2]);
            return Err(Problem::new(Code::Size, message));
        }
        if self.mode != SpectrogramMode::Imag {
            cx.weight(Weight::new("real_kernel", shape, self.initializer(false)))?;
        }
        if self.mode != SpectrogramMode::Real {
            cx.weight(Weight::new("imag_kernel", shape, self.initializer(true)))?;
        }
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        // Each channel is a signal of its own.
        let x = match self.data_format {
            DataFormat::ChannelsLast => cx.permute(x[0], &[0, 2, 1]),
            DataFormat::ChannelsFirst => x[0],
        };
        let shape = cx.ty(x).shape.clone();
        let (channels, samples) = (shape[1], shape[2]);
        let signals = Dim { scale: shape[0].scale * channels.scale, batch: shape[0].batch };
        let x = cx.reshape(x, Shape(vec![signals, samples, Dim::ONE]));
        let transform = |cx: &mut CallCx<'_>, name: &str| {
            let kernel = cx.weight(name);
            let (size, strides) = ([self.frame_length], [self.step()]);
            let windows = Windows { size: &size, strides: &strides, dilation: &[1], padding: self.padding };
            convolve(cx, windows, x, kernel, 1)
        };
        let re = (self.mode != SpectrogramMode::Imag).then(|| transform(cx, "real_kernel"));
        let im = (self.mode != SpectrogramMode::Real).then(|| transform(cx, "imag_kernel"));
        // [signals, frames, frequencies]
        let y = match (re, im, self.mode) {
            (Some(re), Some(im), SpectrogramMode::Angle) => cx.atan2(im, re),
            (Some(re), Some(im), SpectrogramMode::Stft) => cx.concat(&[re, im], 2),
            (Some(re), Some(im), mode) => self.strength(cx, re, im, mode),
            (Some(one), None, _) | (None, Some(one), _) => one,
            (None, None, _) => cx.fault("a spectrogram of nothing".into()),
        };
        let dims = cx.ty(y).shape.clone();
        let (frames, bins) = (dims[1], dims[2]);
        let y = cx.reshape(y, Shape(vec![shape[0], channels, frames, bins]));
        let all = Dim::fixed(channels.scale * bins.scale);
        vec![match (self.data_format, self.expand_dims) {
            (DataFormat::ChannelsLast, true) => cx.permute(y, &[0, 2, 3, 1]),
            (DataFormat::ChannelsFirst, true) => y,
            (DataFormat::ChannelsLast, false) => {
                let y = cx.permute(y, &[0, 2, 1, 3]);
                cx.reshape(y, Shape(vec![shape[0], frames, all]))
            }
            (DataFormat::ChannelsFirst, false) => {
                let y = cx.permute(y, &[0, 1, 3, 2]);
                cx.reshape(y, Shape(vec![shape[0], all, frames]))
            }
        }]
    }
}

impl STFTSpectrogram {
    fn strength(&self, cx: &mut CallCx<'_>, re: NodeId, im: NodeId, mode: SpectrogramMode) -> NodeId {
        const EPSILON: f64 = 1e-7;
        let (re, im) = (cx.square(re), cx.square(im));
        let power = cx.add(re, im);
        if mode == SpectrogramMode::Psd {
            let bins = self.bins();
            let factors = (0..bins).map(|i| if i == 0 || i + 1 == bins { 1.0 } else { 2.0 });
            let ty = crate::ir::TensorType::new(cx.ty(power).dtype, Shape::fixed(&[bins]));
            let factors = cx.dense(ty, factors);
            let factors = cx.broadcast_like(factors, power);
            return cx.mul(power, factors);
        }
        let power = cx.max_s(power, EPSILON);
        let magnitude = cx.sqrt(power);
        if mode == SpectrogramMode::Magnitude {
            return magnitude;
        }
        let magnitude = cx.max_s(magnitude, EPSILON);
        cx.log(magnitude)
    }
}
