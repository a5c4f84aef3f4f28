//! Layers from signals to their spectra.

mod mel;
mod stft;

pub use mel::MelSpectrogram;
pub(crate) use stft::kernel as stft_kernel;
pub use stft::{STFTSpectrogram, Scaling, SpectrogramMode, Window};
