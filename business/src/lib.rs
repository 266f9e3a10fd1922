//! Users, tokens and friends: the replaceable business service.
