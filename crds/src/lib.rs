//! DocBrain.
