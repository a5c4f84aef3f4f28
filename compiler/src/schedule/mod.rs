//! From the tensor graph to the Program: fusion, order, loops, memory plan, verification.

pub mod program;
