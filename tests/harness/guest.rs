//! Components as files: fresh versions of one, and broken ones.

/// The same component with another hash: a custom section more, which changes nothing else.
pub fn variant(component: &[u8], mark: u64) -> Vec<u8> {
    let mark = mark.to_string();
    let mut content = vec![4];
    content.extend(b"mark");
    content.extend(mark.as_bytes());
    let mut bytes = component.to_vec();
    bytes.push(0);
    bytes.push(u8::try_from(content.len()).expect("a short mark"));
    bytes.extend(content);
    bytes
}

/// A component of the empty world: valid, and no filter.
pub fn wrong_world() -> Vec<u8> {
    vec![0x00, 0x61, 0x73, 0x6d, 0x0d, 0x00, 0x01, 0x00]
}

/// A core module, not a component.
pub fn core_module() -> Vec<u8> {
    vec![0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]
}
