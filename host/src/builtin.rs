//! The filters shipped inside the binary: what `module = "builtin:NAME"` means.

include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// The component of a shipped filter.
#[must_use]
pub fn component(name: &str) -> Option<&'static [u8]> {
    BUILTIN.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
}
