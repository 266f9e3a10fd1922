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
        ["PORT"] => value.contains("://") || value.is_empty(),
        // Container links tell the names of both containers, `/web/gim-logic`, and what stands in the other one's environment.
        ["NAME"] => value.strip_prefix('/').is_some_and(|names| names.matches('/').count() == 1),
        ["ENV", name @ ..] => !name.is_empty(),
        ["PORT", number, "TCP" | "UDP" | "SCTP"] => is_number(number),
        ["PORT", number, "TCP" | "UDP" | "SCTP", "PROTO" | "PORT" | "ADDR" | "START" | "END"] => is_number(number),
        _ => false,
    }
}

fn is_number(word: &str) -> bool {
    word.parse::<u16>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_put_into_our_prefix_is_told_from_settings() {
        for (rest, value) in [
            ("SERVICE_HOST", "10.0.0.1"),
            ("GRPC_SERVICE_PORT_HTTP", "8010"),
            ("PORT", "tcp://10.0.0.1:8010"),
            ("PORT", ""),
            ("PORT_8010_TCP_START", "tcp://10.0.0.1:8010"),
            ("PORT_8010_TCP_END", "tcp://10.0.0.1:8019"),
            ("NAME", "/web/gim-logic"),
            ("ENV_PATH", "/usr/bin"),
        ] {
            assert!(is_one(rest, value), "{rest}={value}");
        }
        for (rest, value) in [
            ("PORT", "8010"),
            ("NAME", "logic-1"),
            ("NAME", "/web"),
            ("NODE", "logic-1"),
            ("ENV", "x"),
            ("GRPC__PORT", "tcp://x"),
            ("PORT_x_TCP_END", ""),
        ] {
            assert!(!is_one(rest, value), "{rest}={value}");
        }
    }
}
