//! A package with a model called `twin`: the sum of a row.

bakelite::include_model!("twin");
