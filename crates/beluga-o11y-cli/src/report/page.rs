//! The page: one file with all that it needs.

use std::{io::Write, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::Utc;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::{
    summary::{Data, Details},
    timeline::time,
};
use crate::output::{Failure, Outcome, visible};

const PAGE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
const SCRIPT: &str = include_str!("page/page.js");

#[derive(Serialize)]
struct All<'a> {
    generated: String,
    #[serde(flatten)]
    data: &'a Data,
    #[serde(flatten)]
    details: &'a Details,
}

/// Writes it whole, beside what was there, and takes its place: prompts are in it, so nobody else can read it.
pub(crate) fn write(path: &Path, data: &Data, details: &Details) -> Outcome {
    let all = All {
        generated: time(Utc::now()),
        data,
        details,
    };
    let failed =
        |error: std::io::Error| Failure::failed(format_args!("{}: {error}", path.display()));
    let json = serde_json::to_string(&all).map_err(|error| failed(error.into()))?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let title = format!("LLM calls: {}", visible(&data.sources.join(", ")));
    let mut file = NamedTempFile::new_in(directory).map_err(failed)?;
    file.write_all(page(&title, &json).as_bytes())
        .map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

/// The parts in their places.
fn page(title: &str, json: &str) -> String {
    let title = title.replace('&', "&amp;").replace('<', "&lt;");
    let hash = STANDARD.encode(Sha256::digest(SCRIPT));
    // A `<` in JSON can stand in a string only; the page's parser must not see it.
    let json = json.replace('<', "\\u003c");
    let mut page = String::with_capacity(PAGE.len() + STYLE.len() + SCRIPT.len() + json.len());
    let mut rest = PAGE;
    // One after the other, since what is put in may look like a place.
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((place, after)) = after.split_once("}}") else {
            break;
        };
        page.push_str(before);
        match place {
            "title" => page.push_str(&title),
            "style" => page.push_str(STYLE),
            "script" => page.push_str(SCRIPT),
            "script-hash" => page.push_str(&format!("sha256-{hash}")),
            "data" => page.push_str(&json),
            _ => {}
        }
        rest = after;
    }
    page.push_str(rest);
    page
}
