use beluga_o11y_langfuse::LangfuseCheckError;
use serde_json::json;

use super::*;

const HEALTH: &str = "/api/public/health";
const PROJECTS: &str = "/api/public/projects";
const OTLP: &str = "/api/public/otel/v1/traces";

fn healthy() -> Answer {
    answer(200)
        .on(HEALTH)
        .json(json!({"status": "OK", "version": "4.16.0"}))
}

fn projects() -> Answer {
    answer(200).on(PROJECTS).json(
        json!({"data": [{"id": "p1", "name": "prod", "organization": {"id": "o"}, "metadata": {}}]}),
    )
}

#[tokio::test]
async fn all_is_well() {
    let server = Server::start([healthy(), projects(), answer(200).on(OTLP).json(json!({}))]).await;
    let found = exporter(&server).check().await.unwrap();
    assert_eq!(found.version.as_deref(), Some("4.16.0"));
    assert_eq!(
        (found.project.as_str(), found.project_id.as_str()),
        ("prod", "p1")
    );
    assert_eq!(server.paths(), [HEALTH, PROJECTS, OTLP]);
    let [health, list, otlp] = server.requests().try_into().unwrap();
    // The keys go only where they are needed.
    assert_eq!(header(&health, "authorization"), [""; 0]);
    assert_eq!(header(&list, "authorization").len(), 1);
    assert!(otlp.body_ref().is_empty());

    let quiet = answer(200).on(HEALTH).json(json!({"status": "OK"}));
    let server = Server::start([quiet, projects()]).await;
    assert_eq!(exporter(&server).check().await.unwrap().version, None);
}

#[tokio::test]
async fn each_failure_has_a_name() {
    let on = |path, status| answer(status).on(path).json(json!({"message": PROMPT}));
    for (answers, variant) in [
        (vec![on(HEALTH, 503)], "Unhealthy { status: 503 }"),
        (vec![on(HEALTH, 500)], "Unhealthy"),
        (vec![on(HEALTH, 429)], "Busy"),
        (vec![on(HEALTH, 404)], "NotLangfuse"),
        (vec![answer(200).on(HEALTH).html()], "NotLangfuse"),
        (
            vec![answer(200).on(HEALTH).body("text/plain", "OK")],
            "NotLangfuse",
        ),
        (vec![healthy(), on(PROJECTS, 401)], "KeysRefused"),
        (vec![healthy(), on(PROJECTS, 403)], "NotProjectKeys"),
        (vec![healthy(), on(PROJECTS, 404)], "NotLangfuse"),
        (
            vec![healthy(), answer(200).on(PROJECTS).html()],
            "NotLangfuse",
        ),
        (
            vec![
                healthy(),
                answer(200).on(PROJECTS).json(json!({"data": []})),
            ],
            "NotLangfuse",
        ),
        (vec![healthy(), on(PROJECTS, 429)], "Busy"),
        (vec![healthy(), on(PROJECTS, 500)], "Busy"),
        (vec![healthy(), projects(), on(OTLP, 401)], "KeysRefused"),
        (vec![healthy(), projects(), on(OTLP, 403)], "Suspended"),
        (vec![healthy(), projects(), on(OTLP, 404)], "NoOtlp"),
        (vec![healthy(), projects(), on(OTLP, 400)], "NoOtlp"),
        (
            vec![healthy(), projects(), answer(200).on(OTLP).html()],
            "NoOtlp",
        ),
        (
            vec![healthy(), projects(), on(OTLP, 503)],
            "Busy { status: 503 }",
        ),
        (
            vec![answer(302).header("location", "https://e.example/?canary")],
            "Unreachable",
        ),
    ] {
        let server = Server::start(answers).await;
        let error = fails(exporter(&server)).await;
        let shown = format!("{error:?}");
        assert!(shown.starts_with(variant), "{variant}: {shown}");
    }
    let old = [healthy(), projects(), on(OTLP, 404)];
    let error = fails(exporter(&Server::start(old).await)).await;
    let text = "langfuse: check: the server has version 4.16.0 and takes no OTLP (status 404)";
    assert!(error.to_string().starts_with(text), "{error}");
    let nobody = at("http://127.0.0.1:9").build().unwrap();
    assert!(matches!(
        fails(nobody).await,
        LangfuseCheckError::Unreachable(_)
    ));
}

async fn fails(langfuse: LangfuseExporter) -> LangfuseCheckError {
    let error = langfuse.check().await.unwrap_err();
    assert!(
        error.to_string().starts_with("langfuse: check: "),
        "{error}"
    );
    assert!(!format!("{error} {error:?}").contains("canary"));
    error
}
