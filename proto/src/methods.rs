//! What there is to call, read from the compiled `.proto` files.

use std::collections::HashSet;

use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::FILE_DESCRIPTOR_SET;

/// What clients call before they have a token; `GatewayExtService/Locate` even before they are anybody.
pub const OPEN: [&str; 4] = [
    "business.UserExtService/SendCode",
    "business.UserExtService/SignIn",
    "logic.DeviceExtService/Register",
    "logic.GatewayExtService/Locate",
];

/// What every service for clients is called by.
const OF_CLIENTS: &str = "ExtService";

/// Every method that is for clients, as `package.Service/Method`.
pub fn of_clients() -> HashSet<String> {
    of(|service| service.ends_with(OF_CLIENTS))
}

/// Every other one: those are for services.
pub fn of_services() -> HashSet<String> {
    of(|service| !service.ends_with(OF_CLIENTS))
}

fn of(is_wanted: impl Fn(&str) -> bool) -> HashSet<String> {
    let set = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).expect("the descriptors come from our own build");
    let mut methods = HashSet::new();
    for file in &set.file {
        for service in file.service.iter().filter(|service| is_wanted(service.name())) {
            let name = |method: &str| format!("{}.{}/{method}", file.package(), service.name());
            methods.extend(service.method.iter().map(|method| name(method.name())));
        }
    }
    methods
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_may_call_what_is_theirs_and_nothing_else() {
        let (ours, others) = (of_clients(), of_services());
        assert!(ours.contains("logic.MessageExtService/Sync") && ours.contains("business.UserExtService/SignIn"));
        assert!(OPEN.iter().all(|method| ours.contains(*method)));
        assert!(others.contains("logic.LinkService/Attach") && ours.is_disjoint(&others));
    }
}
