"""A vendor for client checks: speaks chat completions and messages, streamed and whole.

Where tools are offered and the conversation has no tool result yet, it asks for one tool call; after
the result it says DONE and repeats the result's first line. Everything it was asked is appended to
the file named by --log, one JSON line a request, for the check to look at.
"""

import argparse
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def text_of(content):
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(text_of(part.get("text") or part.get("content") or "") for part in content)
    return ""


class Vendor(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tools = {}
    log = None
    lock = threading.Lock()

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers.get("content-length", 0))))
        with self.lock:
            with open(self.log, "a", encoding="utf-8") as file:
                file.write(json.dumps({"path": self.path, "body": body}) + "\n")
        if self.path.endswith("/chat/completions"):
            self.chat(body)
        elif self.path.endswith(("/messages", "/messages/count_tokens")):
            self.messages(body)
        elif self.path.endswith("/embeddings"):
            inputs = body["input"] if isinstance(body["input"], list) else [body["input"]]
            rows = [
                {"object": "embedding", "index": at, "embedding": [0.6, 0.8]}
                for at in range(len(inputs))
            ]
            usage = {"prompt_tokens": 4, "total_tokens": 4}
            self.whole({"object": "list", "model": body["model"], "data": rows, "usage": usage})
        else:
            self.whole({"error": {"message": "no such path", "type": "not_found"}}, 404)

    def wanted(self, names):
        for name, arguments in self.tools.items():
            if name in names:
                return name, json.dumps(arguments)
        return None

    def chat(self, body):
        results = [m for m in body["messages"] if m["role"] == "tool"]
        names = [t["function"]["name"] for t in body.get("tools", []) if t.get("type") == "function"]
        call = None if results else self.wanted(names)
        usage = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120,
                 "prompt_tokens_details": {"cached_tokens": 40}}
        head = {"id": "chatcmpl-check", "created": 1700000000, "model": body["model"]}
        if call:
            message = {"role": "assistant", "content": None, "tool_calls": [
                {"id": "call_check1", "type": "function",
                 "function": {"name": call[0], "arguments": call[1]}}]}
            finish = "tool_calls"
        else:
            said = "DONE " + text_of(results[-1]["content"]).strip()[:200] if results else "Hello from the vendor."
            message, finish = {"role": "assistant", "content": said}, "stop"
        if not body.get("stream"):
            return self.whole({**head, "object": "chat.completion", "usage": usage, "choices": [
                {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}]})
        chunk = lambda delta, reason=None: {**head, "object": "chat.completion.chunk", "choices": [
            {"index": 0, "delta": delta, "finish_reason": reason}]}
        events = [chunk({"role": "assistant", "content": "" if not call else None})]
        if call:
            one = message["tool_calls"][0]
            half = len(call[1]) // 2
            events.append(chunk({"tool_calls": [{"index": 0, "id": one["id"], "type": "function",
                                                 "function": {"name": call[0], "arguments": ""}}]}))
            for piece in (call[1][:half], call[1][half:]):
                events.append(chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}))
        else:
            events += [chunk({"content": word + " "}) for word in message["content"].split(" ")]
        events.append(chunk({}, finish))
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append({**head, "object": "chat.completion.chunk", "choices": [], "usage": usage})
        self.stream([(None, json.dumps(event)) for event in events] + [(None, "[DONE]")])

    def messages(self, body):
        if self.path.endswith("/count_tokens"):
            return self.whole({"input_tokens": 100})
        results = [part for m in body["messages"] if isinstance(m["content"], list)
                   for part in m["content"] if part.get("type") == "tool_result"]
        call = None if results else self.wanted([t["name"] for t in body.get("tools", [])])
        usage = {"input_tokens": 60, "cache_read_input_tokens": 40, "cache_creation_input_tokens": 0,
                 "output_tokens": 20}
        head = {"id": "msg_check", "type": "message", "role": "assistant", "model": body["model"]}
        if call:
            block = {"type": "tool_use", "id": "toolu_check1", "name": call[0], "input": json.loads(call[1])}
            reason = "tool_use"
        else:
            said = "DONE " + text_of(results[-1]["content"]).strip()[:200] if results else "Hello from the vendor."
            block, reason = {"type": "text", "text": said}, "end_turn"
        if not body.get("stream"):
            return self.whole({**head, "content": [block], "stop_reason": reason,
                               "stop_sequence": None, "usage": usage})
        empty = {**block, "input": {}} if call else {**block, "text": ""}
        events = [{"type": "message_start", "message": {
            **head, "content": [], "stop_reason": None, "stop_sequence": None,
            "usage": {**usage, "output_tokens": 1}}},
            {"type": "content_block_start", "index": 0, "content_block": empty}, {"type": "ping"}]
        if call:
            half = len(call[1]) // 2
            events += [{"type": "content_block_delta", "index": 0,
                        "delta": {"type": "input_json_delta", "partial_json": piece}}
                       for piece in ("", call[1][:half], call[1][half:])]
        else:
            events += [{"type": "content_block_delta", "index": 0,
                        "delta": {"type": "text_delta", "text": word + " "}} for word in block["text"].split(" ")]
        events += [{"type": "content_block_stop", "index": 0},
                   {"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": None},
                    "usage": {"output_tokens": 20}},
                   {"type": "message_stop"}]
        self.stream([(event["type"], json.dumps(event)) for event in events])

    def whole(self, value, status=200):
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def stream(self, events):
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for name, data in events:
            text = (f"event: {name}\n" if name else "") + f"data: {data}\n\n"
            piece = text.encode()
            self.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", required=True)
    parser.add_argument("--tools", default="{}", help="JSON: tool name to arguments, first offered wins")
    arguments = parser.parse_args()
    Vendor.log = arguments.log
    Vendor.tools = json.loads(arguments.tools)
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Vendor)
    print(server.server_address[1], flush=True)
    server.serve_forever()
