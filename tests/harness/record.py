#!/usr/bin/env python3
"""Records what a real claude prints, for fixtures/recorded (see the README there).

    record.py --claude node_modules/.bin/claude --version 2.1.330 --api target/debug/loopback-api \
              --out fixtures/recorded [NAME ...]

Needs root: everything runs in a network namespace that holds nothing but the loopback interface. Each recording has a
home, a workspace and a temporary directory of its own; their paths are replaced in what is kept, and nothing else is.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

PATIENCE_S = 120
# Ten retries take more than three minutes.
RETRIES_PATIENCE_S = 400
SESSION = "11111111-2222-4333-8444-555555555555"
NO_SESSION = "99999999-8888-4777-8666-555555555555"
COMMANDS = {
    "analyze-code.md": "---\ndescription: Analyze the code\nargument-hint: PATH\n---\n"
    "Analyze $ARGUMENTS. [[usage in=300 out=60]] [[say The code is sound.]]\n",
    "generate.md": "Generate a report. [[say The report is written.]]\n",
}
# 2.1 refuses a plain `sleep 41`.
WAIT = {"command": 'python3 -c "import time; time.sleep(41)"', "description": "Wait"}
SLEEP = f"[[say I will wait.]] [[tool Bash {json.dumps(WAIT)}]] [[say I have waited.]]"
LIMIT = "anthropic-ratelimit-unified-"


def limit_headers(status, reset_epoch_s, utilization):
    values = {
        "status": status,
        "reset": reset_epoch_s,
        "representative-claim": "five_hour",
        "5h-utilization": utilization,
        "5h-reset": reset_epoch_s,
        "5h-status": status,
    }
    return " ".join(f"[[header {LIMIT}{name}: {value}]]" for name, value in values.items())


class Api:
    """The loopback API of the tests, as a program."""

    def __init__(self, program, log):
        self.process = subprocess.Popen([program, "--log", log], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


class Room:
    """A home, a workspace and a temporary directory, for one recording."""

    def __init__(self):
        self.root = Path(tempfile.mkdtemp(prefix="rec-", dir="/tmp"))
        self.home, self.workspace, self.tmp = (self.root / name for name in ("home", "workspace", "tmp"))
        for folder in (self.home, self.tmp, self.workspace / ".claude/commands", self.workspace / "src"):
            folder.mkdir(parents=True)
        for name, text in COMMANDS.items():
            (self.workspace / ".claude/commands" / name).write_text(text)
        (self.workspace / "src/main.py").write_text('print("hello")\n')

    def neutral(self, text, base_url):
        """The text without the paths of this machine."""
        slug = re.sub("[^A-Za-z0-9]", "-", str(self.workspace))
        pairs = [(self.workspace, "/workspace"), (slug, "-workspace"), (self.home, "/home/user"), (self.tmp, "/tmp")]
        pairs.append((base_url.removeprefix("http://"), "127.0.0.1:8080"))
        for own, neutral in pairs:
            text = text.replace(str(own), neutral)
        return text


class Claude:
    """One claude process, and everything written to it and read from it."""

    def __init__(self, path, room, api, arguments, environment):
        self.command = ["-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"]
        self.command += ["--include-partial-messages", *arguments]
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": str(room.home),
            "TMPDIR": str(room.tmp),
            "ANTHROPIC_BASE_URL": api.url,
            "ANTHROPIC_API_KEY": "anything",
            "IS_SANDBOX": "1",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            "DISABLE_AUTOUPDATER": "1",
            "DISABLE_TELEMETRY": "1",
            "DISABLE_ERROR_REPORTING": "1",
        }
        variables.update(environment)
        variables = {name: value for name, value in variables.items() if value is not None}
        self.started = time.monotonic()
        self.process = subprocess.Popen(
            [path, *self.command],
            env=variables,
            cwd=room.workspace,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.written, self.read, self.errors, self.notes = [], [], [], {}
        self.at_end = False
        self.seen = 0
        self.changed = threading.Condition()
        self.readers = [
            threading.Thread(target=self._read_output, daemon=True),
            threading.Thread(target=lambda: self.errors.extend(self.process.stderr), daemon=True),
        ]
        for reader in self.readers:
            reader.start()

    def _read_output(self):
        for line in self.process.stdout:
            with self.changed:
                self.read.append(line)
                self.changed.notify_all()
        with self.changed:
            self.at_end = True
            self.changed.notify_all()

    def note(self, name):
        """Keeps the time since the start."""
        self.notes[name] = round((time.monotonic() - self.started) * 1000)

    def send(self, message):
        line = json.dumps(message, ensure_ascii=False) + "\n"
        self.written.append(line)
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
        except BrokenPipeError:
            pass

    def user(self, text):
        self.send({"type": "user", "message": {"role": "user", "content": text}})

    def control(self, request_id, subtype):
        self.send({"type": "control_request", "request_id": request_id, "request": {"subtype": subtype}})

    def wait_for(self, wanted, count=1, patience_s=PATIENCE_S):
        """The next event that is wanted, or None at the end of the output; events before it are passed over."""
        deadline = time.monotonic() + patience_s
        with self.changed:
            while True:
                while self.seen < len(self.read):
                    event = json.loads(self.read[self.seen])
                    self.seen += 1
                    if wanted(event):
                        count -= 1
                        if count == 0:
                            return event
                if self.at_end:
                    return None
                if not self.changed.wait(max(0, deadline - time.monotonic())):
                    self.notes["gave_up"] = True
                    return None

    def turn(self, text, patience_s=PATIENCE_S):
        self.user(text)
        return self.result(patience_s)

    def result(self, patience_s=PATIENCE_S):
        event = self.wait_for(lambda event: event["type"] == "result", patience_s=patience_s)
        self.note("result")
        return event

    def interrupt(self, request_id="i"):
        self.note("interrupt_sent")
        self.control(request_id, "interrupt")
        return self.result()

    def finish(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.note("stdin_closed")
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.notes["killed"] = True
            self.process.kill()
            self.process.wait()
        self.note("exit")
        for reader in self.readers:
            # A tool that was left behind may hold the pipes.
            reader.join(3)


def is_init(event):
    return event["type"] == "system" and event.get("subtype") == "init"


def is_tool_use(event):
    return event["type"] == "assistant" and any(block["type"] == "tool_use" for block in event["message"]["content"])


def is_text_delta(event):
    return event["type"] == "stream_event" and event["event"].get("delta", {}).get("type") == "text_delta"


def is_retry_or_result(event):
    return event["type"] == "result" or event.get("subtype") == "api_retry"


def is_control_response(event):
    return event["type"] == "control_response"


RECORDINGS = {}


def recording(arguments=(), environment=None, permission_mode="bypassPermissions", only=None):
    """Registers a function that talks to one process; its name is the recording's."""

    def register(function):
        options = ["--permission-mode", permission_mode, *arguments]
        RECORDINGS[function.__name__] = (function, options, environment or {}, only)
        return function

    return register


