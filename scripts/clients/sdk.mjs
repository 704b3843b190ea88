// The official npm SDKs against the proxy: `node sdk.mjs BASE_URL KEY`, run where `openai` and
// `@anthropic-ai/sdk` can be resolved. Prints a line a check.
import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";

const [base, key] = process.argv.slice(2);
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tool = { name: "get_weather", description: "The weather of a city", parameters };
let failures = 0;

function check(name, right, seen) {
  failures += right ? 0 : 1;
  console.log(right ? `ok     ${name}` : `FAILED ${name}: ${JSON.stringify(seen)}`);
}

async function chat(client, model) {
  const messages = [{ role: "user", content: "Hello" }];
  const reply = await client.chat.completions.create({ model, messages, max_tokens: 50 });
  check(`chat ${model}`, reply.choices[0].message.content.includes("Hello"), reply);
  let text = "";
  for await (const chunk of await client.chat.completions.create({ model, messages, max_tokens: 50, stream: true })) {
    text += chunk.choices[0]?.delta?.content ?? "";
  }
  check(`chat ${model} streamed`, text.includes("Hello from the vendor."), text);
  const tools = [{ type: "function", function: tool }];
  const final = await client.chat.completions.stream({ model, messages, tools, max_tokens: 50 }).finalChatCompletion();
  const call = final.choices[0].message.tool_calls[0];
  check(`chat ${model} tool call streamed`, JSON.parse(call.function.arguments).city === "Paris", call);
}

async function responses(client, model) {
  const stream = client.responses.stream({ model, input: "Hello", max_output_tokens: 50 });
  const kinds = [];
  for await (const event of stream) kinds.push(event.type);
  const final = await stream.finalResponse();
  check(`responses ${model} streamed`, final.output_text.includes("Hello") && kinds.at(-1) === "response.completed", kinds);
}

async function messages(client, model) {
  const ask = [{ role: "user", content: "Hello" }];
  const tools = [{ name: tool.name, description: tool.description, input_schema: parameters }];
  const final = await client.messages.stream({ model, max_tokens: 50, messages: ask }).finalMessage();
  check(`messages ${model} streamed`, final.content[0].text.includes("Hello from the vendor."), final);
  const called = await client.messages.stream({ model, max_tokens: 50, messages: ask, tools }).finalMessage();
  const call = called.content.find((block) => block.type === "tool_use");
  check(`messages ${model} tool call streamed`, call?.input?.city === "Paris" && called.stop_reason === "tool_use", called);
}

const openai = new OpenAI({ baseURL: `${base}/v1`, apiKey: key, maxRetries: 0 });
const anthropic = new Anthropic({ baseURL: base, apiKey: key, maxRetries: 0 });
for (const model of ["by-openai", "by-anthropic"]) {
  await chat(openai, model);
  await responses(openai, model);
  await messages(anthropic, model);
}
console.log(`npm: ${failures} failures`);
process.exit(failures > 0 ? 1 : 0);
