//! The methods of older clients, by which their calls are judged as today's are. Plain data.

/// The methods of older clients.
#[derive(Debug, Clone, Copy)]
pub struct OlderMethods {
    /// How metrics name those who call them.
    pub dialect: &'static str,
    /// Each, and the one of today's that it counts as: `package.Service/Method`.
    pub counted_as: &'static [(&'static str, &'static str)],
    /// Their services as an encoded `FileDescriptorSet`.
    pub descriptors: &'static [u8],
}

impl OlderMethods {
    /// The one of today's that a call counts as, if it is one of these.
    pub(super) fn of_today(&self, path: &str) -> Option<&'static str> {
        let method = path.trim_start_matches('/');
        self.counted_as.iter().find(|(older, _)| *older == method).map(|(_, today)| *today)
    }
}
