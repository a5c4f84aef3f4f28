//! A package with a model called `twin` as well: results for the whole batch, beside rows.

bakelite::include_model!("twin");
