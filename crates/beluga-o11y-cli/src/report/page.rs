//! The page: one file with all that it needs.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

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

/// How a page begins, so that nothing else is written over.
const BEGIN: &str = "<!doctype html>";

/// Where a page is to go: beside what is there, until it is whole. Prompts are in it, so nobody else can read it.
#[derive(Debug)]
pub(crate) struct PageFile {
    path: PathBuf,
    file: NamedTempFile,
}

impl PageFile {
    /// # Errors
    ///
    /// Something else than a page is there, or nothing can be written there.
    pub(crate) fn open(path: &Path) -> Outcome<Self> {
        let name = path.display();
        if path.as_os_str() == "-" {
            return Err(Failure::settings("--html: a page goes to a file; name one"));
        }
        // A link stays one.
        let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        if let Ok(metadata) = path.metadata()
            && !(metadata.is_file() && (metadata.len() == 0 || is_page(&path)))
        {
            return Err(Failure::Settings(format!(
                "--html: {name} is no page of a report, and would be lost; name another file, or remove it"
            )));
        }
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        match NamedTempFile::new_in(directory) {
            Ok(file) => Ok(Self { path, file }),
            Err(error) => Err(Failure::Settings(format!("--html: {name}: {error}"))),
        }
    }

    /// Writes it whole, and puts it in its place.
    pub(crate) fn write(mut self, data: &Data, details: &Details) -> Outcome {
        let all = All {
            generated: time(Utc::now()),
            data,
            details,
        };
        let path = self.path;
        let failed =
            |error: io::Error| Failure::failed(format_args!("{}: {error}", path.display()));
        let json = serde_json::to_string(&all).map_err(|error| failed(error.into()))?;
        let title = format!("LLM calls: {}", visible(&data.sources.join(", ")));
        let text = page(&title, &json);
        self.file.write_all(text.as_bytes()).map_err(failed)?;
        self.file
            .persist(&path)
            .map_err(|error| failed(error.error))?;
        Ok(())
    }
}

fn is_page(path: &Path) -> bool {
    let mut begin = [0; BEGIN.len()];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut begin));
    read.is_ok() && begin.eq_ignore_ascii_case(BEGIN.as_bytes())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_stays_what_it_is() {
        let page = page("a & <b>", "{\"x\":\"</script>{{style}}\"}");
        assert!(page.starts_with(BEGIN));
        assert!(page.contains("<title>a &amp; &lt;b></title>"));
        assert!(page.contains("{\"x\":\"\\u003c/script>{{style}}\"}"));
        // The policy names the script that stands between its tags.
        let (_, script) = page.rsplit_once("<script>").unwrap();
        let (script, _) = script.split_once("</script>").unwrap();
        let hash = STANDARD.encode(Sha256::digest(script));
        assert!(page.contains(&format!("script-src 'sha256-{hash}'")));
    }
}
