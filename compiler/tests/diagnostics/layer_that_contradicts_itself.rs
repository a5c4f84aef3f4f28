use bakelite_compiler::diag::Problem;
use bakelite_compiler::ir::NodeId;
use bakelite_compiler::prelude::*;

/// Forgets to check what it relies on.
#[derive(Clone, Debug)]
struct Halve(&'static str);

impl LayerDef for Halve {
    fn kind(&self) -> &'static str {
        "Halve"
    }

    fn build(&self, _: &mut BuildCx<'_>) -> Result<(), Problem> {
        Ok(())
    }

    fn call(&self, cx: &mut CallCx<'_>, x: &[NodeId]) -> Vec<NodeId> {
        match self.0 {
            "adds itself to a sum" => {
                let sum = cx.sum(x[0], &[1]);
                vec![cx.add(x[0], sum)]
            }
            "reads what it has not" => vec![cx.weight("factor")],
            "depends on the mode" if cx.training() => vec![cx.sum(x[0], &[1])],
            "depends on the mode" => x.to_vec(),
            _ => vec![],
        }
    }
}

pub fn model() -> Model {
    let m = Model::new("net");
    let x = m.input("x", 4, F32);
    for way in ["adds itself to a sum", "reads what it has not", "depends on the mode", "gives nothing"] {
        m.output(&Halve(way).apply(&x));
    }
    m
}
