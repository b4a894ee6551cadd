//! A buffer for secrets: wherever it grows, the memory that it leaves is wiped.

use zeroize::Zeroizing;

/// The least that a full buffer grows by.
const STEP: usize = 8 * 1024;

/// Makes room for at least one more byte.
pub(super) fn make_room(buffer: &mut Zeroizing<Vec<u8>>) {
    if buffer.len() < buffer.capacity() {
        return;
    }
    // `Vec` would free the old memory with the secret still in it.
    let mut larger = Zeroizing::new(Vec::with_capacity(2 * buffer.len() + STEP));
    larger.extend_from_slice(buffer);
    *buffer = larger;
}

/// Turns the bytes into text without a copy.
pub(super) fn into_text(mut bytes: Zeroizing<Vec<u8>>) -> Option<Zeroizing<String>> {
    match String::from_utf8(std::mem::take(&mut *bytes)) {
        Ok(text) => Some(Zeroizing::new(text)),
        Err(error) => {
            drop(Zeroizing::new(error.into_bytes()));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_buffer_grows_and_keeps_its_bytes() {
        let mut buffer = Zeroizing::new(Vec::with_capacity(3));
        buffer.extend_from_slice(b"abc");
        make_room(&mut buffer);
        assert!(buffer.capacity() > buffer.len());
        assert_eq!(**buffer, *b"abc");
        let before = buffer.as_ptr();
        make_room(&mut buffer);
        assert_eq!(buffer.as_ptr(), before);
        let text = into_text(buffer).unwrap();
        assert_eq!((text.as_str(), text.as_ptr()), ("abc", before));
    }
}
