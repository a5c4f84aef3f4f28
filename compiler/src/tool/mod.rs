//! What the `bakelite` command does, as a library: every subcommand is a description of the work (a plain struct) and a
//! function over it, whose result is data. The command parses arguments into the one and prints the other.
//!
//! - [`source`]: MODEL, from a file to layers or graphs; [`running`]: from there to calls.
//! - [`npy`], [`npz`]: NumPy's files; [`data`]: their arrays as inputs, targets and sample weights.
//! - [`predict`], [`train`], [`bench`](mod@bench), [`check`](mod@check), [`library`], [`inspect`]: the work.
//! - [`diagram`]: layers and what flows between them, for [`summary`] and [`plot`].
//! - [`file`](mod@file): files that are replaced as a whole; [`progress`]: what is shown meanwhile;
//!   [`interrupt`]: how it is told to stop.
//!
//! Files are not trusted: whatever is wrong with them comes back as [`Diagnostics`](crate::diag::Diagnostics).

pub mod bench;
pub mod check;
pub mod data;
pub mod diagram;
pub mod file;
pub mod inspect;
pub mod interrupt;
pub mod library;
mod mistake;
pub mod npy;
pub mod npz;
pub mod plot;
pub mod predict;
pub mod progress;
pub mod running;
pub mod source;
pub mod summary;
pub mod train;
