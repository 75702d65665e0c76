//! Examples as somebody runs them: where they send, what they print, how they exit.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use beluga_o11y_sandbox::{Fault, Sandbox};

/// Cargo builds the examples of a package before it runs its tests, beside them.
fn built(example: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let profile = test.ancestors().nth(2).expect("target/debug/deps/test");
    profile
        .join("examples")
        .join(format!("{example}{}", std::env::consts::EXE_SUFFIX))
}

/// Runs it with these variables and no others of ours or Opik's.
fn run_example(example: &str, home: &Path, vars: &[(&str, &str)]) -> (Output, String) {
    let mut command = Command::new(built(example));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if name.starts_with("OPIK_") || name.starts_with("BELUGA_") {
            command.env_remove(name);
        }
    }
    let output = command
        .env("HOME", home)
        .envs(vars.iter().copied())
        .output()
        .expect("the examples are built: cargo test -p beluga-o11y-examples builds it");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    (output, stdout)
}

/// The quickstart.
fn run(home: &Path, vars: &[(&str, &str)]) -> (Output, String) {
    run_example("quickstart", home, vars)
}

#[test]
fn with_nothing_set_it_uses_a_sandbox_and_says_so() {
    let home = tempfile::tempdir().unwrap();
    let elsewhere = Sandbox::start().unwrap();
    // A configuration file alone does not send anybody's calls anywhere.
    let file = format!(
        "[opik]\nurl_override = {}\napi_key = k\n",
        elsewhere.opik_url()
    );
    std::fs::write(home.path().join(".opik.config"), file).unwrap();

    let (output, text) = run(home.path(), &[("OPIK_API_KEY", " ")]);
    assert!(output.status.success(), "{text}");
    assert!(
        text.starts_with("No OPIK_API_KEY or OPIK_URL_OVERRIDE: using a sandbox"),
        "{text}"
    );
    let (sent, arrived) = text.split_once("arrived in the sandbox:").unwrap();
    for table in [sent, arrived] {
        for cell in [
            "openai/gpt-4o ",
            "650",
            "0.0030 USD",
            "1200 ms",
            "anthropic/",
            "2014",
        ] {
            assert!(table.contains(cell), "{cell} in {table}");
        }
    }
    assert!(arrived.contains("RateLimitError"), "{arrived}");
    assert_eq!(elsewhere.request_count(), 0);
}

#[test]
fn with_a_url_it_names_the_target_and_sends_there() {
    let home = tempfile::tempdir().unwrap();
    let opik = Sandbox::start().unwrap();
    let url = opik.opik_url();
    let (output, text) = run(home.path(), &[("OPIK_URL_OVERRIDE", &url)]);
    assert!(output.status.success(), "{text}");
    let target = format!("Exporting to {url}, workspace default, project beluga-quickstart.");
    assert!(text.starts_with(&target), "{text}");
    let projects: Vec<_> = opik
        .traces()
        .into_iter()
        .map(|trace| trace.project_name)
        .collect();
    assert_eq!(projects, ["beluga-quickstart"; 3]);
    assert_eq!(text.matches("accepted").count(), 3, "{text}");

    opik.clear();
    let vars = [
        ("OPIK_URL_OVERRIDE", url.as_str()),
        ("OPIK_PROJECT_NAME", "mine"),
    ];
    assert!(run(home.path(), &vars).0.status.success());
    assert!(
        opik.traces()
            .iter()
            .all(|trace| trace.project_name == "mine")
    );
}

#[test]
fn it_fails_if_anything_was_not_accepted() {
    let home = tempfile::tempdir().unwrap();
    let opik = Sandbox::start().unwrap();
    let url = opik.opik_url();
    let vars = [("OPIK_URL_OVERRIDE", url.as_str())];
    opik.inject(Fault::status(503));
    let (output, text) = run(home.path(), &vars);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text.matches(" not accepted").count(), 1, "{text}");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        errors.contains("opik: export: 503 Service Unavailable"),
        "{errors}"
    );

    let (output, _) = run(home.path(), &[vars[0], ("OPIK_WORKSPACE", "nobody")]);
    assert_eq!(output.status.code(), Some(1));
    let (output, text) = run(home.path(), &[vars[0], ("OPIK_TRACK_DISABLE", "true")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text.contains("switched off"), "{text}");
}

#[test]
fn a_mistake_in_the_settings_is_one_clear_line() {
    let home = tempfile::tempdir().unwrap();
    let (output, _) = run(home.path(), &[("OPIK_URL_OVERRIDE", "nonsense")]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.starts_with("opik: invalid base URL"), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
}

/// The table at the end of an experiment, and what it says went wrong.
fn table(text: &str) -> &str {
    let start = text.find("variant ").expect("a table");
    text[start..].trim_end()
}

#[test]
fn the_experiment_prints_what_the_docs_say() {
    let home = tempfile::tempdir().unwrap();
    let (output, text) = run_example("experiment", home.path(), &[]);
    assert!(output.status.success(), "{text}");
    assert!(
        text.starts_with("No OPIK_API_KEY or OPIK_URL_OVERRIDE: using a sandbox"),
        "{text}"
    );
    let docs = include_str!("../docs/experiments.md");
    assert!(docs.contains(table(&text)), "{}", table(&text));
}

#[test]
fn the_experiment_goes_on_where_it_stopped() {
    let home = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::start().unwrap();
    let url = sandbox.opik_url();
    let run = || run_example("experiment", home.path(), &[("OPIK_URL_OVERRIDE", &url)]);
    let (first, _) = run();
    let (second, text) = run();
    assert!(first.status.success() && second.status.success(), "{text}");
    assert!(
        text.starts_with("dataset `capitals`: 0 new items, 6 that were there already"),
        "{text}"
    );
    let rows: Vec<Vec<&str>> = table(&text)
        .lines()
        .skip(1)
        .map(|line| line.split_whitespace().collect())
        .collect();
    // What failed is tried again.
    assert_eq!(rows[0], ["chatty", "0", "5", "1", "0", "-", "0.00", "1.00"]);
    assert_eq!(rows[1], ["terse", "0", "6", "0", "0", "-", "0.83", "0.83"]);
    assert_eq!(sandbox.experiments().len(), 2);
    // Eleven answers, and the failure twice.
    assert_eq!(sandbox.experiment_items().len(), 13);
}
