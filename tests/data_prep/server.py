"""A web server on loopback that can go on where a download was cut, and can cut one."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server(ThreadingHTTPServer):
    """Serves the files below a folder; what it was asked is in `requests`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cut_after: int | None = None
        """Close the connection after so many bytes of each answer."""
        self.stall_after: int | None = None
        """Send so many bytes of each answer, then nothing until `release` is set."""
        self.stalled, self.release = threading.Event(), threading.Event()
        self.requests: list[tuple[str, str | None]] = []
        """Path and Range header of each request."""
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        wanted = self.headers["Range"]
        self.server.requests.append((self.path, wanted))
        file = self.server.folder / self.path.lstrip("/")
        if not file.is_file():
            self.send_error(404)
            return
        content = file.read_bytes()
        tag = f'"{file.stat().st_mtime_ns}"'
        start = 0
        if wanted and self.headers["If-Range"] in (None, tag):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("ETag", tag)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        if self.server.stall_after is not None:
            self.wfile.write(content[: self.server.stall_after])
            self.server.stalled.set()
            self.server.release.wait()
            return
        end = None if self.server.cut_after is None else start + self.server.cut_after
        self.wfile.write(content[start:end])

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    with Server(folder) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
