// Opik's official TypeScript client against the sandbox: what it sends is accepted, and is stored as
// sent. The client swallows errors, so the sandbox is asked what it has.

import assert from "node:assert/strict";
import { Opik } from "opik";

const base = process.env.OPIK_URL_OVERRIDE.replace(/\/$/, "");
const root = base.replace(/\/opik\/api$/, "");
const get = async (url) => (await fetch(url)).json();

const client = new Opik({ projectName: "official-ts", apiUrl: base, workspaceName: "default" });
await client.api.check.access({});
const trace = client.trace({
  name: "chat",
  input: { q: "hi" },
  output: { a: "hello" },
  metadata: { k: { nested: [1, 2.5, null] } },
  tags: ["prod"],
  threadId: "conv-1",
  errorInfo: { exceptionType: "E", message: "m", traceback: "tb" },
});
const span = trace.span({
  name: "llm",
  type: "llm",
  input: { q: "hi" },
  output: { a: "hello" },
  model: "gpt-4o",
  provider: "openai",
  usage: { prompt_tokens: 12, completion_tokens: 5, total_tokens: 17 },
});
span.end();
trace.end();
// Written while the first is already on its way, then ended: the client sends an update.
const late = client.trace({ name: "late", input: { q: 1 } });
await client.flush();
late.update({ output: { a: 2 } });
late.end();
const many = Array.from({ length: 250 }, () => client.trace({ name: "many" }));
many.forEach((one) => one.end());
await client.flush();

const refused = (await get(`${root}/_sandbox/requests`)).filter((request) => request.status >= 400);
assert.deepEqual(refused.map(({ method, path, status }) => ({ method, path, status })), []);

const stored = await get(`${base}/v1/private/traces/${trace.data.id}`);
assert.equal(stored.name, "chat");
assert.deepEqual(stored.input, { q: "hi" });
assert.deepEqual(stored.output, { a: "hello" });
assert.deepEqual(stored.metadata.k, { nested: [1, 2.5, null] });
assert.deepEqual(stored.tags, ["prod"]);
assert.equal(stored.thread_id, "conv-1");
assert.deepEqual(stored.error_info, { exception_type: "E", message: "m", traceback: "tb" });
assert.equal(stored.llm_span_count, 1);
assert.deepEqual(stored.usage, { prompt_tokens: 12, completion_tokens: 5, total_tokens: 17 });
assert.ok(stored.end_time);

const read = await client.api.spans.getSpanById(span.data.id);
assert.equal(read.model, "gpt-4o");
assert.equal(read.provider, "openai");
assert.equal(read.traceId, trace.data.id);
assert.deepEqual(read.usage, { prompt_tokens: 12, completion_tokens: 5, total_tokens: 17 });

const updated = await client.api.traces.getTraceById(late.data.id);
assert.deepEqual(updated.input, { q: 1 });
assert.deepEqual(updated.output, { a: 2 });
const ours = (await get(`${root}/_sandbox/traces`)).filter((t) => t.project_name === "official-ts");
assert.equal(ours.length, 2 + many.length);
console.log("   credential check, 2 traces, 1 span, 250 more traces, no request refused");
process.exit(0);
