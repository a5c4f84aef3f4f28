//! Lookups of integers, which are part of the graph.

use super::IntegerLookup;
use super::encode::{check_row, encode};
use crate::diag::{Code, Problem};
use crate::ir::{DType, Dim, NodeId, ReduceFn, Shape, TensorType};
use crate::model::CallCx;
use crate::model::layer::{BuildCx, LayerDef};
use crate::model::preprocessing::{OutputMode, check_numbers};

impl LayerDef for IntegerLookup {
    fn kind(&self) -> &'static str {
        "IntegerLookup"
    }

    fn build(&self, cx: &mut BuildCx<'_>) -> Result<(), Problem> {
        check_numbers(cx, self.kind())?;
        self.check().map_err(Problem::value)?;
        let arguments = self.arguments();
        if arguments.invert {
            return Err(Problem::value("IntegerLookup with invert is not a layer of a model")
                .help("outside of the model, `bakelite::text::IntegerLookup::token` gives the way back"));
        }
        if arguments.tokens.is_empty() {
            return Err(Problem::new(Code::Missing, "IntegerLookup without a vocabulary")
                .help("give one with `vocabulary`, or let it `adapt` to data before it is applied"));
        }
        if arguments.hashed && arguments.num_oov_indices > 1 {
            return Err(Problem::value(
                "IntegerLookup with OovMethod::Farmhash: no hash of digits is part of the graph",
            )
            .help("use OovMethod::Floormod, or look the integers up before the model"));
        }
        let all = arguments.tokens.iter().chain(arguments.mask_token);
        if let Some(token) = all.into_iter().find(|token| i32::try_from(**token).is_err()) {
            return Err(Problem::value(format!("IntegerLookup of {token}, which is no i32")));
        }
        check_row(arguments.output_mode, self.kind(), cx.input())
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        let arguments = self.arguments();
        let x = cx.cast(x[0], DType::I32);
        let shape = cx.ty(x).shape.clone();
        let (rank, count) = (shape.rank(), arguments.tokens.len());
        let wide = Shape(shape.iter().copied().chain([Dim::fixed(count)]).collect());
        let tokens = TensorType::new(DType::I32, Shape::fixed(&[count]));
        let tokens = cx.dense(tokens, arguments.tokens.iter().map(|token| *token as f64));
        let tokens = cx.broadcast(tokens, &[rank], wide.clone());
        let value = cx.unreduce(x, &[rank], &wide);
        let hit = cx.eq(value, tokens);
        // The place of the token, or -1.
        let place = cx.iota(rank, DType::I32, wide);
        let none = cx.lit_like(place, -1.0);
        let place = cx.select(hit, place, none);
        let place = cx.reduce(ReduceFn::Max, place, &[rank]);
        let start = arguments.unknown_start as f64;
        let unknown = match arguments.num_oov_indices {
            0 => cx.lit_like(x, -1.0),
            1 => cx.lit_like(x, start),
            buckets => {
                let buckets = cx.lit_like(x, buckets as f64);
                let rest = cx.rem(x, buckets);
                let up = cx.add(rest, buckets);
                let bucket = cx.rem(up, buckets);
                cx.add_s(bucket, start)
            }
        };
        let zero = cx.lit_like(place, 0.0);
        let known = cx.ge(place, zero);
        let index = cx.add_s(place, start + arguments.num_oov_indices as f64);
        let mut index = cx.select(known, index, unknown);
        if let Some(mask) = arguments.mask_token {
            let mask = cx.lit_like(x, *mask as f64);
            let masked = cx.eq(x, mask);
            let nothing = if arguments.output_mode == OutputMode::Int { 0.0 } else { -1.0 };
            let nothing = cx.lit_like(index, nothing);
            index = cx.select(masked, nothing, index);
        }
        let depth = arguments.depth.unwrap_or(0);
        let encoded = encode(arguments.output_mode, cx, index, depth, None);
        vec![match &arguments.weights {
            Some(weights) => {
                let shape = cx.ty(encoded).shape.clone();
                let row = TensorType::new(DType::F32, Shape::fixed(&[depth]));
                let row = cx.dense(row, weights.iter().map(|w| f64::from(*w)));
                let row = cx.broadcast(row, &[shape.rank() - 1], shape);
                cx.mul(encoded, row)
            }
            None => encoded,
        }]
    }
}
