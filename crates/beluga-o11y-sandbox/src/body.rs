//! Request bodies: read whole, bounded, unpacked.

use std::io::Read;

use bytes::Bytes;
use flate2::read::{MultiGzDecoder, ZlibDecoder};
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};

/// Bytes that a body may have once it is unpacked, the cloud's own limit; no setting raises it, so that a hostile
/// body cannot take all memory.
pub(crate) const MAX_DECODED: u64 = 256 * 1024 * 1024;

/// A body as it arrived.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) wire_bytes: u64,
    /// Unpacked; empty if there is a problem.
    pub(crate) bytes: Bytes,
    pub(crate) problem: Option<Problem>,
}

/// A way to pack bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Coding {
    Gzip,
    /// What HTTP calls deflate: the zlib format.
    #[cfg_attr(
        not(feature = "otlp"),
        expect(dead_code, reason = "only Phoenix takes it")
    )]
    Deflate,
}

/// Why a body was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// On the wire, by its Content-Length or by counting: refused before anything else is looked at.
    TooLarge(u64),
    /// Unpacked.
    TooLargeUnpacked,
    /// It is not packed as it says.
    Corrupt,
}

/// Reads a body and unpacks it. None: the client went away.
pub(crate) async fn read(
    incoming: Incoming,
    limit: Option<u64>,
    coding: Option<Coding>,
) -> Option<Body> {
    let limit = limit.unwrap_or(u64::MAX).min(MAX_DECODED);
    let declared = incoming.size_hint().exact().unwrap_or_default();
    let mut incoming = incoming;
    let mut packed = Vec::new();
    let mut body = Body::default();
    while let Some(frame) = incoming.frame().await {
        let Ok(data) = frame.ok()?.into_data() else {
            continue;
        };
        body.wire_bytes += data.len() as u64;
        // What is too much is read all the same, and dropped: an answer to a client that still writes may get lost.
        if declared.max(body.wire_bytes) <= limit {
            packed.extend_from_slice(&data);
        }
    }
    if declared.max(body.wire_bytes) > limit {
        body.problem = Some(Problem::TooLarge(limit));
        return Some(body);
    }
    let unpacked = match coding {
        None => Ok(packed),
        Some(Coding::Gzip) => unpack(MultiGzDecoder::new(packed.as_slice()), MAX_DECODED).await,
        Some(Coding::Deflate) => unpack(ZlibDecoder::new(packed.as_slice()), MAX_DECODED).await,
    };
    match unpacked {
        Ok(bytes) => body.bytes = Bytes::from(bytes),
        Err(problem) => body.problem = Some(problem),
    }
    Some(body)
}

/// Unpacks in steps, so that a bomb holds up neither the other connections nor the end of the sandbox.
async fn unpack(mut decoder: impl Read, limit: u64) -> Result<Vec<u8>, Problem> {
    const STEP: u64 = 256 * 1024;
    let mut bytes = Vec::new();
    loop {
        let step = decoder.by_ref().take(STEP).read_to_end(&mut bytes);
        if bytes.len() as u64 > limit {
            return Err(Problem::TooLargeUnpacked);
        }
        if step.map_err(|_| Problem::Corrupt)? == 0 {
            return Ok(bytes);
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    async fn unpack_gzip(packed: &[u8], limit: u64) -> Result<Vec<u8>, Problem> {
        unpack(MultiGzDecoder::new(packed), limit).await
    }

    #[tokio::test]
    async fn unpacking_ends_at_the_limit() {
        let text = vec![b' '; 1_000_000];
        let packed = gzip(&text);
        assert_eq!(unpack_gzip(&packed, 1_000_000).await, Ok(text));
        assert_eq!(
            unpack_gzip(&packed, 999_999).await,
            Err(Problem::TooLargeUnpacked)
        );
        assert_eq!(
            unpack_gzip(&packed.repeat(3), 2_999_999).await,
            Err(Problem::TooLargeUnpacked)
        );
        assert_eq!(
            unpack_gzip(&packed[..500], 1_000_000).await,
            Err(Problem::Corrupt)
        );
        assert_eq!(unpack_gzip(b"text", 1_000_000).await, Err(Problem::Corrupt));
        assert_eq!(unpack_gzip(&gzip(b""), 0).await, Ok(Vec::new()));
    }
}
