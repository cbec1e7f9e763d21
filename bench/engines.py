"""Database servers with throw-away data for the benchmarks, and what processes use."""
import contextlib
import os
import platform
import re
import shutil
import socket
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
TARGET = BENCH / "target" / "release"


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(port, patience=60):
    end = time.monotonic() + patience
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        if time.monotonic() > end:
            raise SystemExit(f"nothing answers on port {port}")
        time.sleep(0.05)


def tree(pid):
    """A process and those it has made."""
    found, queue = [], [pid]
    while queue:
        pid = queue.pop()
        found.append(pid)
        for task in Path(f"/proc/{pid}/task").glob("*/children"):
            with contextlib.suppress(OSError):
                queue += [int(child) for child in task.read_text().split()]
    return found


def cpu(pid):
    """Seconds of processor time that a process and its children have used."""
    total = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            # The clock of another process, to the nanosecond and with the threads that have ended (clock_getcpuclockid(3)).
            total += time.clock_gettime(~one << 3 | 2)
    return total


def rss(pid):
    total = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            total += int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{one}/status").read_text()).group(1))
    return total / 1024


class Engines:
    """Database servers on free ports with throw-away data, as they are configured out of the box."""

    def __init__(self, folder):
        self.folder, self.processes, self.urls = folder, {}, {}

    def url(self, name):
        if name not in self.urls:
            getattr(self, name)()
        return self.urls[name]

    def spawn(self, name, command, port, **options):
        log = open(self.folder / f"{name}.log", "w")
        self.processes[name] = subprocess.Popen(command, stdout=log, stderr=log, **options)
        wait_for(port)

    def redis(self):
        port = free_port()
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        self.spawn("redis", [program, "--port", str(port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--save", "", "--appendonly", "yes"], port)
        self.urls["redis"] = f"redis://127.0.0.1:{port}"

    def mongo(self):
        port, data = free_port(), self.folder / "mongo"
        data.mkdir()
        program = shutil.which("mongod") or str(Path.home() / ".cache/hallpass/mongod")
        self.spawn("mongo", [program, "--dbpath", str(data), "--port", str(port), "--bind_ip", "127.0.0.1", "--replSet", "rs", "--nounixsocket"], port)
        script = """import { MongoClient } from "mongodb";
            const client = new MongoClient("mongodb://127.0.0.1:%d/?directConnection=true");
            const admin = client.db("admin");
            await admin.command({ replSetInitiate: { _id: "rs", members: [{ _id: 0, host: "127.0.0.1:%d" }] } });
            while (!(await admin.command({ hello: 1 })).isWritablePrimary) await new Promise((done) => setTimeout(done, 100));
            await client.close();""" % (port, port)
        subprocess.run(["node", "--input-type=module", "-e", script], cwd=BENCH / "express", check=True)
        self.urls["mongo"] = f"mongodb://127.0.0.1:{port}/test?replicaSet=rs"

    def postgres(self):
        port, data = free_port(), self.folder / "postgres"
        programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        options = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
        data.mkdir()
        if options:
            shutil.chown(data, "postgres", "postgres")
        init = [programs / "initdb", "-D", data, "-U", "hallpass", "-A", "trust", "-E", "UTF8"]
        subprocess.run(init, check=True, stdout=subprocess.DEVNULL, cwd="/", **options)
        command = [programs / "postgres", "-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", str(data), "-c", "dynamic_shared_memory_type=mmap"]
        self.spawn("postgres", command, port, cwd="/", **options)
        while subprocess.run([programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]).returncode:
            time.sleep(0.1)
        self.urls["postgres"] = f"postgres://hallpass@127.0.0.1:{port}/postgres?sslmode=disable"

    def cpu(self, name):
        return cpu(self.processes[name].pid) if name else 0.0

    def stop(self):
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait()


def machine():
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    memory = int(re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text()).group(1)) // 1024 // 1024
    return f"{model.group(1) if model else platform.machine()}, {os.cpu_count()} cores, {memory} GiB, Linux {platform.release()}"


def build(*parts):
    """The programs of these folders, in release mode, into bench/target."""
    environment = {**os.environ, "CARGO_TARGET_DIR": str(BENCH / "target")}
    for part in parts:
        subprocess.run(["cargo", "build", "--release", "--quiet"], cwd=BENCH / part, check=True, env=environment)


def write(document, name, text):
    """Puts the text between the marks of this name in a page of docs/."""
    page = ROOT / "docs" / document
    begin, end = f"<!-- {name} writes from here -->", "<!-- to here -->"
    before, rest = page.read_text().split(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.split(end, 1)[1]}")
