//! The spectrogram on the scale of pitches that the ear tells apart.

use serde::{Deserialize, Serialize};

use super::Window;
use crate::diag::{Code, Problem};
use crate::ir::{DType, NodeId, Shape, TensorType};
use crate::model::call::CallCx;
use crate::model::functions::Frames;
use crate::model::layer::{BuildCx, Layer, LayerDef};
use crate::model::numbers::finite;
use crate::model::setters::setters;

/// The power of the pitches of overlapping frames, in decibels. Items `[samples]` become `[pitches, frames]`.
///
/// Without `power_to_db` the power itself. Decibels are cut to `top_db` below the largest of the whole batch, as Keras does.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct MelSpectrogram {
    fft_length: usize,
    sequence_stride: usize,
    sequence_length: Option<usize>,
    window: Option<Window>,
    sampling_rate: f64,
    num_mel_bins: usize,
    min_freq: f64,
    max_freq: Option<f64>,
    power_to_db: bool,
    top_db: f64,
    mag_exp: f64,
    min_power: f64,
    ref_power: f64,
}

impl Default for MelSpectrogram {
    fn default() -> MelSpectrogram {
        MelSpectrogram {
            fft_length: 2048,
            sequence_stride: 512,
            sequence_length: None,
            window: Some(Window::Hann),
            sampling_rate: 16000.0,
            num_mel_bins: 128,
            min_freq: 20.0,
            max_freq: None,
            power_to_db: true,
            top_db: 80.0,
            mag_exp: 2.0,
            min_power: 1e-10,
            ref_power: 1.0,
        }
    }
}

impl MelSpectrogram {
    /// Of transforms of so many points.
    pub fn new(fft_length: usize) -> Layer<MelSpectrogram> {
        Layer::new(MelSpectrogram { fft_length, ..MelSpectrogram::default() })
    }

    fn frames(&self) -> Result<Frames, String> {
        let size = self.sequence_length.unwrap_or(self.fft_length);
        let window = self.window.filter(|_| size <= self.fft_length).map(|w| w.values(size, true));
        Frames::new(size, self.sequence_stride, self.fft_length, window, true)
    }

    /// The share of each frequency in each pitch, `[frequencies, pitches]`: triangles on the scale of pitches, whose edges
    /// are the centres of their neighbours.
    fn shares(&self) -> Vec<f64> {
        let bins = self.fft_length / 2 + 1;
        let pitch = |hertz: f64| 1127.0 * (1.0 + hertz / 700.0).ln();
        let highest = self.max_freq.unwrap_or((self.sampling_rate / 2.0).trunc());
        let (low, high) = (pitch(self.min_freq), pitch(highest));
        let edge = |i: usize| low + (high - low) * i as f64 / (self.num_mel_bins + 1) as f64;
        let share = |bin: usize, i: usize| {
            let own = pitch(self.sampling_rate / 2.0 * bin as f64 / (bins - 1).max(1) as f64);
            let rise = (own - edge(i)) / (edge(i + 1) - edge(i));
            let fall = (edge(i + 2) - own) / (edge(i + 2) - edge(i + 1));
            if bin == 0 { 0.0 } else { rise.min(fall).max(0.0) }
        };
        (0..bins * self.num_mel_bins).map(|i| share(i / self.num_mel_bins, i % self.num_mel_bins)).collect()
    }
}

impl Layer<MelSpectrogram> {
    setters! {
        /// Samples between frames.
        sequence_stride: usize;
        /// Samples of a frame; by default as many as the transform has points.
        sequence_length: some usize;
        /// Samples in a second.
        sampling_rate: f64;
        num_mel_bins: usize;
        /// The lowest and the highest frequency; by default half the sampling rate.
        min_freq: f64;
        max_freq: some f64;
        power_to_db: bool;
        /// How far below the largest decibels are cut.
        top_db: f64;
        /// The power of the magnitude.
        mag_exp: f64;
        /// The least power.
        min_power: f64;
        /// The power of 0 decibels.
        ref_power: f64;
    }
}

impl LayerDef for MelSpectrogram {
    fn kind(&self) -> &'static str {
        "MelSpectrogram"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        cx.positive("num_mel_bins", self.num_mel_bins)?;
        let samples = cx.item(1, "samples")?[0];
        let numbers = [
            ("sampling_rate", self.sampling_rate),
            ("min_freq", self.min_freq),
            ("max_freq", self.max_freq.unwrap_or(1.0)),
            ("top_db", self.top_db),
            ("mag_exp", self.mag_exp),
            ("min_power", self.min_power),
            ("ref_power", self.ref_power),
        ];
        numbers.iter().try_for_each(|&(name, value)| finite(self.kind(), name, value))?;
        const MOST: usize = 1 << 22;
        let fail = |why: String| Problem::value(format!("MelSpectrogram: {why}"));
        if self.sampling_rate <= 0.0 || self.min_freq < 0.0 || self.min_power <= 0.0 {
            return Err(fail("rates, frequencies and powers are positive".into()));
        }
        if self.fft_length.checked_mul(self.num_mel_bins).is_none_or(|n| n > MOST) {
            let (points, pitches) = (self.fft_length, self.num_mel_bins);
            return Err(Problem::new(Code::Size, format!("MelSpectrogram of {points} points and {pitches} pitches")));
        }
        let frames = self.frames().map_err(fail)?;
        let ty = TensorType::new(DType::F32, Shape::batched(&[samples]));
        crate::model::functions::express::attempt(&[ty], |g, x| {
            g.short_time_fourier(x[0], &frames).map(|(re, _)| vec![re])
        })
        .map(drop)
        .map_err(fail)
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let spectrum = self.frames().and_then(|frames| cx.short_time_fourier(x[0], &frames));
        let (re, im) = spectrum.unwrap_or_else(|why| cx.fault(why));
        let (re, im) = (cx.square(re), cx.square(im));
        let mut power = cx.add(re, im);
        if self.mag_exp != 2.0 {
            let half = cx.lit_like(power, self.mag_exp / 2.0);
            power = cx.pow(power, half);
        }
        let ty = TensorType::new(DType::F32, Shape::fixed(&[self.fft_length / 2 + 1, self.num_mel_bins]));
        let shares = cx.dense(ty, self.shares().into_iter().map(|share| share as f32 as f64));
        // [batch, frames, pitches]
        let mut y = cx.contract(power, shares, &[], &[(2, 0)]);
        if self.power_to_db {
            let bounded = cx.max_s(y, self.min_power);
            let log = cx.log(bounded);
            let decibels = cx.mul_s(log, 10.0 * std::f64::consts::LOG10_E);
            let zero = 10.0 * self.ref_power.abs().max(self.min_power).log10();
            let decibels = cx.add_s(decibels, -zero);
            let highest = cx.reduce(crate::ir::ReduceFn::Max, decibels, &[0, 1, 2]);
            let floor = cx.add_s(highest, -self.top_db);
            let floor = cx.broadcast_like(floor, decibels);
            y = cx.max(decibels, floor);
        }
        vec![cx.permute(y, &[0, 2, 1])]
    }
}
