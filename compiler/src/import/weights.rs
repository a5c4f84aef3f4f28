//! Weights alone, for a model that is there already.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

use super::archive::MAX_CONFIG;
use super::file::{HDF5, KerasFile, ZIP, lead, read};
use super::h5::Store;
use super::restore::{Layout, Restored, restore};
use super::{json, malformed};
use crate::diag::Diagnostics;
use crate::ir::SourceLine;
use crate::model::Model;

/// Writes the weights of a file into an opened model; which format it has is told from its contents:
///
/// - `.weights.h5`, Keras's `save_weights`: by the place in the model, with the optimizer's state;
/// - `.weights.json`, the same in several files beside it, as Keras writes with `max_shard_size`;
/// - a `.keras` file, or the folder that one was unpacked into: its weights, in the same way;
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
    if path.is_dir() {
        return KerasFile::open(path)?.restore(model, into);
    }
    let lead = lead(path, HDF5.len())?;
    let store = match lead.as_slice() {
        lead if lead.starts_with(ZIP) => return KerasFile::open(path)?.restore(model, into),
        lead if lead.starts_with(HDF5) => Store::open(read(path)?).map_err(failed)?,
        lead if lead.trim_ascii_start().starts_with(b"{") => shards(path)?,
        _ => {
            let had = |into: &bakelite::Model| into.param("optimizer/iterations").and_then(|p| p.to_vec::<u32>()).ok();
            let before = had(into);
            into.load(path).map_err(|e| failed(e.to_string()))?;
            return Ok(Restored { optimizer: before.is_some() && had(into) != before, left_out: Vec::new() });
        }
    };
    let by_layer = store.has("model_weights") || store.texts("", "layer_names").is_ok_and(|names| names.is_some());
    let layout = if by_layer { Layout::ByLayer } else { Layout::Numbered };
    restore(&store, layout, model, into, &source, layout == Layout::Numbered)
}

/// The files that a list of shards names, which are beside it.
fn shards(path: &Path) -> Result<Store, Diagnostics> {
    let source = SourceLine::file(path);
    let failed = |why: String| malformed("", why, &source);
    let text =
        String::from_utf8(read(path)?).map_err(|_| failed("this is no list of shards: it is no UTF-8".into()))?;
    if text.len() as u64 > MAX_CONFIG {
        return Err(failed(format!("the list of shards has more than {MAX_CONFIG} bytes")));
    }
    let list = json::parse(&text).map_err(failed)?;
    let Some(map) = list.get("weight_map").and_then(Value::as_object) else {
        return Err(failed("this is no list of shards: it has no `weight_map`".into()));
    };
    let named = map.values().flat_map(|files| match files {
        Value::Array(files) => files.iter().filter_map(Value::as_str).collect(),
        file => file.as_str().into_iter().collect::<Vec<&str>>(),
    });
    let names: BTreeSet<&str> = named.collect();
    let mut store = Store::none();
    for name in names {
        if name.contains(['/', '\\', '\0']) || matches!(name, "" | "." | "..") {
            return Err(failed(format!("the shard `{}` is no file beside the list", name.escape_debug())));
        }
        let shard = path.with_file_name(name);
        store.join(read(&shard)?).map_err(|why| malformed("", why, &SourceLine::file(&shard)))?;
    }
    Ok(store)
}
