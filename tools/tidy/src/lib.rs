//! Tests that hold the architecture of DocBrain.
