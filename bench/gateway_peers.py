"""The gateway beside its peers: one provider, one clients' side, one run.

    cargo build --release -p wflo -p wflo-bench
    python bench/gateway_peers.py [--litellm VENV] [--bifrost BINARY] [--awake] [--seconds S] [--json FILE]

Each gateway gets one core (`taskset`), and the provider and the clients the other ones. A peer that is not
given is left out. Latency is asked direct and through, in turns, on one connection each; what a gateway adds is the
difference of the medians. `--awake` keeps the cores from sleeping: a virtual core that has halted may take 50 us to
wake, which is the machine's and not the gateway's. Nothing here asserts a time. Standard library only.
"""

import argparse
import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target").resolve() / "release"
PEERS = TARGET / "peers"
MODEL = "gpt-5-mini"
# What the mock bills for one call at the price map's rates: 50 tokens in at 0.25, 5 out at 2 USD a million.
BILL_NANOS = 50 * 250 + 5 * 2000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port, path="/health/live"):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


def wait(ready, seconds, what):
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what} did not come in {seconds} s")
        time.sleep(0.05)


def pinned(core, command):
    return ["taskset", "-c", str(core), *command] if shutil.which("taskset") and (os.cpu_count() or 1) > 1 else command


@contextlib.contextmanager
def process(command, **more):
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **more)
    try:
        yield child
    finally:
        child.terminate()
        try:
            child.wait(20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


@contextlib.contextmanager
def awake(wanted):
    """Both cores are busy with what gives way to everything else (SCHED_IDLE), so that none halts."""
    busy = [sys.executable, "-c", "while True: pass"]
    spin = [["taskset", "-c", str(core), "chrt", "--idle", "0", *busy] for core in (0, 1)]
    with contextlib.ExitStack() as stack:
        for command in spin if wanted else []:
            stack.enter_context(process(command))
        yield


@contextlib.contextmanager
def mock():
    port = free_port()
    with process(pinned(1, [PEERS, "mock", str(port)])):
        wait(lambda: answers(port, "/counts"), 10, "the mock")
        yield port


def asked(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/counts", timeout=5) as answer:
        return int(answer.read())


@contextlib.contextmanager
def wflo(upstream, budget=None, threads=1, binary=None):
    with tempfile.TemporaryDirectory(prefix="wflo-bench-") as folder:
        settings = f'[providers.openai]\ndialect = "openai"\nbase_url = "http://127.0.0.1:{upstream}/v1"\n'
        # The mock is OpenAI's kind, which reads the client's own name for the limit.
        settings += 'output_limit = "max_completion_tokens"\n'
        limit = budget if budget is not None else "1000000"
        settings += f'[budget]\nmax_cost_usd = "{limit}"\n'
        Path(folder, "wflo.toml").write_text(settings)
        port = free_port()
        command = [binary or TARGET / "wflo", "gateway", "--listen", f"127.0.0.1:{port}", "--threads", str(threads)]
        env = {"PATH": os.environ["PATH"], "HOME": folder, "OPENAI_API_KEY": "sk-provider"}
        with process(pinned(0, command), cwd=folder, env=env) as child:
            wait(lambda: answers(port, "/health/ready"), 20, "wflo gateway")
            yield port, child.pid


@contextlib.contextmanager
def relay(upstream):
    """The floor: bytes are copied and nothing else is done."""
    port = free_port()
    with process(pinned(0, [PEERS, "relay", str(port), str(upstream)])) as child:
        wait(lambda: answers(port, "/counts"), 10, "the relay")
        yield port, child.pid


@contextlib.contextmanager
def litellm(venv, upstream, budget=None):
    with tempfile.TemporaryDirectory(prefix="wflo-bench-") as folder:
        config = {
            "model_list": [
                {
                    "model_name": MODEL,
                    "litellm_params": {
                        "model": f"openai/{MODEL}",
                        "api_base": f"http://127.0.0.1:{upstream}/v1",
                        "api_key": "sk-provider",
                    },
                }
            ],
            "litellm_settings": {"drop_params": True, "telemetry": False},
        }
        if budget is not None:
            limit = {"openai": {"budget_limit": float(budget), "time_period": "1d"}}
            config["router_settings"] = {"provider_budget_config": limit}
        path = Path(folder, "config.json")
        path.write_text(json.dumps(config))
        port = free_port()
        command = [str(Path(venv, "bin", "litellm")), "--config", str(path), "--port", str(port), "--host", "127.0.0.1"]
        env = {"PATH": f"{venv}/bin:{os.environ['PATH']}", "HOME": folder, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
        # On loopback, for the time of a measurement; it does not start without.
        env["LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY"] = "true"
        with process(pinned(0, command), cwd=folder, env=env) as child:
            wait(lambda: answers(port, "/health/liveliness"), 120, "litellm")
            yield port, child.pid


@contextlib.contextmanager
def bifrost(binary, upstream):
    with tempfile.TemporaryDirectory(prefix="wflo-bench-") as folder:
        key = {"name": "one", "value": "sk-provider", "weight": 1.0, "models": [MODEL]}
        network = {"base_url": f"http://127.0.0.1:{upstream}"}
        config = {"providers": {"openai": {"keys": [key], "network_config": network}}}
        Path(folder, "config.json").write_text(json.dumps(config))
        port = free_port()
        command = [binary, "-app-dir", folder, "-port", str(port), "-host", "127.0.0.1", "-log-level", "error"]
        env = {"PATH": os.environ["PATH"], "HOME": folder, "GOMAXPROCS": "1"}
        with process(pinned(0, command), cwd=folder, env=env) as child:
            wait(lambda: answers(port, "/health"), 60, "bifrost")
            yield port, child.pid


def cpu_seconds(pid):
    """What a process and its threads have used: says the same on a busy machine as on a quiet one."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(what, **options):
    words = [f"{name}={value}" for name, value in options.items()]
    done = subprocess.run(pinned(1, [PEERS, "load", what, *words]), capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise RuntimeError(f"{what}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def measure(name, gateway, upstream, options, rows):
    """The figures of one gateway."""
    with gateway as (port, pid):
        for size in (300, 100_000):
            got = load("latency", direct=upstream, through=port, size=size, count=options.count)
            added = {p: got["through"][p] - got["direct"][p] for p in ("p50_us", "p99_us")}
            rows.append({"gateway": name, "what": f"added p50, {size} B", "unit": "us", "value": added["p50_us"]})
            rows.append({"gateway": name, "what": f"added p99, {size} B", "unit": "us", "value": added["p99_us"]})
        got = load("stream", direct=upstream, through=port, count=max(options.count // 40, 10))
        late = got["through"]["p50_us"] - got["direct"]["p50_us"]
        rows.append({"gateway": name, "what": "added per event of a stream, p50", "unit": "us", "value": late})
        before = cpu_seconds(pid)
        got = load("rate", through=port, clients=options.clients, seconds=options.seconds)
        spent = (cpu_seconds(pid) - before) * 1e6 / max(got["answered"], 1)
        rows.append({"gateway": name, "what": "CPU of a request", "unit": "us", "value": spent})
        rows.append({"gateway": name, "what": "requests answered", "unit": "/s", "value": got["per_second"]})
        if got["failed"]:
            rows[-1]["note"] = f"{got['failed']} failed"
        # A peer may not bear so many.
        with contextlib.suppress(RuntimeError, subprocess.TimeoutExpired):
            got = load("hold", through=port, clients=options.streams, pid=pid)
            held = got["resident_kb"] / 1024
            rows.append({"gateway": name, "what": f"memory of {options.streams} streams", "unit": "MB", "value": held})


def overshoot(name, gateway, upstream, clients, limit_nanos, rows):
    before = asked(upstream)
    with gateway as (port, _):
        load("burst", through=port, clients=clients, most=400)
        billed = (asked(upstream) - before) * BILL_NANOS
    what = f"billed / limit, {clients} clients"
    rows.append({"gateway": name, "what": what, "unit": "", "value": billed / limit_nanos})


def table(rows):
    names = list(dict.fromkeys(row["gateway"] for row in rows))
    whats = list(dict.fromkeys((row["what"], row["unit"]) for row in rows))
    found = {(row["gateway"], row["what"]): row["value"] for row in rows}
    wide = max(len(what) for what, _ in whats) + 6
    lines = ["".ljust(wide) + "".join(f"{name:>16}" for name in names)]
    for what, unit in whats:
        own = found.get(("wflo", what))
        line = f"{what} {unit}".ljust(wide)
        for name in names:
            value = found.get((name, what))
            if value is None:
                line += f"{'-':>16}"
                continue
            ratio = f" ({value / own:.1f}x)" if own and name != "wflo" else ""
            line += f"{value:,.{2 if unit == '' else 0}f}{ratio}".rjust(16)
        lines.append(line)
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--litellm", metavar="VENV", help="a virtual environment with litellm[proxy]")
    parser.add_argument("--bifrost", metavar="BINARY", help="bifrost-http")
    parser.add_argument("--awake", action="store_true", help="keep the cores from sleeping")
    parser.add_argument("--count", type=int, default=2000, help="calls of each latency")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--streams", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=200, help="calls that a budget of the overshoot table fits")
    parser.add_argument("--only", choices=["speed", "overshoot"])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = []
    # Room for so many bills, and for what the last of them could cost at most.
    limit = options.calls * BILL_NANOS + 700_000
    usd = f"{limit / 1e9:.9f}"
    with awake(options.awake), mock() as upstream:
        gateways = {"wflo": lambda **more: wflo(upstream, **more), "bare relay": lambda **more: relay(upstream)}
        if options.litellm:
            gateways["litellm"] = lambda **more: litellm(options.litellm, upstream, **more)
        if options.bifrost:
            gateways["bifrost"] = lambda **more: bifrost(options.bifrost, upstream)
        for name, gateway in gateways.items():
            print(f"{name} … load {os.getloadavg()[0]:.1f}", file=sys.stderr)
            if options.only != "overshoot":
                measure(name, gateway(), upstream, options, rows)
            if options.only != "speed" and name in ("wflo", "litellm"):
                for clients in (1, 10, 100, 1000):
                    overshoot(name, gateway(budget=usd), upstream, clients, limit, rows)
    print(table(rows))
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "load": os.getloadavg()}, indent=1))


if __name__ == "__main__":
    main()
