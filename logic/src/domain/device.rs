//! What a device says about itself, and its limits.

use gim_proto::{
    check::{self, Violation},
    logic,
};

/// Longest address: where a device connects from, or where a conn node is to be reached.
pub const ADDRESS_BYTES_MAX: usize = 256;

/// Checks every field of a device; id 0 asks for a new one.
pub fn check(device: &logic::Device, text_bytes_max: usize) -> Result<(), Violation> {
    if device.id != 0 {
        check::id("device.id", device.id)?;
    }
    if device.r#type < 0 {
        return Err(check::invalid("device.type", "must not be negative"));
    }
    texts(device).into_iter().try_for_each(|(name, text)| check::size(name, text, text_bytes_max))
}

/// What a device says of itself, in bytes.
pub fn text_bytes(device: &logic::Device) -> usize {
    texts(device).into_iter().map(|(_, text)| text.len()).sum()
}

fn texts(device: &logic::Device) -> [(&'static str, &String); 5] {
    [
        ("device.brand", &device.brand),
        ("device.model", &device.model),
        ("device.system_version", &device.system_version),
        ("device.sdk_version", &device.sdk_version),
        ("device.branch_push_id", &device.branch_push_id),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_over_its_limit_is_refused_by_name() {
        check(&logic::Device::default(), 8).unwrap();
        let device = logic::Device { model: "m".repeat(9), ..logic::Device::default() };
        assert!(check(&device, 8).unwrap_err().to_string().starts_with("device.model: "));
        let device = logic::Device { id: u64::MAX, ..logic::Device::default() };
        assert!(check(&device, 8).unwrap_err().to_string().starts_with("device.id: "));
        let device = logic::Device { r#type: -1, ..logic::Device::default() };
        assert!(check(&device, 8).unwrap_err().to_string().starts_with("device.type: "));
    }
}
