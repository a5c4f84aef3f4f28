//! The generated text through the real compiler of CUDA C++, where its library is installed. No GPU is needed.

use bakelite_compiler::backend::cuda::CudaModule;
use cudarc::nvrtc::{CompileOptions, compile_ptx_with_opts, sys};

use super::{models, print, programs};

/// The oldest and the newest architecture that the text is meant for.
const ARCHITECTURES: [&str; 3] = ["compute_80", "compute_90", "compute_120"];

/// Declared but never referenced, set but never used: signs of a careless printer.
const WARNINGS_AS_ERRORS: &str = "--diag-error=177,550";

/// Compiles for every architecture. False, with the reason printed, where NVRTC is not installed.
fn compile(what: &str, module: &CudaModule) -> bool {
    // SAFETY: the library is only opened; it is NVIDIA's, and opening it runs nothing of ours.
    if !unsafe { sys::is_culib_present() } {
        eprintln!("skipped: libnvrtc is not on the library path");
        return false;
    }
    for arch in ARCHITECTURES {
        let options = CompileOptions {
            arch: Some(arch),
            options: vec![WARNINGS_AS_ERRORS.to_string()],
            ..CompileOptions::default()
        };
        let ptx = compile_ptx_with_opts(&module.source, options).unwrap_or_else(|e| panic!("{what} for {arch}: {e:?}"));
        let text = ptx.to_src();
        for launch in module.entries.iter().flat_map(|e| &e.launches) {
            assert!(text.contains(&format!(".entry {}(", launch.symbol)), "{what}: no entry {}", launch.symbol);
        }
    }
    true
}

#[test]
fn nvrtc_accepts_the_text() {
    let by_hand = [
        programs::dense(128, 784, 512),
        programs::softmax(128, 100),
        programs::embedding(32, 1000, 64),
        programs::momentum(4096),
    ];
    for program in by_hand {
        if !compile(&program.name, &print(&program).0) {
            return;
        }
    }
    compile("mlp", &models::trained_mlp_text());
}
