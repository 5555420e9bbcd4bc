//! The built product as its users meet it: the real programs, the embedded database, the built-in model.

mod harness;
mod manifests;
mod product;
