//! Holds the long connections of clients: a mio reactor per core and a bridge to logic.
