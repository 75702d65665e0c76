use beluga_o11y::TraceExporter;
use beluga_o11y_opik::OpikAuthorization;
use beluga_o11y_sandbox::{Fault, OpikCloud};

use super::*;

const KEY: &str = "opik-key";

/// A cloud that takes the bare key only, as Opik's own clients send it.
fn bare_cloud() -> Sandbox {
    Sandbox::builder()
        .with_cloud(OpikCloud::new(KEY))
        .start()
        .unwrap()
}

fn bearer_cloud() -> Sandbox {
    let account = OpikCloud::new(KEY).with_bearer_accepted();
    Sandbox::builder().with_cloud(account).start().unwrap()
}

fn with_key(sandbox: &Sandbox, key: &str) -> OpikExporter {
    builder(sandbox).with_api_key(key).build().unwrap()
}

/// How often each form was seen since the last time: bearer, bare.
fn forms(sandbox: &Sandbox) -> (usize, usize) {
    let seen = headers(&sandbox.requests(), "authorization");
    sandbox.clear();
    let count = |bearer: bool| {
        seen.iter()
            .filter(|v| v.starts_with("Bearer ") == bearer)
            .count()
    };
    (count(true), count(false))
}

#[tokio::test]
async fn bearer_is_tried_first_and_stays_where_it_is_accepted() {
    let sandbox = bearer_cloud();
    let opik = with_key(&sandbox, KEY);
    for _ in 0..3 {
        opik.export_llm_call(&call()).await.unwrap();
    }
    assert_eq!(sandbox.traces().len(), 3);
    assert_eq!(
        headers(&sandbox.requests(), "authorization"),
        vec!["Bearer opik-key"; 6]
    );
}

