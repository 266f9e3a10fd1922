//! Variables that others put into our prefix: Kubernetes and container links tell every process of every service beside it, and
//! one that is called `gim-logic` is told in `GIM_LOGIC_*`. They are no settings of ours.
//!
//! Always holds: a name with `__`, which stands between a section and its key, is a setting, for the name of a service gives none.

/// Whether the variable, whose name after our prefix is `rest`, tells where a service is.
///
/// The names are those that the kubelet makes of a Service (Kubernetes, "Service", part "Environment variables").
pub(crate) fn is_one(rest: &str, value: &str) -> bool {
    if rest.contains("__") {
        return false;
    }
    // A service may have a longer name than ours: `gim-logic-grpc`.
    let words: Vec<_> = rest.split('_').collect();
    (0..words.len()).any(|first| is_suffix(&words[first..], value))
}

fn is_suffix(words: &[&str], value: &str) -> bool {
    match words {
        ["SERVICE", "HOST"] => true,
        ["SERVICE", "PORT", name @ ..] => name.iter().all(|word| !word.is_empty()),
        // Whoever writes a number means to set a port, and is told that there is no such setting.
        ["PORT"] => value.contains("://"),
        ["PORT", number, "TCP" | "UDP" | "SCTP"] => is_number(number),
        ["PORT", number, "TCP" | "UDP" | "SCTP", "PROTO" | "PORT" | "ADDR"] => is_number(number),
        _ => false,
    }
}

fn is_number(word: &str) -> bool {
    word.parse::<u16>().is_ok()
}
