//! No secret shows, wherever one looks.

use std::fmt::{Debug, Display};

use beluga_o11y_http::{HttpRequest, SecretHeaderValue};

use crate::{
    builder,
    server::{Server, answer},
};

const CANARY: &str = "canary";

fn look(what: &dyn Debug) {
    for text in [format!("{what:?}"), format!("{what:#?}")] {
        // A list of bytes would be a way to show it too.
        assert!(
            !text.contains(CANARY) && !text.contains("99, 97, 110"),
            "{text}"
        );
    }
}

fn read<E: Debug + Display + std::error::Error>(error: &E) {
    look(error);
    let mut next: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = next {
        assert!(!error.to_string().contains(CANARY), "{error}");
        next = error.source();
    }
}

#[tokio::test]
async fn canaries() {
    let hostile = Server::answering(|seen| match seen.line() {
        line if line.contains("/redirect") => answer(
            "307 canary",
            &["Location: http://canary@h/canary?canary"],
            "canary",
        ),
        line if line.contains("/garbage") => "canary garbage\r\n\r\n".into(),
        _ => answer(
            "401 canary",
            &["X-Canary: canary", "Set-Cookie: canary"],
            "canary",
        ),
    });
    let make = |url: &str| {
        builder(url)
            .with_header("X-Api-Key", CANARY)
            .with_proxy("http://canary:canary@proxy:3128")
            .with_credentials(true)
    };

    let builder = make(&hostile.url());
    look(&builder);
    look(&make("http://canary:canary@h/?canary#canary"));
    read(&make("http://canary:canary@h").build().unwrap_err());
    read(&make("http://h/?canary").build().unwrap_err());
    look(&make(&hostile.url()).with_client_identity_pem(CANARY));
    if let Err(error) = make(&hostile.url())
        .with_client_identity_pem(CANARY)
        .build()
    {
        read(&error);
    }

    let sender = builder.build().unwrap();
    look(&sender);
    let key = SecretHeaderValue::new(CANARY).unwrap();
    look(&key);
    for path in ["x", "redirect", "garbage"] {
        let request = HttpRequest::post(path, "text/plain", CANARY).with_authorization(&key);
        look(&request);
        match sender.send(request).await {
            Ok(response) => {
                look(&response);
                read(&response.error_for_status("opik").unwrap());
            }
            Err(error) => {
                read(&error);
                read(&error.into_export_error("opik"));
            }
        }
    }
    // They were sent, though.
    let seen = &hostile.seen()[0];
    assert_eq!(seen.header("x-api-key"), Some(CANARY));
    assert_eq!(seen.header("authorization"), Some(CANARY));
}
