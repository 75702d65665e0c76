//! The layer.

use std::{
    fmt, ptr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use beluga_o11y::CallSink;
use tracing::{
    Dispatch, Event, Metadata, Subscriber,
    dispatcher::{self, WeakDispatch},
    field::{Field, Visit},
    span,
    subscriber::Interest,
};
use tracing_subscriber::{
    Layer, Registry,
    filter::Filtered,
    layer::Context,
    registry::{LookupSpan, SpanRef},
};

use crate::{
    LayerStats, LlmCallLayerBuilder, LlmSpans, TraceContext,
    context::FindContext,
    convert, hidden, notice,
    report::{Reporter, is_submitting},
    reserved,
    role::Role,
    span::{Noted, Surroundings, surroundings},
    values::{Reader, Values, formatted, guarded},
};

/// An [`LlmCallLayer`] behind its filter, as it is added to a registry.
pub type FilteredLlmCallLayer<S> = Filtered<LlmCallLayer, LlmSpans, S>;

/// Turns GenAI spans into records and hands each to a [`CallSink`] when its span closes: a
/// [`Pipeline`](https://docs.rs/beluga-o11y-pipeline), an in-memory exporter, a fan-out.
///
/// ```
/// use beluga_o11y::InMemoryExporter;
/// use beluga_o11y_tracing::LlmCallLayer;
/// use tracing_subscriber::prelude::*;
///
/// let sink = InMemoryExporter::new();
/// let subscriber = tracing_subscriber::registry().with(LlmCallLayer::new(sink.clone()));
/// tracing::subscriber::with_default(subscriber, || {
///     // What rig and genai do around a call.
///     tracing::info_span!(
///         "chat",
///         gen_ai.operation.name = "chat",
///         gen_ai.provider.name = "openai",
///         gen_ai.request.model = "gpt-4o",
///         gen_ai.usage.input_tokens = 500_u64,
///     );
/// });
/// assert_eq!(sink.calls()[0].usage.input_tokens, Some(500));
/// ```
///
/// It is added to a registry, `tracing_subscriber::registry()`; a `fmt().finish()` takes no layer that has a filter of its own. With its
/// filter ([`LlmSpans`]) it sees the spans it reads beside a log at WARN, and switches no other span on or off. A **global** filter,
/// as `registry().with(EnvFilter::new("warn"))` sets one, hides spans from every layer: filter the log instead,
/// `fmt::layer().with_filter(EnvFilter::new("warn"))`. If the spans of all libraries that are known are hidden, the layer says so
/// once, on standard error.
///
/// One registry has one such layer; to serve several sinks, give it a [`FanOut`](beluga_o11y::FanOut).
pub struct LlmCallLayer {
    reporter: Arc<Reporter>,
    find_context: Option<FindContext>,
    /// The whole stack of layers that this one is part of.
    dispatch: OnceLock<WeakDispatch>,
    /// Whether another layer of this type is there already.
    is_second: bool,
    /// Whether a span of one of the libraries would come as far as here.
    reached: AtomicBool,
}

impl LlmCallLayer {
    /// With the defaults: content is reported. It comes behind its filter, without which it would switch on every span
    /// of the program.
    pub fn new<S>(sink: impl CallSink + 'static) -> FilteredLlmCallLayer<S> {
        Self::builder(sink).build()
    }

    /// Sets one up.
    pub fn builder(sink: impl CallSink + 'static) -> LlmCallLayerBuilder {
        LlmCallLayerBuilder::new(Arc::new(sink))
    }

    pub(crate) fn with(reporter: Reporter, find_context: Option<FindContext>) -> Self {
        Self {
            reporter: Arc::new(reporter),
            find_context,
            dispatch: OnceLock::new(),
            is_second: false,
            reached: AtomicBool::new(false),
        }
    }

    /// What became of the calls so far. A layer that is in use is found by its type:
    ///
    /// ```
    /// # use beluga_o11y_tracing::LlmCallLayer;
    /// let stats = tracing::dispatcher::get_default(|dispatch| {
    ///     dispatch.downcast_ref::<LlmCallLayer>().map(LlmCallLayer::stats)
    /// });
    /// # assert_eq!(stats, None);
    /// ```
    pub fn stats(&self) -> LayerStats {
        self.reporter.stats()
    }

    fn dispatch(&self) -> Option<Dispatch> {
        if let Some(known) = self.dispatch.get() {
            return known.upgrade();
        }
        // In an `Option` or a `Vec` of layers, tracing-subscriber 0.3.23 tells nobody.
        let own = dispatcher::get_default(|all| {
            let found = all.downcast_ref::<Self>();
            found
                .is_some_and(|found| ptr::eq(found, self))
                .then(|| all.clone())
        })?;
        let _ = self.dispatch.set(own.downgrade());
        Some(own)
    }

    fn find_context(&self, id: &span::Id, dispatch: &Dispatch) -> Option<TraceContext> {
        let find = self.find_context.as_ref()?;
        guarded(|| find(id, dispatch)).flatten()
    }

    /// The context of a span, or else of the nearest around it that the other system knows.
    fn nearest_context<'a, R: LookupSpan<'a>>(
        &self,
        span: &SpanRef<'a, R>,
    ) -> Option<TraceContext> {
        self.find_context.as_ref()?;
        let dispatch = self.dispatch()?;
        span.scope()
            .find_map(|span| self.find_context(&span.id(), &dispatch))
    }

    /// The end of a span, with all the spans around it in sight.
    fn close<'a, R: LookupSpan<'a>>(&self, span: &SpanRef<'a, R>) {
        let noted = {
            let mut extensions = span.extensions_mut();
            let owned = extensions
                .get_mut::<Noted>()
                .is_some_and(|noted| noted.owner == self.owner());
            owned.then(|| extensions.remove::<Noted>()).flatten()
        };
        let Some(noted) = noted else {
            return;
        };
        reserved::warn_of_unknown(span.metadata().fields().iter().map(|field| field.name()));
        let Some(operation) = noted.operation() else {
            return;
        };
        if convert::was_never_sent(&noted, span.metadata()) {
            return;
        }
        let Surroundings {
            inherited,
            trace_id,
            parent_span_id,
        } = surroundings(span, noted.role, &noted.values, operation);
        if noted.inner.contains(&operation) {
            // The call has been reported by the span in it.
            return;
        }
        let context = noted.context.clone().or_else(|| self.nearest_context(span));
        let (started, scope) = (noted.started, noted.scope.clone());
        let mut call = convert::record(noted, operation, span.metadata());
        (call.trace_id, call.parent_span_id) = match (&inherited.trace_id, context) {
            (Some(given), _) => (Some(given.clone()), parent_span_id),
            (None, Some(context)) => (Some(context.trace_id), Some(context.span_id)),
            (None, None) => (trace_id, parent_span_id),
        };
        inherited.apply(&mut call);
        match scope {
            Some(scope) => scope.submit(call, started, &self.reporter),
            None => self.reporter.submit(call),
        }
    }
}

impl<S> Layer<S> for LlmCallLayer
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    fn on_layer(&mut self, subscriber: &mut S) {
        let inner: &dyn Subscriber = subscriber;
        self.is_second = inner.is::<Self>();
        if self.is_second {
            notice::once_beside_the_log(
                "second",
                "a registry has two of these layers, and only the first reports; give it a beluga_o11y::FanOut of both sinks",
            );
        }
    }

    fn on_register_dispatch(&self, dispatch: &Dispatch) {
        if self.dispatch.set(dispatch.downgrade()).is_ok() && !self.is_second {
            hidden::warn(dispatch, &self.reached);
        }
    }

    // The filter has decided; the default would ask `enabled`.
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }

    fn enabled(&self, metadata: &Metadata<'_>, context: Context<'_, S>) -> bool {
        let is_probe = hidden::is_probe(metadata);
        if is_probe && context.enabled(metadata) {
            self.reached.store(true, Relaxed);
        }
        !is_probe
    }

    fn on_new_span(
        &self,
        attributes: &span::Attributes<'_>,
        id: &span::Id,
        context: Context<'_, S>,
    ) {
        let Some(role) = Role::of(attributes.metadata()).filter(|_| !is_submitting()) else {
            return;
        };
        let mut values = Values::with_capacity(attributes.metadata().fields().len());
        attributes.record(&mut Reader::new(&mut values, role, self.reporter.content));
        guarded(|| {
            if let Some(span) = context.span(id) {
                let mut extensions = span.extensions_mut();
                // Of several such layers in a registry, the first has it.
                if extensions.get_mut::<Noted>().is_none() {
                    extensions.insert(Noted::new(role, values, self.owner()));
                }
            }
        });
    }

    fn on_record(&self, id: &span::Id, record: &span::Record<'_>, context: Context<'_, S>) {
        guarded(|| self.record(id, record, &context));
    }

    fn on_enter(&self, id: &span::Id, context: Context<'_, S>) {
        guarded(|| self.enter(id, &context));
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        guarded(|| self.event(event, &context));
    }

    fn on_close(&self, id: span::Id, context: Context<'_, S>) {
        // Another layer that panics while it holds a span leaves it locked for good; a panic here may abort the program.
        let closed = guarded(|| {
            // Through this filter, only the layer's own spans are in sight; a trace begins with whatever span is outermost.
            let dispatch = self.dispatch();
            let registry = dispatch
                .as_ref()
                .and_then(|all| all.downcast_ref::<Registry>());
            if let Some(span) = registry.and_then(|registry| registry.span(&id)) {
                self.close(&span);
            } else if let Some(span) = context.span(&id) {
                self.close(&span);
            }
        });
        if closed.is_none() {
            self.reporter.lose();
        }
    }
}

