"""Deliveries over HTTP that fail, are asked to come later, or are refused for good.

In one terminal, and in another:

    penstock -A webhooks worker
    python webhooks.py

The program is also the receiver: it fails the first time, asks for patience the second, and then takes the event.
"""

import asyncio
import http.server
import json
import threading
import urllib.error
import urllib.request

from penstock import JobFailed, Penstock, Reject, Retry, RetryLater, current_job

app = Penstock("webhooks")


@app.task(retry=Retry(attempts=8, base=0.5, on=(OSError,)), timeout=30)
async def deliver(url: str, event: dict[str, str]) -> int:
    if not url.startswith(("http://", "https://")):
        raise Reject(f"{url} is no address of a server")
    request = urllib.request.Request(url, json.dumps(event).encode())  # noqa: S310 - looked at above
    request.add_header("Content-Type", "application/json")
    request.add_header("Idempotency-Key", current_job().id)  # the same in every attempt
    try:
        with await asyncio.to_thread(urllib.request.urlopen, request, timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            if "Retry-After" in error.headers:
                raise RetryLater(float(error.headers["Retry-After"])) from error  # spends no attempt
            if error.code < 500:
                raise Reject(f"{url} answered {error.code} {error.reason}") from error  # no attempt will help
            raise  # an OSError, as are refused connections and time limits: tried again


ANSWERS: list[tuple[int, dict[str, str]]] = [(503, {}), (429, {"Retry-After": "1"}), (200, {})]


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status, headers = ANSWERS.pop(0) if self.path == "/orders" else (410, {})
        print(f"{self.path} gets {event['name']} and answers {status}")
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """It prints what it does itself."""


def main() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{receiver.server_port}"
        job = deliver.delay(f"{url}/orders", {"name": "order.paid"})
        print(f"delivered: {job.result(timeout=60)}")
        try:
            deliver.delay(f"{url}/closed", {"name": "order.sent"}).result(timeout=60)
        except JobFailed as error:
            print(f"given up: {error.error_message}")


if __name__ == "__main__":
    main()
