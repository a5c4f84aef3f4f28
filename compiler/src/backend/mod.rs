//! From the Program to code. Every backend prints the same Program and knows nothing of how it came to be.

pub mod cuda;
