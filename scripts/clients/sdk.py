"""The official Python SDKs against the proxy: `sdk.py BASE_URL KEY`. Prints a line a check."""

import sys

import anthropic
import openai

base, key = sys.argv[1:3]
TOOL = {"name": "get_weather", "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}
failures = 0


def check(name, right, seen):
    global failures
    failures += not right
    print(("ok     " if right else "FAILED ") + name + ("" if right else f": {seen!r}"))


def chat(client, model):
    ask = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    reply = client.chat.completions.create(model=model, messages=ask, max_tokens=50)
    check(f"chat {model}", "Hello" in reply.choices[0].message.content, reply)
    check(f"chat {model} usage", reply.usage.total_tokens == 120, reply.usage)
    stream = client.chat.completions.create(
        model=model, messages=ask, max_tokens=50, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    check(f"chat {model} streamed", "Hello from the vendor." in text, text)
    check(f"chat {model} streamed usage", chunks[-1].usage and chunks[-1].usage.total_tokens == 120, chunks[-1])
    tools = [{"type": "function", "function": TOOL}]
    for streamed in (False, True):
        if streamed:
            with client.chat.completions.stream(model=model, messages=ask, tools=tools, max_tokens=50) as stream:
                message = stream.get_final_completion().choices[0].message
        else:
            message = client.chat.completions.create(model=model, messages=ask, tools=tools, max_tokens=50).choices[0].message
        call = message.tool_calls[0]
        name = f"chat {model} tool call{' streamed' if streamed else ''}"
        check(name, (call.function.name, call.function.arguments.replace(" ", "")) == ("get_weather", '{"city":"Paris"}'), call)
        answer = client.chat.completions.create(model=model, tools=tools, max_tokens=50, messages=ask + [
            {"role": "assistant", "content": None, "tool_calls": [call.model_dump(include={"id", "type", "function"})]},
            {"role": "tool", "tool_call_id": call.id, "content": "sunny"}])
        check(name + " result", "DONE sunny" in answer.choices[0].message.content, answer)


def responses(client, model):
    reply = client.responses.create(model=model, instructions="Be brief.", input="Hello", max_output_tokens=50)
    check(f"responses {model}", "Hello" in reply.output_text, reply)
    check(f"responses {model} usage", reply.usage.total_tokens == 120 and reply.usage.input_tokens_details.cached_tokens == 40, reply.usage)
    tools = [{"type": "function", "strict": False, **TOOL}]
    with client.responses.stream(model=model, input="Hello", max_output_tokens=50) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    check(f"responses {model} streamed", "Hello" in final.output_text and kinds[0] == "response.created" and kinds[-1] == "response.completed", kinds)
    with client.responses.stream(model=model, input="Weather?", tools=tools, max_output_tokens=50) as stream:
        for _ in stream:
            pass
        call = [item for item in stream.get_final_response().output if item.type == "function_call"][0]
    check(f"responses {model} tool call streamed", call.name == "get_weather" and "Paris" in call.arguments, call)
    reply = client.responses.create(model=model, tools=tools, max_output_tokens=50, input=[
        {"role": "user", "content": "Weather?"},
        {"type": "function_call", "call_id": call.call_id, "name": call.name, "arguments": call.arguments},
        {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}])
    check(f"responses {model} tool result", "DONE sunny" in reply.output_text, reply)


def messages(client, model):
    ask = [{"role": "user", "content": "Hello"}]
    reply = client.messages.create(model=model, max_tokens=50, system="Be brief.", messages=ask)
    check(f"messages {model}", "Hello" in reply.content[0].text, reply)
    usage = reply.usage
    check(f"messages {model} usage", (usage.input_tokens, usage.cache_read_input_tokens, usage.output_tokens) == (60, 40, 20), usage)
    with client.messages.stream(model=model, max_tokens=50, messages=ask) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    check(f"messages {model} streamed", "Hello from the vendor." in text and final.stop_reason == "end_turn", final)
    tools = [{"name": TOOL["name"], "description": TOOL["description"], "input_schema": TOOL["parameters"]}]
    with client.messages.stream(model=model, max_tokens=50, messages=ask, tools=tools) as stream:
        final = stream.get_final_message()
    call = [block for block in final.content if block.type == "tool_use"][0]
    check(f"messages {model} tool call streamed", call.input == {"city": "Paris"} and final.stop_reason == "tool_use", final)
    reply = client.messages.create(model=model, max_tokens=50, tools=tools, messages=ask + [
        {"role": "assistant", "content": [call.model_dump(include={"type", "id", "name", "input"})]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]}])
    check(f"messages {model} tool result", "DONE sunny" in reply.content[0].text, reply)
    counted = client.messages.count_tokens(model=model, messages=ask)
    check(f"messages {model} count_tokens", counted.input_tokens > 0, counted)


def errors(openai_client, anthropic_client):
    for name, call, error in [
        ("chat, no such model", lambda: openai_client.chat.completions.create(model="nobody", messages=[]), openai.NotFoundError),
        ("messages, no such model", lambda: anthropic_client.messages.create(model="nobody", max_tokens=5, messages=[{"role": "user", "content": "x"}]), anthropic.NotFoundError),
        ("chat, wrong key", lambda: openai.OpenAI(base_url=base + "/v1", api_key="wrong", max_retries=0).chat.completions.create(model="by-openai", messages=[]), openai.AuthenticationError),
        ("messages, wrong key", lambda: anthropic.Anthropic(base_url=base, api_key="wrong", max_retries=0).messages.create(model="by-openai", max_tokens=5, messages=[{"role": "user", "content": "x"}]), anthropic.AuthenticationError),
    ]:
        try:
            call()
            check(name, False, "no error")
        except Exception as seen:  # the kind is what is checked
            check(name, isinstance(seen, error), seen)


oai = openai.OpenAI(base_url=base + "/v1", api_key=key, max_retries=0)
ant = anthropic.Anthropic(base_url=base, api_key=key, max_retries=0)
for model in ("by-openai", "by-anthropic"):
    chat(oai, model)
    responses(oai, model)
    messages(ant, model)
listed = [model.id for model in oai.models.list()]
check("models (openai)", "by-openai" in listed, listed)
listed = [model.id for model in ant.models.list()]
check("models (anthropic)", "by-anthropic" in listed, listed)
vectors = oai.embeddings.create(model="vectors", input=["a", "b"], encoding_format="float")
check("embeddings", len(vectors.data) == 2 and vectors.usage.total_tokens == 4, vectors)
errors(oai, ant)
print(f"Python: openai {openai.__version__}, anthropic {anthropic.__version__}: {failures} failures")
sys.exit(failures > 0)
