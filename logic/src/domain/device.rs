//! What a device says about itself, and its limits.

use gim_proto::{
    check::{self, Violation},
    logic,
};

/// Longest text of a device's description.
const TEXT_BYTES_MAX: usize = 256;

/// Checks every field of a device; id 0 asks for a new one.
pub fn check(device: &logic::Device) -> Result<(), Violation> {
    if device.id != 0 {
        check::id("device.id", device.id)?;
    }
    if device.r#type < 0 {
        return Err(check::invalid("device.type", "must not be negative"));
    }
    check::size("device.brand", &device.brand, TEXT_BYTES_MAX)?;
    check::size("device.model", &device.model, TEXT_BYTES_MAX)?;
    check::size("device.system_version", &device.system_version, TEXT_BYTES_MAX)?;
    check::size("device.sdk_version", &device.sdk_version, TEXT_BYTES_MAX)?;
    check::size("device.branch_push_id", &device.branch_push_id, TEXT_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_over_its_limit_is_refused_by_name() {
        check(&logic::Device::default()).unwrap();
        let device = logic::Device { model: "m".repeat(TEXT_BYTES_MAX + 1), ..logic::Device::default() };
        assert!(check(&device).unwrap_err().to_string().starts_with("device.model: "));
        let device = logic::Device { id: u64::MAX, ..logic::Device::default() };
        assert!(check(&device).unwrap_err().to_string().starts_with("device.id: "));
        let device = logic::Device { r#type: -1, ..logic::Device::default() };
        assert!(check(&device).unwrap_err().to_string().starts_with("device.type: "));
    }
}
