//! Compression of request bodies.

use std::io::Write;

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};

/// Smaller bodies go out as they are: they fit in a packet or two, and the backends that we know
/// compress from about here on too.
pub(crate) const MIN_BYTES: usize = 1024;

/// The body in gzip, or `None` if that does not make it smaller.
///
/// Level 1, because trace content is JSON: that already takes four fifths off, and every level above
/// costs more of the program's time than it saves of the network's.
pub(crate) fn compress(body: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    let encoded = encoder.finish().ok()?;
    (encoded.len() < body.len()).then(|| Bytes::from(encoded))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn round_trip() {
        let body = "{\"messages\":[1,2,3]}".repeat(500);
        let encoded = compress(body.as_bytes()).unwrap();
        assert!(encoded.len() < body.len() / 4);
        let mut decoded = String::new();
        flate2::read::GzDecoder::new(&encoded[..])
            .read_to_string(&mut decoded)
            .unwrap();
        assert_eq!(decoded, body);
    }

    #[test]
    fn what_does_not_shrink_is_left_alone() {
        let noise: Vec<u8> = (0..2048u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 ^ (i >> 3) as u8)
            .collect();
        let encoded = compress(&noise);
        assert!(encoded.is_none_or(|encoded| encoded.len() < noise.len()));
        assert!(compress(b"x").is_none());
    }
}
