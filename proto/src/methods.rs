//! What there is to call, read from the compiled `.proto` files.

use std::collections::HashSet;

use prost::Message as _;
use prost_types::FileDescriptorSet;

use crate::CLIENT_FILE_DESCRIPTOR_SET;

/// What every service for clients is called by.
const OF_CLIENTS: &str = "ExtService";

/// Every method that is for clients, as `package.Service/Method`.
///
/// # Panics
/// Never: the descriptors come from our own build.
pub fn of_clients() -> HashSet<String> {
    let set = FileDescriptorSet::decode(CLIENT_FILE_DESCRIPTOR_SET).expect("the descriptors come from our own build");
    of(&set, |service| service.ends_with(OF_CLIENTS))
}

/// The methods of a set whose service is wanted.
pub fn of(set: &FileDescriptorSet, is_wanted: impl Fn(&str) -> bool) -> HashSet<String> {
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
    use crate::FILE_DESCRIPTOR_SET;

    #[test]
    fn clients_may_call_what_is_theirs_and_nothing_else() {
        let all = FileDescriptorSet::decode(FILE_DESCRIPTOR_SET).unwrap();
        let ours = of_clients();
        assert!(ours.contains("logic.MessageExtService/Sync") && ours.contains("business.UserExtService/SignIn"));
        let others = of(&all, |service| !service.ends_with(OF_CLIENTS));
        assert!(others.contains("logic.LinkService/Attach") && ours.is_disjoint(&others));
    }
}
