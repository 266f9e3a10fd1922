//! Checks and measures a running gim from outside, over its public protocol only.

fn main() {}
