//! Integers that LangSmith cannot keep.
//!
//! It answers 422 "int too big to convert" for an integer beyond 64 bits with a sign (langsmith-sdk issue
//! 637), and with it refuses the whole batch. Which of its fields that is about is not known, so no
//! integer of a call may be larger.

/// Whether there is an integer in this JSON text that 64 bits with a sign do not hold. Numbers with a
/// fraction or an exponent are read in double precision, and are none.
pub(crate) fn are_too_big(json: &str) -> bool {
    let bytes = json.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        at = match byte {
            b'"' => after_string(bytes, at + 1),
            b'-' | b'0'..=b'9' => {
                let end = after_number(bytes, at);
                if json.get(at..end).is_some_and(is_too_big) {
                    return true;
                }
                end
            }
            _ => at + 1,
        };
    }
    false
}

fn is_too_big(number: &str) -> bool {
    // As many digits always fit, with or without a sign.
    const SAFE_DIGITS: usize = 18;
    number.len() > SAFE_DIGITS
        && !number.contains(['.', 'e', 'E'])
        && number.parse::<i64>().is_err()
}

/// The place after a string, from the place after its opening quote.
fn after_string(bytes: &[u8], mut at: usize) -> usize {
    loop {
        at += match bytes.get(at) {
            None => return at,
            Some(b'"') => return at + 1,
            Some(b'\\') => 2,
            Some(_) => 1,
        };
    }
}

fn after_number(bytes: &[u8], mut at: usize) -> usize {
    while let Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'e' | b'E') = bytes.get(at) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limits_are_those_of_64_bits_with_a_sign() {
        for fits in [
            "0",
            "-0",
            "9223372036854775807",
            "-9223372036854775808",
            "1e300",
            "9223372036854775808.0",
            "92233720368547758080000e-3",
            "\"9223372036854775808\"",
            r#"["\"",{"a\\":"18446744073709551616"}]"#,
            "000000000000000000000000",
        ] {
            assert!(!are_too_big(fits), "{fits}");
        }
        for too_big in [
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551615",
            r#"{"a":[1,"x\"",{"b\\":92233720368547758080}]}"#,
            "[ 9223372036854775808 ]",
        ] {
            assert!(are_too_big(too_big), "{too_big}");
        }
    }

    #[test]
    fn what_is_no_json_does_no_harm() {
        for text in ["\"", "\"\\", "-", "", "é", "[\"\\"] {
            assert!(!are_too_big(text));
        }
    }
}
