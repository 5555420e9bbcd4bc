//! What holds for every document and strategy.
