use beluga_o11y_phoenix::PhoenixCheckError;
use serde_json::json;

use super::*;

const VERSION: &str = "/arize_phoenix_version";
const TRACES: &str = "/v1/traces";
const PROJECTS: &str = "/v1/projects";

fn version() -> Answer {
    answer(200).on(VERSION).body("text/plain", "20.26.1")
}

fn project(name: &str) -> Answer {
    let data = json!({"data": {"name": name, "description": null, "id": "UHJvamVjdDox"}});
    answer(200).on(PROJECTS).json(data)
}

#[tokio::test]
async fn all_is_well() {
    let server = Server::start([version(), project("default")]).await;
    let found = exporter(&server).check().await.unwrap();
    assert_eq!(
        (found.version.as_str(), found.project.as_str()),
        ("20.26.1", "default")
    );
    assert_eq!(found.project_exists, Some(true));
    assert_eq!(server.paths(), [VERSION, TRACES, "/v1/projects/default"]);
    let [version, probe, project] = server.requests().try_into().unwrap();
    assert_eq!(header(&version, "authorization"), [""; 0]);
    assert_eq!(header(&probe, "authorization"), ["Bearer canary-key"]);
    assert_eq!(header(&project, "authorization"), ["Bearer canary-key"]);
    assert!(probe.body_ref().is_empty());
}

#[tokio::test]
async fn whether_the_project_exists() {
    let list = json!({"data": [{"name": "default"}], "next_cursor": null});
    for (name, answer, path, exists) in [
        ("p", project("p"), "/v1/projects/p", Some(true)),
        (
            "nope",
            answer(404)
                .on(PROJECTS)
                .body("text/plain", "Project with name nope not found"),
            "/v1/projects/nope",
            Some(false),
        ),
        // The id of another project, which Phoenix takes in place of its name.
        (
            "UHJvamVjdDox",
            project("default"),
            "/v1/projects/UHJvamVjdDox",
            Some(false),
        ),
        (
            "a b?%",
            project("a b?%"),
            "/v1/projects/a%20b%3F%25",
            Some(true),
        ),
        (
            "..",
            answer(200).on(PROJECTS).json(list),
            "/v1/projects",
            None,
        ),
        ("p", answer(200).on(PROJECTS).html(), "/v1/projects/p", None),
        ("p", answer(500).on(PROJECTS), "/v1/projects/p", None),
    ] {
        let server = Server::start([version(), answer]).await;
        let phoenix = at(server.url("/")).with_project(name).build().unwrap();
        let found = phoenix.check().await.unwrap();
        assert_eq!(found.project_exists, exists, "{name}");
        assert_eq!(server.paths()[2], path);
    }
    let server = Server::start([version()]).await;
    let phoenix = at(server.url("/")).with_project("a/b").build().unwrap();
    assert_eq!(phoenix.check().await.unwrap().project_exists, None);
    assert_eq!(server.paths().len(), 2);
}

async fn fails(phoenix: PhoenixExporter) -> PhoenixCheckError {
    let error = phoenix.check().await.unwrap_err();
    assert!(error.to_string().starts_with("phoenix: check: "), "{error}");
    assert!(!format!("{error} {error:?}").contains("canary"));
    error
}

#[tokio::test]
async fn each_failure_has_a_name() {
    let on = |path, status| answer(status).on(path).body("text/plain", PROMPT);
    for (answers, variant) in [
        (vec![on(VERSION, 200)], "NotPhoenix { base_url: \"http"),
        (vec![answer(200).on(VERSION).html()], "NotPhoenix"),
        (vec![answer(200).on(VERSION)], "NotPhoenix"),
        (vec![on(VERSION, 404)], "NotPhoenix"),
        (vec![on(VERSION, 401)], "NotPhoenix"),
        (vec![on(VERSION, 429)], "Busy"),
        (vec![on(VERSION, 503)], "Busy { status: 503 }"),
        (vec![version(), on(TRACES, 401)], "KeyRefused"),
        (vec![version(), on(TRACES, 403)], "KeyMayNotWrite"),
        (
            vec![version(), on(TRACES, 404)],
            "TooOld { version: Some(\"20.26.1\"), status: 404 }",
        ),
        (vec![version(), on(TRACES, 405)], "TooOld"),
        (vec![version(), answer(404).on(TRACES).html()], "NotPhoenix"),
        (vec![version(), answer(200).on(TRACES).html()], "NotPhoenix"),
        (vec![version(), on(TRACES, 503)], "Busy"),
        (
            vec![answer(302).header("location", "https://e.example/?canary")],
            "Unreachable",
        ),
    ] {
        let server = Server::start(answers).await;
        let shown = format!("{:?}", fails(exporter(&server)).await);
        assert!(shown.starts_with(variant), "{variant}: {shown}");
    }
    let server = Server::start([version(), answer(401).on(TRACES)]).await;
    let without = PhoenixExporter::builder().with_base_url(server.url("/"));
    let error = fails(without.build().unwrap()).await;
    assert!(matches!(error, PhoenixCheckError::KeyMissing));
    let nobody = at("http://127.0.0.1:9").build().unwrap();
    assert!(matches!(
        fails(nobody).await,
        PhoenixCheckError::Unreachable(_)
    ));
}
