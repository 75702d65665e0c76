//! Request bodies: read whole, bounded, unpacked.

use std::io::Read;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use hyper::{HeaderMap, header};

/// Bytes that a body may have once it is unpacked, the cloud's own limit; no setting raises it, so that a hostile
/// body cannot take all memory.
pub(crate) const MAX_DECODED: u64 = 256 * 1024 * 1024;

/// A body as it arrived.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) wire_bytes: u64,
    /// Unpacked; empty if there is a problem.
    pub(crate) json: Bytes,
    pub(crate) problem: Option<Problem>,
}

/// Why a body was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// On the wire, by its Content-Length or by counting: refused before anything else is looked at.
    TooLarge(u64),
    /// Unpacked.
    TooLargeUnpacked,
    /// It says gzip and is not.
    NotGzip,
}

/// Reads a body. None: the client went away.
pub(crate) async fn read(
    headers: &HeaderMap,
    incoming: Incoming,
    limit: Option<u64>,
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
    let gzip = headers
        .get(header::CONTENT_ENCODING)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"gzip"));
    match if gzip {
        unpack(&packed, MAX_DECODED).await
    } else {
        Ok(packed)
    } {
        Ok(json) => body.json = Bytes::from(json),
        Err(problem) => body.problem = Some(problem),
    }
    Some(body)
}

/// Unpacks in steps, so that a bomb holds up neither the other connections nor the end of the sandbox.
async fn unpack(packed: &[u8], limit: u64) -> Result<Vec<u8>, Problem> {
    const STEP: u64 = 256 * 1024;
    let mut decoder = MultiGzDecoder::new(packed);
    let mut json = Vec::new();
    loop {
        let step = decoder.by_ref().take(STEP).read_to_end(&mut json);
        if json.len() as u64 > limit {
            return Err(Problem::TooLargeUnpacked);
        }
        if step.map_err(|_| Problem::NotGzip)? == 0 {
            return Ok(json);
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

    #[tokio::test]
    async fn unpacking_ends_at_the_limit() {
        let text = vec![b' '; 1_000_000];
        let packed = gzip(&text);
        assert_eq!(unpack(&packed, 1_000_000).await, Ok(text));
        assert_eq!(
            unpack(&packed, 999_999).await,
            Err(Problem::TooLargeUnpacked)
        );
        assert_eq!(
            unpack(&packed.repeat(3), 2_999_999).await,
            Err(Problem::TooLargeUnpacked)
        );
        assert_eq!(
            unpack(&packed[..500], 1_000_000).await,
            Err(Problem::NotGzip)
        );
        assert_eq!(unpack(b"text", 1_000_000).await, Err(Problem::NotGzip));
        assert_eq!(unpack(&gzip(b""), 0).await, Ok(Vec::new()));
    }
}
