//! What may hold a key does not reach a record: parameters, tools and metadata of others hold more than they say.

use serde_json::{Map, Value};

/// Names of which any part tells.
const PARTS: [&str; 8] = [
    "api_key",
    "apikey",
    "authorization",
    "cookie",
    "credential",
    "passwd",
    "password",
    "secret",
];
/// What else a name is, or ends with after a separator.
const ENDS: [&str; 4] = ["authentication", "header", "headers", "token"];
/// Names of fields whose content are names of someone's own: a parameter of a tool may be a password.
const SCHEMA: &str = "properties";

/// Whether what has this name may be a key, or hold one.
pub(super) fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    let ends = |end: &str| {
        let before = name.strip_suffix(end);
        before.is_some_and(|before| before.is_empty() || before.ends_with(['_', '.']))
    };
    // What is measured until it comes is no key.
    let is_time = name.ends_with("first_token");
    PARTS.iter().any(|part| name.contains(part))
        || name.contains("request.header.")
        || name.contains("response.header.")
        || name.contains("request.metadata.")
        || (ENDS.iter().any(|end| ends(end)) && !is_time)
}

/// Takes out all that may be a key, however deep it stands, and what follows the `?` of addresses.
pub(super) fn remove(fields: &mut Map<String, Value>) {
    fields.retain(|name, _| !is_secret(name));
    for (name, value) in fields {
        match value {
            Value::Object(schema) if name == SCHEMA => schema.values_mut().for_each(remove_of),
            value => remove_of(value),
        }
    }
}

/// The same of any value.
pub(super) fn remove_of(value: &mut Value) {
    match value {
        Value::Object(fields) => remove(fields),
        Value::Array(list) => list.iter_mut().for_each(remove_of),
        Value::String(text) => {
            let is_address = text.starts_with("http://") || text.starts_with("https://");
            if is_address && let Some(query) = text.find('?') {
                text.truncate(query);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_of_keys() {
        for name in [
            "api_key",
            "API-Key",
            "x-api-key",
            "apiKey",
            "openai_api_key",
            "Authorization",
            "authorization_token",
            "headers",
            "extra_headers",
            "gen_ai.headers",
            "http.request.header.x",
            "http.response.header.set-cookie",
            "token",
            "access_token",
            "client_secret",
            "Password",
            "cookies",
            "aws_credentials",
            "authentication",
            "metadata.user_api_key_hash",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "max_tokens",
            "time_to_first_token",
            "tokens",
            "header_level",
            "key",
            "team",
            "tokenizer",
            "subheading",
            "http.response.status_code",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }

    #[test]
    fn keys_are_taken_out_wherever_they_stand() {
        let mut value = json!({
            "temperature": 0.2,
            "api_key": "SECRET",
            "tools": [
                {"type": "mcp", "server_url": "https://x.test/mcp?token=SECRET", "headers": {"a": "SECRET"}},
                {"type": "function", "parameters": {"properties": {"password": {"type": "string", "token": "SECRET"}}}},
            ],
            "note": "what? https://x.test/?a",
        });
        remove_of(&mut value);
        assert_eq!(
            value,
            json!({
                "temperature": 0.2,
                "tools": [
                    {"type": "mcp", "server_url": "https://x.test/mcp"},
                    {"type": "function", "parameters": {"properties": {"password": {"type": "string"}}}},
                ],
                "note": "what? https://x.test/?a",
            })
        );
    }
}
