//! The emulation itself: what it must notice.

use bakelite_compiler::ir::DType;

use super::cuda_host::{HostModule, Order};
use super::{encode, noise, print, programs};

/// Each mutation of right text is an error, or makes the result depend on the order.
#[test]
fn mistakes_in_the_text_are_caught() {
    let (batch, n) = (3, 77);
    let (module, _) = print(&programs::softmax(batch, n));
    let inputs = [encode(DType::F32, &noise(3, batch * n))];
    let mutations = [
        (
            "a lost barrier before the result is read",
            "    __syncthreads();\n    value = slots[0];",
            "    value = slots[0];",
        ),
        ("a lost barrier after the result is read", "slots[0];\n    __syncthreads();", "slots[0];"),
        ("a lost barrier in the tree", "        __syncthreads();\n", ""),
        ("a barrier that some threads skip", "        __syncthreads();", "        if (lane < 64) __syncthreads();"),
        ("shared memory beyond the launch's", "slots[lane] = value;", "slots[lane + 1] = value;"),
        ("a store beyond the output", "y_1[77 * i0 + i3] =", "y_1[77 * i0 + i3 + 77] ="),
        ("a store before the output", "y_1[77 * i0 + i3] =", "y_1[77 * i0 + i3 - 4096] ="),
        ("a load beyond the input", "x_0[77 * i0 + i1]", "x_0[77 * i0 + i1 + 4096]"),
    ];
    for (what, right, wrong) in mutations {
        let mut mutant = module.clone();
        assert!(mutant.source.contains(right), "{what}: the text no longer has {right:?}");
        mutant.source = mutant.source.replace(right, wrong);
        let Some(host) = HostModule::build(&mutant) else { return };
        let results = Order::ALL.map(|order| host.run("softmax", &inputs, &mut Vec::new(), batch, order));
        let caught = results.iter().any(|r| r.is_err() || *r != results[0]);
        assert!(caught, "{what} went unnoticed");
    }
}
