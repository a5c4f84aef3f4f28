//! From the Program to code. Every backend prints the same Program and knows nothing of how it came to be.

pub mod cranelift;
pub mod cuda;

/// Why a program cannot be emitted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BackendError {
    /// The backend has no form for what the kernel does.
    #[error("kernel {kernel}: {what} is not supported by the CPU backend")]
    Unsupported { kernel: String, what: String },
    /// The target is unknown, or not one that Bakelite emits code for.
    #[error("target {target}: {reason}")]
    Target { target: String, reason: String },
    /// A bug of the compiler: the backend produced something that its code generator refuses.
    #[error("internal error while emitting {what}: {reason}")]
    Internal { what: String, reason: String },
}

impl BackendError {
    /// An internal error from any error of the code generator.
    pub(crate) fn internal(what: impl Into<String>, reason: impl std::fmt::Display) -> BackendError {
        BackendError::Internal { what: what.into(), reason: reason.to_string() }
    }
}