@recording()
def initialize(claude):
    claude.control("1", "initialize")
    claude.wait_for(is_control_response)
    claude.note("answered")


@recording()
def text(claude):
    claude.turn("Say hello. [[usage in=120 out=30 read=1000 write=50]] [[say Hello, here I am.]]")


@recording()
def two_turns(claude):
    claude.turn("First. [[usage out=11]] [[say One.]]")
    claude.turn("Second. [[usage out=13]] [[say Two.]]")


@recording()
def queued_turns(claude):
    claude.user("First. [[say One.]]")
    claude.user("Second. [[say Two.]]")
    claude.result()
    claude.result()


@recording()
def command(claude):
    claude.control("1", "initialize")
    claude.wait_for(is_control_response)
    claude.turn("/analyze-code src")


@recording()
def tool(claude):
    claude.turn(
        'Run it. [[usage in=200 out=40]] [[say I run it.]] [[tool Bash {"command":"echo hello","description":"Say hello"}]]'
        " [[usage in=260 out=15]] [[say It said hello.]]"
    )


@recording()
def thinking(claude):
    claude.turn("Think. [[think The user wants me to think.]] [[say I have thought.]]")


@recording()
def help(claude):
    claude.turn("/help")


@recording()
def help_of_project(claude):
    """With a project command of that name; the recorder writes the file."""
    claude.control("1", "initialize")
    claude.wait_for(is_control_response)
    claude.turn("/help")


@recording()
def unknown_command(claude):
    claude.turn("/no-such-command now")
    claude.turn("Go on. [[say Going on.]]")


@recording()
def clear(claude):
    claude.turn("First. [[say One.]]")
    claude.turn("/clear")
    claude.turn("Second. [[say Two.]]")


@recording()
def compact(claude):
    claude.turn("First. [[say One.]]")
    claude.turn("/compact")
    claude.turn("Second. [[say Two.]]")


@recording()
def interrupt(claude):
    claude.user("Wait. " + SLEEP)
    claude.wait_for(is_tool_use)
    time.sleep(2)
    claude.interrupt()


@recording()
def interrupt_text(claude):
    claude.user("Speak. [[say Once upon a time]] [[wait 60s]] [[say they lived happily.]]")
    claude.wait_for(is_text_delta)
    time.sleep(1)
    claude.interrupt()