#[tokio::test]
async fn the_bare_key_is_tried_once_and_stays_where_it_is_accepted() {
    let sandbox = bare_cloud();
    let opik = with_key(&sandbox, KEY);
    opik.export_llm_call(&call()).await.unwrap();
    assert_eq!(sandbox.traces().len(), 1);
    assert_eq!(forms(&sandbox), (2, 2));
    for _ in 0..3 {
        opik.export_llm_call(&call()).await.unwrap();
    }
    opik.check().await.unwrap();
    let seen = headers(&sandbox.requests(), "authorization");
    assert_eq!(seen.iter().filter(|value| *value == KEY).count(), 7);
    assert!(!seen.iter().any(|value| value.starts_with("Bearer")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_requests_share_the_decision() {
    let sandbox = bare_cloud();
    let opik = with_key(&sandbox, KEY);
    let tasks: Vec<_> = (0..20)
        .map(|_| {
            let opik = opik.clone();
            tokio::spawn(async move { opik.export_llm_call(&call()).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    assert_eq!(sandbox.traces().len(), 20);
    let (bearer, bare) = forms(&sandbox);
    assert_eq!(
        bare, 40,
        "every request arrived once in the form that is accepted"
    );
    assert!(bearer <= 40);
    opik.export_llm_call(&call()).await.unwrap();
    assert_eq!(forms(&sandbox), (0, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_key_is_tried_in_the_second_form_once_in_ten_seconds() {
    let sandbox = bare_cloud();
    let opik = with_key(&sandbox, "wrong");
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let opik = opik.clone();
            tokio::spawn(async move { opik.export_llm_call(&call()).await })
        })
        .collect();
    for task in tasks {
        let error = task.await.unwrap().unwrap_err();
        assert_eq!(error.status(), Some(401));
        assert!(
            error
                .to_string()
                .starts_with("opik: export: 401 Unauthorized: the API key")
        );
    }
    assert_eq!(forms(&sandbox), (20, 1));
    opik.export_llm_call(&call()).await.unwrap_err();
    assert_eq!(forms(&sandbox), (2, 0));
    tokio::time::sleep(Duration::from_secs(10)).await;
    for expected in [(2, 1), (2, 0)] {
        opik.export_llm_call(&call()).await.unwrap_err();
        assert_eq!(forms(&sandbox), expected);
    }
}

#[tokio::test]
async fn a_bare_key_that_becomes_good_is_found_so() {
    let sandbox = bare_cloud();
    let opik = with_key(&sandbox, KEY);
    sandbox.inject(Fault::status(401).times(3));
    opik.export_llm_call(&call()).await.unwrap_err();
    tokio::time::sleep(Duration::from_secs(10)).await;
    opik.export_llm_call(&call()).await.unwrap();
    assert_eq!(sandbox.traces().len(), 1);
}

#[tokio::test]
async fn if_both_are_refused_the_first_answer_is_reported() {
    let sandbox = bare_cloud();
    // The first two requests (traces and spans) get this body, the second form gets another.
    sandbox.inject(Fault::status(401).with_body("the first answer").times(2));
    sandbox.inject(Fault::status(401).with_body("the second answer"));
    let error = with_key(&sandbox, KEY)
        .export_llm_call(&call())
        .await
        .unwrap_err();
    assert_eq!(error.response_snippet(), Some("the first answer"));
}

#[tokio::test]
async fn a_server_that_is_busy_decides_nothing() {
    for status in [408, 425, 429, 500, 503] {
        let sandbox = bare_cloud();
        let opik = with_key(&sandbox, KEY);
        // Past the two refusals of the first form, the server is busy for the second.
        sandbox.inject(Fault::status(status).after(2).times(2));
        let error = opik.export_llm_call(&call()).await.unwrap_err();
        assert_eq!(error.status(), Some(status));
        assert_eq!(forms(&sandbox), (2, 2));
        opik.export_llm_call(&call()).await.unwrap();
        assert_eq!(sandbox.traces().len(), 1);
        let (bearer, bare) = forms(&sandbox);
        assert!(bearer > 0 && bare > 0, "the question was still open");
    }
}

#[tokio::test]
async fn once_it_is_decided_those_who_waited_go_on_side_by_side() {
    let sandbox = bare_cloud();
    let delay = Duration::from_millis(200);
    sandbox.inject(Fault::latency(delay).always());
    let opik = with_key(&sandbox, KEY);
    let start = std::time::Instant::now();
    let all: Vec<_> = (0..20)
        .map(|_| {
            let opik = opik.clone();
            tokio::spawn(async move { opik.export_llm_call(&call()).await })
        })
        .collect();
    for one in all {
        one.await.unwrap().unwrap();
    }
    // Refused, decided, sent: three times the delay; one after the other it would be 40 times.
    assert!(start.elapsed() < delay * 10, "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_decision_that_is_cancelled_or_no_longer_polled_holds_nobody_up() {
    let sandbox = bare_cloud();
    sandbox.inject(Fault::latency(Duration::from_millis(100)).always());
    let opik = builder(&sandbox)
        .with_api_key(KEY)
        .with_timeout(Duration::from_secs(1))
        .build()
        .unwrap();
    let (first, second) = (call(), call());
    let mut export = opik.export_llm_call(&first);
    // Until the second form is on its way.
    while sandbox.request_count() < 3 {
        let _ = tokio::time::timeout(Duration::from_millis(10), &mut export).await;
    }
    // It is kept, and not polled.
    tokio::time::timeout(Duration::from_secs(4), opik.export_llm_call(&second))
        .await
        .expect("within the timeouts of its own")
        .unwrap();
    drop(export);
    opik.export_llm_call(&first).await.unwrap();
    assert_eq!(sandbox.traces().len(), 2);
}

#[tokio::test]
async fn a_revoked_key_does_not_bring_back_the_other_form() {
    let sandbox = bearer_cloud();
    let opik = with_key(&sandbox, KEY);
    opik.export_llm_call(&call()).await.unwrap();
    sandbox.clear();
    sandbox.inject(Fault::status(401).always());
    opik.export_llm_call(&call()).await.unwrap_err();
    assert_eq!(forms(&sandbox), (2, 0));
}

#[tokio::test]
async fn a_setting_pins_either_form() {
    for (form, seen) in [
        (OpikAuthorization::Bearer, "Bearer opik-key"),
        (OpikAuthorization::Bare, "opik-key"),
    ] {
        let sandbox = bare_cloud();
        let opik = builder(&sandbox)
            .with_api_key(KEY)
            .with_authorization(form)
            .build()
            .unwrap();
        let result = opik.export_llm_call(&call()).await;
        assert_eq!(result.is_ok(), form == OpikAuthorization::Bare);
        assert_eq!(headers(&sandbox.requests(), "authorization"), vec![seen; 2]);
    }
}

#[tokio::test]
async fn a_key_with_a_scheme_goes_as_it_is() {
    let sandbox = bare_cloud();
    let opik = with_key(&sandbox, "Basic dTpw");
    opik.export_llm_call(&call()).await.unwrap_err();
    assert_eq!(
        headers(&sandbox.requests(), "authorization"),
        vec!["Basic dTpw"; 2]
    );
}

#[tokio::test]
async fn a_key_is_trimmed() {
    let sandbox = bearer_cloud();
    with_key(&sandbox, " opik-key\n")
        .export_llm_call(&call())
        .await
        .unwrap();
    assert_eq!(
        headers(&sandbox.requests(), "authorization"),
        vec!["Bearer opik-key"; 2]
    );
}

#[tokio::test]
async fn workspaces_are_kept_apart() {
    let account = OpikCloud::new(KEY)
        .with_workspace("ml-team")
        .with_workspace("support");
    let sandbox = Sandbox::builder().with_cloud(account).start().unwrap();
    for workspace in ["ml-team", "support"] {
        let opik = builder(&sandbox)
            .with_api_key(KEY)
            .with_workspace(workspace)
            .build()
            .unwrap();
        opik.export_llm_call(&call()).await.unwrap();
    }
    let seen: Vec<_> = sandbox
        .traces()
        .into_iter()
        .map(|trace| trace.workspace)
        .collect();
    assert_eq!(seen, ["ml-team", "support"]);
    let unknown = builder(&sandbox)
        .with_api_key(KEY)
        .with_workspace("x")
        .build()
        .unwrap();
    let error = unknown.export_llm_call(&call()).await.unwrap_err();
    assert_eq!(
        error.kind(),
        beluga_o11y::ExportErrorKind::Destination,
        "{error}"
    );
}
