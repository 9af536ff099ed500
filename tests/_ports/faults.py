"""A program that speaks JSON lines and answers clip, with a fault named on its command line.

Only the standard library, and none of the suite: started with ``python -I -S``, in a few ms.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

FAULT = sys.argv[-1] if __name__ == "__main__" else ""
HELLO = {"protocol": 1, "name": FAULT, "version": "1", "stages": ["clip"], "dtypes": ["fp64"]}
GARBLED = {
    "a line that is no reply": "loading the model",
    "a list": "[1, 2]",
    "a bare NaN": '{"id": %d, "ok": {"mu": NaN, "mu_clipped": false}}',
    "another id": '{"id": 999, "ok": {"mu": 0.5, "mu_clipped": false}}',
    "no id": '{"ok": {"mu": 0.5, "mu_clipped": false}}',
    "no outcome": '{"id": %d}',
    "deep nesting": '{"id": %d, "ok": ' + "[" * 100_000 + "]" * 100_000 + "}",
    "a huge integer": '{"id": %d, "ok": {"mu": ' + "9" * 5000 + "}}",
    "outputs that are no object": '{"id": %d, "ok": [0.5, false]}',
    "a null": '{"id": %d, "ok": {"mu": null, "mu_clipped": false}}',
    "a text for a number": '{"id": %d, "ok": {"mu": "half", "mu_clipped": false}}',
    "junk for base64": '{"id": %d, "ok": {"mu": {"dtype": "fp64", "shape": [1], "data": "?"}}}',
    "too few bytes": '{"id": %d, "ok": {"mu": {"dtype": "fp64", "shape": [2], "data": "AAAA"}}}',
    "an unknown dtype": '{"id": %d, "ok": {"mu": {"dtype": "int4", "shape": [2], "data": ""}}}',
    "a negative size": '{"id": %d, "ok": {"mu": {"dtype": "fp64", "shape": [-1], "data": ""}}}',
    "ragged rows": '{"id": %d, "ok": {"mu": [[0.5], [0.5, 0.5]]}}',
    "bytes that are no text": None,
}


def answer(request: dict, config: dict) -> dict:
    x = request["inputs"]["mu_capped"]
    mu = min(max(x, config["mu_min"]), config["mu_max"])
    return {"id": request["id"], "ok": {"mu": mu, "mu_clipped": mu != x}}


def run(request: dict, config: dict) -> None:
    say = sys.stdout
    if FAULT in GARBLED:
        text = GARBLED[FAULT]
        if text is None:
            os.write(1, b"\xff\xfe\x00\n")
        else:
            say.write(text.replace("%d", str(request["id"])) + "\n")
    elif FAULT == "exit":
        sys.stderr.write("first line\nno memory left\n")
        sys.exit(3)
    elif FAULT == "exit without a newline":
        say.write('{"id": 3, "ok"')
        say.flush()
        os._exit(0)
    elif FAULT == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif FAULT in ("hang", "grandchild"):
        if FAULT == "grandchild":
            child = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", "import time\ntime.sleep(99)"]
            )
            sys.stderr.write(f"pids {os.getpid()} {child.pid}\n")
            sys.stderr.flush()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(99)
    elif FAULT == "hang after half a line":
        say.write('{"id": 3, "ok": {')
        say.flush()
        time.sleep(99)
    elif FAULT == "no flush":
        say.write(json.dumps(answer(request, config)) + "\n")
        return
    elif FAULT == "an endless line":
        while True:
            say.write("x" * 65536)
    elif FAULT == "a closed output":
        os.close(1)
        time.sleep(99)
    elif FAULT == "much on stderr":
        sys.stderr.write("warning: slow kernel\n" * 50_000)
        say.write(json.dumps(answer(request, config)) + "\n")
    say.flush()


def main() -> None:
    config: dict = {}
    while line := sys.stdin.readline():
        request = json.loads(line)
        reply = {"id": request["id"], "ok": {}}
        if request["call"] == "hello":
            reply["ok"] = HELLO
            if FAULT == "a start that fails":
                sys.exit("no device")
        elif request["call"] == "configure":
            config = request["config"]
        elif request["call"] == "run":
            if request["inputs"]["mu_capped"] == 0.25:  # the call that goes wrong
                run(request, config)
                continue
            reply = answer(request, config)
        if request["call"] == "stop":
            return
        print(json.dumps(reply), flush=True)


if __name__ == "__main__":
    main()
