//! Copies of what a request's body has produced, for a retry.

use std::mem;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

/// Copies of what a body has produced. Trailers are its last frame.
#[derive(Default)]
pub(super) struct Record {
    data: Vec<u8>,
    trailers: Option<HeaderMap>,
}

/// What one trailer costs in memory, beside its name and its value.
const TRAILER: usize = 128;

impl Record {
    /// Adds a copy of a frame. Returns false if there would be more than `cap` bytes.
    pub(super) fn add(&mut self, frame: &Frame<Bytes>, cap: usize) -> bool {
        // Nothing comes after trailers; a body that goes on is no body that could be sent again.
        if self.trailers.is_some() {
            return false;
        }
        if let Some(data) = frame.data_ref() {
            let needed = self.data.len().saturating_add(data.len());
            if needed > cap {
                return false;
            }
            if needed > self.data.capacity() {
                // It doubles, so that many small frames cost few copies, but not beyond the cap.
                let capacity = needed.max(self.data.capacity() * 2).min(cap);
                self.data.reserve_exact(capacity - self.data.len());
            }
            self.data.extend_from_slice(data);
            return true;
        }
        match frame.trailers_ref() {
            Some(trailers) if self.data.len().saturating_add(size_of(trailers)) <= cap => {
                self.trailers = copy_of(trailers);
                self.trailers.is_some()
            }
            // A kind of frame that this crate does not know can be passed on, but not recorded.
            _ => false,
        }
    }

    /// Takes the next frame to send.
    pub(super) fn next(&mut self) -> Option<Frame<Bytes>> {
        if !self.data.is_empty() {
            return Some(Frame::data(mem::take(&mut self.data).into()));
        }
        self.trailers.take().map(Frame::trailers)
    }

    /// Returns true if there is nothing to send.
    pub(super) fn is_empty(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    /// Returns the bytes of data.
    pub(super) fn len(&self) -> usize {
        self.data.len()
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.data.capacity()
    }
}

/// Returns the memory that a copy of trailers takes.
fn size_of(trailers: &HeaderMap) -> usize {
    trailers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + TRAILER)
        .sum()
}

/// Copies trailers. Their own clone would keep the buffers that they are slices of.
fn copy_of(trailers: &HeaderMap) -> Option<HeaderMap> {
    let mut copy = HeaderMap::try_with_capacity(trailers.len()).ok()?;
    for (name, value) in trailers {
        let name = HeaderName::from_bytes(name.as_str().as_bytes()).ok()?;
        let mut own = HeaderValue::from_bytes(value.as_bytes()).ok()?;
        own.set_sensitive(value.is_sensitive());
        copy.try_append(name, own).ok()?;
    }
    Some(copy)
}
