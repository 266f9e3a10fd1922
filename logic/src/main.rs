//! Numbers, stores and routes every message.

fn main() {}
