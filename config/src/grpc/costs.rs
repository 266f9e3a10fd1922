//! What a call takes of a share: that of the address it comes from, or of the user whose long connection it comes over. Plain data.

/// What takes more than a call does: what is guessed or filled up from many addresses, and what reads much.
const COSTS: [(&str, u32); 5] = [
    ("business.UserExtService/SendCode", 20),
    ("business.UserExtService/SignIn", 20),
    ("logic.DeviceExtService/Register", 20),
    ("business.UserExtService/SearchUser", 10),
    ("logic.MessageExtService/History", 5),
];

/// What a call of `package.Service/Method` takes, in calls: at least 1.
pub fn cost_of(method: &str) -> u32 {
    COSTS.iter().find(|(dear, _)| *dear == method).map_or(1, |(_, cost)| *cost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dear_method_is_one_that_clients_may_call() {
        let methods = gim_proto::methods::of_clients();
        assert!(COSTS.iter().all(|(method, cost)| methods.contains(*method) && cost_of(method) == *cost && *cost > 1));
        assert_eq!(cost_of("logic.MessageExtService/Send"), 1);
    }
}