@recording()
def interrupt_queued(claude):
    claude.user("Wait. " + SLEEP)
    claude.wait_for(is_tool_use)
    claude.user("Second. [[say Two.]]")
    time.sleep(2)
    claude.interrupt()
    # The queued line may become a turn, or be lost.
    claude.wait_for(lambda event: event["type"] == "result", patience_s=10)


@recording()
def interrupt_then_turn(claude):
    claude.user("Wait. " + SLEEP)
    claude.wait_for(is_tool_use)
    time.sleep(2)
    claude.interrupt()
    claude.user("Second. [[say Two.]]")
    claude.wait_for(lambda event: event["type"] == "result", patience_s=10)


@recording()
def sigterm(claude):
    claude.user("Wait. " + SLEEP)
    claude.wait_for(is_tool_use)
    time.sleep(2)
    claude.note("signal")
    claude.process.send_signal(signal.SIGTERM)
    claude.process.wait(PATIENCE_S)
    claude.note("dead")


@recording()
def sigterm_text(claude):
    claude.user("Speak. [[say Once upon a time]] [[wait 60s]] [[say they lived happily.]]")
    claude.wait_for(is_text_delta)
    time.sleep(1)
    claude.note("signal")
    claude.process.send_signal(signal.SIGTERM)
    claude.process.wait(PATIENCE_S)
    claude.note("dead")


@recording()
def retry(claude):
    claude.turn("Again. [[status 529 x2]] [[say At last.]]")


@recording()
def throttled(claude):
    claude.turn("Again. [[status 429]] [[header retry-after: 2]] [[say At last.]]")


@recording()
def auth(claude):
    """Interrupted after the third announcement, where there are any."""
    claude.user("Hello. [[status 401 x1000]]")
    for _ in range(3):
        event = claude.wait_for(is_retry_or_result, patience_s=RETRIES_PATIENCE_S)
        if event is None or event["type"] == "result":
            claude.note("result")
            return
    claude.interrupt()


@recording(only="2.1")
def auth_to_the_end(claude):
    """The older ones announce nothing: there `auth` is the same."""
    claude.turn("Hello. [[status 401 x1000]]", RETRIES_PATIENCE_S)


@recording()
def retry_interrupted(claude):
    """In the pause between two tries, announced or not."""
    claude.user("Hello. [[status 529 x1000]]")
    claude.wait_for(is_init)
    time.sleep(4)
    claude.interrupt()


@recording()
def error_400(claude):
    claude.turn("Hello. [[status 400 x1000]]")
    claude.turn("Go on. [[say Going on.]]")


@recording(environment={"ANTHROPIC_API_KEY": None, "CLAUDE_CODE_OAUTH_TOKEN": "sk-ant-oat01-anything"}, only="2.1")
def limit(claude):
    reset = int(time.time()) + 3600
    claude.turn(f"Nearly. {limit_headers('allowed_warning', reset, '0.97')} [[say Still here.]]")
    claude.turn(f"Used up. [[status 429 x1000]] {limit_headers('rejected', reset, '1.0')}")


@recording()
def subagent(claude):
    inner = "Count the files. [[usage in=50 out=10]] [[say Three files.]]"
    task = {"description": "Count files", "prompt": inner, "subagent_type": "general-purpose"}
    claude.turn(f"Ask one. [[tool {claude.agent_tool} {json.dumps(task)}]] [[say The agent counts three files.]]")


@recording(only="2.1")
def subagent_foreground(claude):
    inner = "Count the files. [[usage in=50 out=10]] [[say Three files.]]"
    task = {"description": "Count files", "prompt": inner, "subagent_type": "general-purpose", "run_in_background": False}
    claude.turn(f"Ask one. [[tool Agent {json.dumps(task)}]] [[say The agent counts three files.]]")


def ask_slow_subagent(claude):
    inner = "Count the files. [[usage in=50 out=10]] [[wait 5s]] [[say Three files.]]"
    task = {"description": "Count files", "prompt": inner, "subagent_type": "general-purpose"}
    claude.turn(f"Ask one. [[tool Agent {json.dumps(task)}]] [[say I have asked.]] [[next]] [[say The agent says three.]]")


@recording(only="2.1")
def subagent_slow(claude):
    """The turn is over before its agent is; the agent's end begins a turn that nobody asked for."""
    ask_slow_subagent(claude)
    claude.result(20)


@recording(only="2.1")
def subagent_slow_closed(claude):
    """The same, with stdin closed at the first result."""
    ask_slow_subagent(claude)


