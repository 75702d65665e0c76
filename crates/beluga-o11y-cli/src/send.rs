//! Sends one call.

use std::{
    io::{self, IsTerminal, Read},
    time::Duration,
};

use beluga_o11y::{Json, LLMCallData};
use serde_json::json;

use crate::{
    arguments::{Call, Loudness, Send},
    backend,
    output::{Failure, Outcome, say},
    record, runtime, screen,
};

/// More than any backend takes.
const MAX_BYTES: u64 = 32 * 1024 * 1024;

pub(crate) fn run(arguments: &Send, loudness: Loudness) -> Outcome {
    let call = arguments.call.made()?;
    // What is wrong with them is known before somebody types.
    let backends = backend::open(&arguments.to, &arguments.connection)?;
    let call = match call {
        Some(call) => call,
        None => from_standard_input(arguments.ignore_unknown)?,
    };
    let results = runtime::block_on(async {
        let mut results = Vec::new();
        for backend in &backends {
            results.push(backend.export_llm_call(&call).await);
        }
        results
    })?;
    let mut failed = false;
    let mut out = anstream::stdout().lock();
    for (backend, result) in backends.iter().zip(results) {
        match result {
            Ok(()) if loudness.quiet => {}
            Ok(()) => say(
                &mut out,
                format_args!(
                    "{}: {} is with {}",
                    backend.name(),
                    call.id(),
                    backend.destination()
                ),
            )?,
            Err(error) => {
                failed = true;
                screen::complain(&error);
                if let Some(answer) = error.response_snippet()
                    && loudness.verbose > 0
                {
                    screen::remark(format_args!("the server answered: {answer}"));
                }
            }
        }
    }
    match failed {
        true => Err(Failure::Told),
        false => Ok(()),
    }
}

fn from_standard_input(ignore_unknown: bool) -> Outcome<LLMCallData> {
    let mut input = io::stdin().lock();
    if input.is_terminal() {
        return Err(Failure::settings(
            "there is no call: describe it by flags such as --model and --response, or write its JSON to standard input",
        ));
    }
    let mut json = Vec::new();
    let read = input.by_ref().take(MAX_BYTES + 1).read_to_end(&mut json);
    read.map_err(|error| Failure::Failed(format!("standard input cannot be read: {error}")))?;
    if json.len() as u64 > MAX_BYTES {
        return Err(Failure::Failed(format!(
            "standard input: more than {MAX_BYTES} bytes, which no backend takes"
        )));
    }
    let call = record::read(&json, ignore_unknown);
    call.map_err(|problem| Failure::Failed(format!("standard input: {problem}")))
}

impl Call {
    /// The call that the flags describe; nothing if there are none.
    fn made(&self) -> Outcome<Option<LLMCallData>> {
        let Self {
            provider,
            model,
            name,
            prompt,
            messages,
            response,
            input_tokens,
            output_tokens,
            duration_ms,
            cost,
            error,
            session_id,
            user_id,
            tag,
            metadata,
        } = self;
        let texts = [
            provider, model, name, prompt, messages, response, error, session_id, user_id,
        ];
        let any = texts.iter().any(|text| text.is_some())
            || input_tokens.or(*output_tokens).is_some()
            || duration_ms.or(*cost).is_some()
            || !tag.is_empty()
            || !metadata.is_empty();
        if !any {
            return Ok(None);
        }
        let mut call = LLMCallData::new(
            provider.clone().unwrap_or_default(),
            model.clone().unwrap_or_default(),
        );
        call.name.clone_from(name);
        call.session_id.clone_from(session_id);
        call.user_id.clone_from(user_id);
        call.usage.input_tokens = *input_tokens;
        call.usage.output_tokens = *output_tokens;
        call.cost = *cost;
        call.tags.clone_from(tag);
        if let Some(millis) = duration_ms {
            let duration = Duration::try_from_secs_f64(millis / 1e3);
            call.duration = Some(duration.map_err(|_| {
                Failure::settings("--duration-ms: a number of milliseconds from 0 is expected")
            })?);
        }
        if let Some(prompt) = prompt {
            call = call.with_messages(json!([{"role": "user", "content": prompt}]));
        }
        if let Some(messages) = messages {
            let parsed = Json::parse(messages.as_str());
            call.messages =
                Some(parsed.map_err(|error| Failure::Settings(format!("--messages: {error}")))?);
        }
        if let Some(response) = response {
            call = call.with_response(response);
        }
        if let Some(error) = error {
            call = call.with_error(error.as_str());
        }
        for entry in metadata {
            let (name, value) = entry
                .split_once('=')
                .filter(|(name, _)| !name.is_empty())
                .ok_or_else(|| Failure::settings("--metadata: expected name=value"))?;
            let value = Json::parse(value).unwrap_or_else(|_| Json::new(value));
            call.metadata.insert(name.to_owned(), value);
        }
        call.validate().map_err(Failure::settings)?;
        Ok(Some(call))
    }
}
