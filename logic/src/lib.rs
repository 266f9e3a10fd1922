//! Numbers, stores and routes every message.
