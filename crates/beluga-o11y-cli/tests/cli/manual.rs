//! Help, completions and manual pages.

use std::{fs, io::Read, process::Command};

use crate::support::Place;

const COMMANDS: [&str; 7] = [
    "check",
    "send",
    "replay",
    "spool",
    "sandbox",
    "completions",
    "man",
];

#[test]
fn every_command_has_help() {
    let place = Place::new();
    let all = place.run(&["--help"]).ends_with(0).says("Exit codes:");
    for command in COMMANDS {
        assert!(all.out.contains(&format!("  {command} ")), "{command}");
        place
            .run(&[command, "--help"])
            .ends_with(0)
            .says("Usage: beluga-o11y ");
    }
    for command in ["status", "drain", "export", "dead", "retry-dead"] {
        place
            .run(&["spool", command, "--help"])
            .ends_with(0)
            .says("<DIR>");
    }
    place
        .run(&["--version"])
        .ends_with(0)
        .says("beluga-o11y 0.");
}

#[test]
fn wrong_arguments_end_with_2() {
    let place = Place::new();
    for arguments in [
        &[][..],
        &["nonsense"],
        &["check", "nonsense"],
        &["check", "none"],
        &["replay"],
        &["replay", "f", "--to", "nonsense"],
        &["replay", "f", "--rate", "0"],
        &["replay", "f", "--patience", "x"],
        &["replay", "f", "--dry-run", "--state", "s"],
        &["spool", "status"],
        &["sandbox", "--port", "70000"],
        &["completions", "nonsense"],
        &["-q", "-v", "man"],
    ] {
        let ran = place.run(arguments).ends_with(2);
        assert!(!ran.err.is_empty() && ran.out.is_empty(), "{arguments:?}");
    }
}

#[test]
fn completions_are_scripts_of_their_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(&["completions", shell]).ends_with(0).out;
        for word in ["replay", "retry-dead", "patience"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
        if shell == "bash" {
            let path = place.file("script", &script);
            assert!(
                Command::new("bash")
                    .args(["-n", &path])
                    .status()
                    .unwrap()
                    .success()
            );
        }
    }
}

#[test]
fn there_is_a_page_for_every_command() {
    let place = Place::new();
    let one = place.run(&["man"]).ends_with(0);
    assert!(one.out.contains(".TH beluga-o11y 1"));
    fs::create_dir(place.path("pages")).unwrap();
    place.run(&["man", "--dir", "pages"]).ends_with(0);
    for command in COMMANDS {
        let page = place.read(&format!("pages/beluga-o11y-{command}.1"));
        assert!(page.contains(".SH SYNOPSIS"), "{command}");
    }
    assert!(place.path("pages/beluga-o11y-spool-retry-dead.1").exists());
    place
        .run(&["man", "--dir", "nowhere"])
        .ends_with(1)
        .complains("cannot write to nowhere");
}

#[test]
fn no_colour_reaches_what_is_no_terminal() {
    let place = Place::new();
    let ran = place
        .run(&["check", "opik", "--url", "http://127.0.0.1:1"])
        .ends_with(1);
    assert!(
        !ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'),
        "{}",
        ran.out
    );
}

/// `script` gives the command a terminal.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_gets_colours_unless_it_wants_none() {
    let place = Place::new();
    let on_a_terminal = |no_color: &str| {
        let line = format!(
            "{} check opik --url http://127.0.0.1:1",
            env!("CARGO_BIN_EXE_beluga-o11y")
        );
        let mut command = Command::new("script");
        let like = place.command(&[]);
        command
            .args(["-qec", &line, "/dev/null"])
            .env_clear()
            .envs(
                like.get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .env("TERM", "xterm")
            .env("PATH", std::env::var_os("PATH").unwrap());
        if !no_color.is_empty() {
            command.env("NO_COLOR", no_color);
        }
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let coloured = on_a_terminal("");
    assert!(coloured.contains("\u{1b}["), "{coloured}");
    let plain = on_a_terminal("1");
    assert!(
        plain.contains("refuses the connection") && !plain.contains("\u{1b}["),
        "{plain}"
    );
}

/// The progress bar is for people only.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_gets_a_progress_bar_unless_it_wants_none() {
    let place = Place::new();
    let file = place.file("calls.jsonl", crate::support::lines(40));
    let on_a_terminal = |more: &str| {
        let binary = env!("CARGO_BIN_EXE_beluga-o11y");
        let line = format!("{binary} replay {file} --to none --rate 40 {more}");
        let like = place.command(&[]);
        let mut child = Command::new("script")
            .args(["-qec", &line, "/dev/null"])
            .env_clear()
            .envs(
                like.get_envs()
                    .filter_map(|(name, value)| Some((name, value?))),
            )
            .env("TERM", "xterm")
            .env("PATH", std::env::var_os("PATH").unwrap())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut out = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut out)
            .unwrap();
        assert!(child.wait().unwrap().success(), "{out}");
        out
    };
    let shown = on_a_terminal("");
    assert!(shown.contains(" %  ") && shown.contains("/s"), "{shown:?}");
    let quiet = on_a_terminal("--quiet");
    assert!(!quiet.contains('%'), "{quiet:?}");
}