/// What may panic, since the spans are shared with other layers.
impl LlmCallLayer {
    /// Tells the spans that this layer has noted from those of another one.
    fn owner(&self) -> usize {
        Arc::as_ptr(&self.reporter).addr()
    }

    fn record<S>(&self, id: &span::Id, record: &span::Record<'_>, context: &Context<'_, S>)
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let Some(span) = context.span(id) else {
            return;
        };
        let content = self.reporter.content;
        let role = {
            let mut extensions = span.extensions_mut();
            let Some(noted) = extensions
                .get_mut::<Noted>()
                .filter(|n| n.owner == self.owner())
            else {
                return;
            };
            let mut reader = Reader::ready(&mut noted.values, noted.role, content);
            record.record(&mut reader);
            if !reader.has_left() {
                return;
            }
            noted.role
        };
        let mut values = Values::default();
        record.record(&mut Reader::formatted(&mut values, role, content));
        if let Some(noted) = span.extensions_mut().get_mut::<Noted>() {
            noted.values.merge(values);
        }
    }

    fn enter<S>(&self, id: &span::Id, context: &Context<'_, S>)
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        // When a span closes, the other system may have let go of it.
        if self.find_context.is_none() {
            return;
        }
        let Some(span) = context.span(id) else {
            return;
        };
        let wants = span
            .extensions()
            .get::<Noted>()
            .is_some_and(|noted| noted.context.is_none() && noted.operation().is_some());
        if wants
            && let Some(found) = self.dispatch().and_then(|all| self.find_context(id, &all))
            && let Some(noted) = span.extensions_mut().get_mut::<Noted>()
        {
            noted.context = Some(found);
        }
    }

    fn event<S>(&self, event: &Event<'_>, context: &Context<'_, S>)
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let Some(span) = context.event_span(event) else {
            return;
        };
        for span in span.scope() {
            let role = span
                .extensions()
                .get::<Noted>()
                .map(|noted| (noted.role, noted.operation()));
            match role {
                None | Some((Role::Reserved, _)) => {}
                Some((_, None)) => return,
                Some((_, Some(_))) => {
                    let mut message = Message::default();
                    event.record(&mut message);
                    if let Some(noted) = span.extensions_mut().get_mut::<Noted>() {
                        noted.error_event = message.text().or(noted.error_event.take());
                    }
                    return;
                }
            }
        }
    }
}

impl fmt::Debug for LlmCallLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LlmCallLayer")
            .field("reporter", &self.reporter)
            .field("find_context", &self.find_context.is_some())
            .finish_non_exhaustive()
    }
}

/// What an event says: its message, and the error that it names.
#[derive(Default)]
struct Message {
    message: String,
    error: String,
}

impl Message {
    /// Nothing else of an event: it may quote what was sent.
    fn set(&mut self, field: &Field, text: impl FnOnce() -> String) {
        match field.name() {
            "message" => self.message = text(),
            "error" | "err" => self.error = text(),
            _ => {}
        }
    }

    fn text(self) -> Option<String> {
        let texts = [self.message, self.error];
        let texts: Vec<_> = texts.into_iter().filter(|text| !text.is_empty()).collect();
        (!texts.is_empty()).then(|| texts.join(": "))
    }
}

impl Visit for Message {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, || value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, || formatted(format_args!("{value:?}")));
    }
}