@recording()
def background_bash(claude):
    """Stdin is closed while the command still runs."""
    bash = {**WAIT, "run_in_background": True}
    claude.turn(f"Start it. [[tool Bash {json.dumps(bash)}]] [[say It runs.]]")


@recording(permission_mode="default")
def permission_denied(claude):
    write = {"file_path": str(claude.workspace / "new.txt"), "content": "hello"}
    claude.turn(f"Write. [[tool Write {json.dumps(write)}]] [[say I was not allowed to.]]")


@recording(arguments=["--max-turns", "2"])
def max_turns(claude):
    step = '[[tool Bash {"command":"echo again","description":"Again"}]]'
    claude.turn(f"Loop. {step} [[next]] {step} [[next]] {step} [[say Never said.]]")


@recording(arguments=["--session-id", SESSION])
def resume_before(claude):
    claude.turn("First. [[say One.]]")


@recording(arguments=["--resume", SESSION])
def resume(claude):
    claude.turn("Second. [[say Two.]]")


@recording(arguments=["--session-id", SESSION])
def session_in_use(claude):
    claude.turn("Third. [[say Three.]]")


@recording(arguments=["--resume", NO_SESSION])
def missing_session(claude):
    claude.turn("Hello. [[say Hello.]]")


@recording()
def get_usage(claude):
    """Only 2.1 knows it; the others show how an unknown request is answered."""
    claude.turn("Say hello. [[say Hello.]]")
    claude.control("u", "get_usage")
    claude.wait_for(is_control_response, patience_s=10)


@recording()
def unknown_control(claude):
    claude.control("1", "initialize")
    claude.wait_for(is_control_response)
    claude.control("2", "no_such_request")
    claude.wait_for(is_control_response, patience_s=10)
    claude.turn("Say hello. [[say Hello.]]")


# These go on in the room of the one before.
FOLLOWERS = {"resume": "resume_before", "session_in_use": "resume_before"}


def record_one(name, options, room, results):
    function, arguments, environment, _ = RECORDINGS[name]
    api_log = room.root / "api.jsonl"
    api = Api(options.api, api_log)
    if name == "help_of_project":
        (room.workspace / ".claude/commands/help.md").write_text("Help me. [[say Help of the project.]]\n")
    claude = Claude(options.claude, room, api, arguments, environment)
    claude.workspace = room.workspace
    # 2.1 has renamed it.
    claude.agent_tool = "Agent" if options.version.startswith("2.1") else "Task"
    try:
        function(claude)
    finally:
        claude.finish()
        api.stop()
    out = Path(options.out) / options.version
    (out / f"{name}.jsonl").write_text(room.neutral("".join(claude.read), api.url))
    (out / f"{name}.in.jsonl").write_text(room.neutral("".join(claude.written), api.url))
    results[name] = {
        "arguments": claude.command,
        "exit_code": claude.process.returncode,
        "stderr": room.neutral("".join(claude.errors), api.url),
    }
    print(options.version, name, "exit", claude.process.returncode, claude.notes, flush=True)
    if options.api_logs:
        shutil.copy(api_log, Path(options.api_logs) / f"{options.version}-{name}.jsonl")


def in_namespace(arguments):
    """Starts this program again where nothing but the loopback interface is."""
    enter = ["unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"]
    os.execvp(enter[0], [*enter, sys.executable, sys.argv[0], *arguments, "--in-namespace"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--claude", required=True, help="the program to record")
    parser.add_argument("--version", required=True, help="names the folder")
    parser.add_argument("--api", required=True, help="the loopback API's program")
    parser.add_argument("--out", required=True, help="where the folder of the version is")
    parser.add_argument("--api-logs", help="a folder for what the API served")
    parser.add_argument("--in-namespace", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("names", nargs="*", help="default: all")
    options = parser.parse_args()
    if not options.in_namespace:
        in_namespace(sys.argv[1:])
    out = Path(options.out) / options.version
    out.mkdir(parents=True, exist_ok=True)
    exits = out / "exits.json"
    results = json.loads(exits.read_text()) if exits.exists() else {}
    rooms = {}
    for name, (_, _, _, only) in RECORDINGS.items():
        if (options.names and name not in options.names) or (only and not options.version.startswith(only)):
            continue
        room = rooms[name] = rooms.get(FOLLOWERS.get(name)) or Room()
        record_one(name, options, room, results)
    for room in set(rooms.values()):
        shutil.rmtree(room.root, ignore_errors=True)
    in_order = {name: results[name] for name in RECORDINGS if name in results}
    exits.write_text(json.dumps(in_order, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
