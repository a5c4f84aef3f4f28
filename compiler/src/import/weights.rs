//! Weights alone, for a model that is there already.

use std::path::Path;

use super::file::{HDF5, lead, read};
use super::h5::Store;
use super::malformed;
use super::restore::{Layout, Restored, restore};
use crate::diag::Diagnostics;
use crate::ir::SourceLine;
use crate::model::Model;

/// Writes the weights of a file into an opened model; which format it has is told from its contents:
///
/// - `.weights.h5`, Keras's `save_weights`: by the place in the model, with the optimizer's state;
/// - `.h5` of older versions, weights or a whole model: by the names of layers, as Keras's
///   `load_weights(by_name=True)`. Layers that only one side has are left out;
/// - safetensors: by the paths of parameters, as in `encoder/fc/kernel`; see [`bakelite::Model::load`].
///
/// Nothing is written if anything is wrong.
pub fn load_weights(
    path: impl AsRef<Path>,
    model: &Model,
    into: &mut bakelite::Model,
) -> Result<Restored, Diagnostics> {
    let path = path.as_ref();
    let source = SourceLine::file(path);
    let failed = |why: String| malformed("", why, &source);
    if !lead(path, HDF5.len())?.starts_with(HDF5) {
        let had = |into: &bakelite::Model| into.param("optimizer/iterations").and_then(|p| p.to_vec::<u32>()).ok();
        let before = had(into);
        into.load(path).map_err(|e| failed(e.to_string()))?;
        return Ok(Restored { optimizer: before.is_some() && had(into) != before, left_out: Vec::new() });
    }
    let store = Store::open(read(path)?).map_err(failed)?;
    let by_layer = store.has("model_weights") || store.texts("", "layer_names").is_ok_and(|names| names.is_some());
    let layout = if by_layer { Layout::ByLayer } else { Layout::Numbered };
    restore(&store, layout, model, into, &source, layout == Layout::Numbered)
}
