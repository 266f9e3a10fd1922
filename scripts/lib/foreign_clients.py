"""What clients.py and doors.py share: checks that run one after another, and a page in headless Chromium that reports."""

import contextlib
import http.server
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import urllib.parse

DEADLINE_S = 60
LINE_MAX = 300


def run_checks(program, checks):
    """Runs all of `(name, function)`; the first failure ends the program with one line."""
    for name, check in checks:
        try:
            check()
        except Exception as error:  # whatever it is, the check has failed
            sys.exit(f"{program}: {name}: {sentence(error)}")


def sentence(error):
    """What went wrong, on one line; what a library raises may say nothing, or much."""
    if isinstance(error, (TimeoutError, subprocess.TimeoutExpired, queue.Empty)):
        return f"nothing came within {DEADLINE_S} s"
    if isinstance(error, subprocess.CalledProcessError):
        stderr = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else error.stderr or ""
        return f"{error.cmd[0]} ended with {error.returncode}: {' '.join(stderr.split())[-LINE_MAX:]}"
    words = " ".join(str(error).split())[:LINE_MAX]
    return words if isinstance(error, AssertionError) and words else f"{type(error).__name__}: {words}"


@contextlib.contextmanager
def in_chromium(html, folder, port=0, query="", flags=()):
    """Serves `html` on a port and opens it; gives a function that waits for the next query the page sends to /report."""
    reports = queue.Queue()

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            url = urllib.parse.urlsplit(self.path)
            if url.path == "/report":
                reports.put(urllib.parse.parse_qs(url.query, keep_blank_values=True))
            body = html.encode() if url.path == "/" else b""
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    profile = tempfile.mkdtemp(dir=folder)
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
    command += ["--disable-background-networking", "--disable-component-update", "--remote-debugging-port=0"]
    command += [f"--user-data-dir={profile}", *flags, f"http://127.0.0.1:{server.server_port}/?{query}"]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield lambda: reports.get(timeout=DEADLINE_S)
    finally:
        browser.terminate()
        try:
            browser.wait(10)
        except subprocess.TimeoutExpired:
            browser.kill()
            browser.wait(10)
        server.shutdown()
        shutil.rmtree(profile, ignore_errors=True)
