//! Benchmark programs, peers included.
