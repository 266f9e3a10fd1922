//! Who may do what, as far as logic decides it without asking: [`jwt`].

pub mod jwt;
