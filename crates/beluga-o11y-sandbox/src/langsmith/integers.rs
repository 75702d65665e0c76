//! Integers that the server cannot keep: those beyond 64 bits with a sign (422 "int too big to convert", issue 637).

/// Whether there is one in this text, which should be JSON.
pub(crate) fn too_big(json: &[u8]) -> bool {
    let mut in_text = false;
    let mut escaped = false;
    let mut number = Vec::new();
    for byte in json.iter().copied().chain([b' ']) {
        if in_text {
            in_text = escaped || byte != b'"';
            escaped = !escaped && byte == b'\\';
            continue;
        }
        if byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E') {
            number.push(byte);
            continue;
        }
        if is_too_big(&number) {
            return true;
        }
        number.clear();
        in_text = byte == b'"';
    }
    false
}

fn is_too_big(number: &[u8]) -> bool {
    let digits = number.strip_prefix(b"-").unwrap_or(number);
    let is_integer = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(number).unwrap_or_default();
    is_integer && text.parse::<i64>().is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixty_four_bits_with_a_sign() {
        for fits in [
            "9223372036854775807",
            "-9223372036854775808",
            "1e99",
            "18446744073709551616.5",
            r#"{"a":"18446744073709551616","b\"18446744073709551616":[true,null]}"#,
        ] {
            assert!(!too_big(fits.as_bytes()), "{fits}");
        }
        for big in [
            "9223372036854775808",
            r#"{"a":"\\",
                "b":[18446744073709551615]}"#,
            "[-9223372036854775809]",
        ] {
            assert!(too_big(big.as_bytes()), "{big}");
        }
    }
}
