//! DocBrain.
fn main() {}
