//! What the layer keeps with a span, and where a span stands among the others.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

use tracing_subscriber::registry::{LookupSpan, SpanRef};
use uuid::Uuid;

use crate::{
    context::TraceContext,
    reserved::{Inherited, begins_trace},
    role::{LangChain, OPERATION, Operation, Role},
    scope::State,
    values::Values,
};

/// What the layer keeps with a span that it reads.
pub(crate) struct Noted {
    pub(crate) role: Role,
    pub(crate) values: Values,
    pub(crate) started: Instant,
    pub(crate) start_time: SystemTime,
    /// The scope that it was opened in.
    pub(crate) scope: Option<Arc<State>>,
    /// What an event of level ERROR said that happened in it.
    pub(crate) error_event: Option<String>,
    /// What calls were made in it, if it is a call.
    pub(crate) inner: Vec<Operation>,
    pub(crate) context: Option<TraceContext>,
    /// Which layer it belongs to.
    pub(crate) owner: usize,
}

impl Noted {
    pub(crate) fn new(role: Role, values: Values, owner: usize) -> Self {
        Self {
            role,
            values,
            started: Instant::now(),
            start_time: SystemTime::now(),
            scope: match role {
                Role::Reserved => None,
                Role::GenAi | Role::LangChain(_) => State::current(),
            },
            error_event: None,
            inner: Vec::new(),
            context: None,
            owner,
        }
    }

    /// What call it is, as far as is known by now; `None` if it is none.
    pub(crate) fn operation(&self) -> Option<Operation> {
        match self.role {
            Role::GenAi => Operation::of(
                self.values.text(OPERATION).unwrap_or_default(),
                self.values.text("gen_ai.request.model").is_some(),
            ),
            Role::LangChain(LangChain::Generate) => Some(Operation::Generation),
            Role::LangChain(LangChain::Embed) => Some(Operation::Embeddings),
            Role::LangChain(LangChain::Step) | Role::Reserved => None,
        }
    }

    /// Whether it is a step of an agent or a chain: calls in it are its children.
    fn is_step(&self) -> bool {
        self.role != Role::Reserved && self.operation().is_none()
    }
}

/// The id of a trace that begins with a span, and, its last 8 bytes, of the span itself.
struct Ids(Uuid);

impl Ids {
    fn of<'a, R: LookupSpan<'a>>(span: &SpanRef<'a, R>) -> Uuid {
        let mut extensions = span.extensions_mut();
        if let Some(ids) = extensions.get_mut::<Self>() {
            return ids.0;
        }
        let ids = Uuid::new_v4();
        extensions.insert(Self(ids));
        ids
    }
}

/// Where a call stands.
pub(crate) struct Surroundings {
    pub(crate) inherited: Inherited,
    pub(crate) trace_id: Option<String>,
    pub(crate) parent_span_id: Option<String>,
}

/// Looks at the spans around a call, from the inside to the outside.
pub(crate) fn surroundings<'a, R: LookupSpan<'a>>(
    span: &SpanRef<'a, R>,
    role: Role,
    values: &Values,
    operation: Operation,
) -> Surroundings {
    let mut inherited = Inherited::default();
    inherited.read(role, values);
    let mut in_trace = !begins_trace(values);
    let mut root = None;
    let mut parent = None;
    // Whether the call around this one is known, or there can be none.
    let mut is_told = false;
    for ancestor in span.scope().skip(1) {
        let (mut begins, mut is_step, mut is_call) = (false, false, false);
        if let Some(noted) = ancestor.extensions().get::<Noted>() {
            inherited.read(noted.role, &noted.values);
            begins = begins_trace(&noted.values);
            is_step = noted.is_step();
            is_call = noted.operation().is_some();
        }
        if is_call
            && !is_told
            && let Some(noted) = ancestor.extensions_mut().get_mut::<Noted>()
        {
            noted.inner.push(operation);
        }
        is_told |= is_call || is_step;
        // A span of another trace is nobody's parent.
        if is_step && in_trace && parent.is_none() {
            let ids = Ids::of(&ancestor).simple().to_string();
            parent = ids.get(16..).map(str::to_owned);
        }
        if in_trace {
            in_trace = !begins;
            root = Some(ancestor);
        }
    }
    let trace = match &root {
        Some(root) => Some(Ids::of(root)),
        // Where calls were made in this one, by a tool say, it is the root of their trace.
        None => span.extensions().get::<Ids>().map(|ids| ids.0),
    };
    Surroundings {
        inherited,
        trace_id: trace.map(|trace| trace.simple().to_string()),
        parent_span_id: parent,
    }
}
