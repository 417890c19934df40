//! Chance from the system: what a client and a new cluster need once, to be unlike all others.

/// 128 random bits, never all 0.
pub(crate) fn draw() -> std::io::Result<u128> {
    let mut bytes = [0; 16];
    let read = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    assert_eq!(read, bytes.len(), "the system hands out small amounts whole");
    Ok(u128::from_le_bytes(bytes).max(1))
}
