"""A judge's server that misbehaves on purpose, each question in its own way before it is answered."""

import contextlib
import hashlib
import json
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TROUBLE = ("429", "500", "hang", "half", "not json", "other json", "words", "drip", "reset")


@dataclass
class Server:
    """`with Server() as server:` answers at `server.url`. trouble: how many questions in ten meet trouble first. answer:
    makes an answer of a question; chat: makes (text, finish) of a whole request. unknown: an option that it refuses.
    refuse: makes (status, message) of a question that it refuses, None of others. shape: changes a whole answer.

    Every question gets the number that `score` makes of it. given: by question, whole answers sent.
    """

    trouble: int = 0
    logprobs: bool = True
    digits: bool = False
    kinds: tuple[str, ...] = TROUBLE
    answer: Any = None
    chat: Any = None
    unknown: str = ""
    refuse: Any = None
    shape: Any = None
    port: int = 0
    delay: float = 0.0
    seen: Counter[str] = field(default_factory=Counter)
    given: Counter[str] = field(default_factory=Counter)
    bodies: list[dict[str, Any]] = field(default_factory=list)

    def __enter__(self) -> "Server":
        self.http = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http.server_port}/v1"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                question = body["messages"][-1]["content"]
                server.seen[question] += 1
                server.bodies.append(body)
                if server.unknown and server.unknown in body:
                    time.sleep(0.05)
                    self.reply(400, {"error": {"message": f"Unsupported parameter: {server.unknown}"}})
                    return
                refused = server.refuse(question) if server.refuse else None
                if refused is not None:
                    self.reply(refused[0], {"error": {"message": refused[1]}})
                    return
                number = draw(question)
                if number % 10 < server.trouble and server.seen[question] == 1:
                    self.misbehave(server.kinds[number // 10 % len(server.kinds)], question)
                else:
                    time.sleep(server.delay)
                    self.reply(200, completion(server, question, body))
                    server.given[question] += 1

            def misbehave(self, kind: str, question: str) -> None:
                if kind == "429":
                    self.reply(429, {"error": {"message": "slow down"}}, {"Retry-After": "0.1"})
                elif kind == "500":
                    self.reply(500, {"error": {"message": "broken"}})
                elif kind == "hang":
                    time.sleep(20)
                elif kind == "half":
                    self.send(200, b'{"id": "x", "choices": [{"mess', length=4000)
                    self.close_connection = True
                elif kind == "not json":
                    self.send(200, b"<html>gateway</html>")
                elif kind == "other json":
                    self.reply(200, {"choices": []})
                elif kind == "words":
                    self.reply(200, completion(server, question, {}, "I would rather not put a figure on it."))
                elif kind == "drip":
                    self.send_response(200)
                    self.send_header("Content-Length", "100")
                    self.end_headers()
                    for _ in range(100):
                        self.wfile.write(b" ")
                        self.wfile.flush()
                        time.sleep(0.1)
                else:
                    self.connection.close()

            def reply(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
                self.send(status, json.dumps(value).encode(), headers=headers)

            def send(
                self, status: int, body: bytes, length: int | None = None, headers: dict[str, str] | None = None
            ) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(length or len(body)))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def handle(self) -> None:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError, ValueError):
                    super().handle()

        return Handler


def draw(question: str) -> int:
    return int.from_bytes(hashlib.sha256(question.encode()).digest()[:4], "big")


def score(question: str) -> int:
    """What the server says about a question."""
    return draw("score" + question) % 101


def completion(server: Server, question: str, body: dict[str, Any], text: str | None = None) -> dict[str, Any]:
    """A chat completion in the documented shape."""
    finish = "stop"
    if text is None and server.chat is not None:
        text, finish = server.chat(body)
    if text is None:
        text = server.answer(question) if server.answer else str(score(question))
    choice: dict[str, Any] = {
        "index": 0,
        "message": {"role": "assistant", "content": text},
        "finish_reason": finish,
        "logprobs": None,
    }
    if server.logprobs and body.get("logprobs"):
        # Nine tenths on the number, a tenth on words: the weighted mean is the number.
        top = [
            {"token": text, "logprob": -0.10536, "bytes": None},
            {"token": "The", "logprob": -2.302585, "bytes": None},
        ]
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    if server.digits and choice["logprobs"]:
        # The likeliest first tokens are digits: of the number, and of its neighbours.
        top = [{"token": text[0], "logprob": -0.10536, "bytes": None}, {"token": "1", "logprob": -2.4, "bytes": None}]
        choice["logprobs"] = {"content": [{**top[0], "top_logprobs": top}]}
    usage = {"prompt_tokens": len(question.split()), "completion_tokens": 1, "total_tokens": len(question.split()) + 1}
    whole = {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "judge",
        "choices": [choice],
        "usage": usage,
    }
    if server.shape:
        server.shape(whole)
    return whole


if __name__ == "__main__":
    with Server(port=int(sys.argv[1])):
        time.sleep(600)
