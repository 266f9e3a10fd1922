//! Who users are and what they may do, as far as others know it: [`business`] asks the service that knows users and tokens, [`jwt`]
//! judges tokens without asking anybody, and [`word_lists`] judges words. Any task.

pub mod business;
pub mod cache;
pub mod jwt;
pub mod word_lists;
