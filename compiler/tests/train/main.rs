//! What training is made of, each piece against numbers that Keras gives, and whole programs of several steps.

#[path = "../common/mod.rs"]
mod common;
mod keras;
mod steps;
mod weights;
