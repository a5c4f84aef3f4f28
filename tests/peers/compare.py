#!/usr/bin/env python3
"""Times Bakelite against PyTorch, JAX and ONNX Runtime on the same work, in alternation, and prints ratios.

usage: compare.py [--workloads tiny,mlp,...|all] [--tasks train,predict,predict1] [--peers torch,jax,onnxruntime]
                  [--threads 1,2] [--rounds N] [--seconds S] [--json FILE]

Needs cargo, and whichever of torch, jax and keras, and onnxruntime with torch, are to be compared; a peer that is not
installed is skipped, and says why. Times are medians of the medians of all rounds, in microseconds. `floor` is the time that
the floating-point operations of a training step take at the peak rate of the cores, measured in the same run.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

from networks import WORKLOADS

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


class Worker:
    """A process that measures what it is told, and idles otherwise."""

    def __init__(self, name, command):
        self.name = name
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def ask(self, request):
        """The answer as a number, or nothing with the reason printed."""
        print(request, file=self.process.stdin, flush=True)
        answer = self.process.stdout.readline().strip()
        if answer.startswith("none"):
            return None
        try:
            return float(answer)
        except ValueError:
            print(f"skipped: {self.name} on `{request}`: {answer or 'ended'}", file=sys.stderr)
            return None


def bakelite():
    build = ["cargo", "build", "--release", "-p", "bakelite-tests", "--features", "bench", "--bin", "worker"]
    build.append("--message-format=json")
    built = subprocess.run(build, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    messages = map(json.loads, built.stdout.splitlines())
    program = [m["executable"] for m in messages if m.get("executable") and m["target"]["name"] == "worker"]
    return Worker("bakelite", program)


def peer(name, threads):
    worker = Worker(f"{name}, {threads} threads", [sys.executable, str(HERE / "peers.py"), name, str(threads)])
    version = worker.process.stdout.readline().strip()
    if not version or version.startswith("error"):
        print(f"skipped: {name}: {version or 'did not start'}", file=sys.stderr)
        return None
    print(f"{name}: {version}", file=sys.stderr)
    return worker


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    listed = lambda text: text.split(",")
    args.add_argument("--workloads", type=listed, default=["all"])
    args.add_argument("--tasks", type=listed, default=["train", "predict", "predict1"])
    args.add_argument("--peers", type=listed, default=["torch", "jax", "onnxruntime"])
    args.add_argument("--threads", type=lambda text: [int(n) for n in text.split(",")], default=[1, 2])
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--seconds", type=float, default=0.5)
    args.add_argument("--json", type=pathlib.Path)
    args = args.parse_args()
    if args.workloads == ["all"]:
        args.workloads = list(WORKLOADS)

    own = bakelite()
    peak = own.ask("peak")
    rows = []
    for threads in args.threads:
        peers = {name: worker for name in args.peers if (worker := peer(name, threads))}
        workers = {"bakelite": own, **peers}
        for workload in args.workloads:
            for task in args.tasks:
                times = {name: [] for name in workers}
                for _ in range(args.rounds):
                    for name, worker in workers.items():
                        if (us := worker.ask(f"{workload} {task} {threads} {args.seconds}")) is not None:
                            times[name].append(us)
                row = {"workload": workload, "task": task, "threads": threads}
                row["us"] = {name: statistics.median(all) for name, all in times.items() if all}
                if task == "train" and peak and (flops := own.ask(f"{workload} flops")):
                    row["floor_us"] = flops / (peak * threads)
                rows.append(row)
        for worker in peers.values():
            worker.process.stdin.close()
            worker.process.wait()
    report(rows, args.peers, peak)
    if args.json:
        args.json.write_text(json.dumps({"peak_flops_per_us": peak, "rows": rows}, indent=1) + "\n")


def report(rows, peers, peak):
    print(f"\npeak of one core: {peak / 1e3:.0f} GFLOP/s\n")
    columns = ["workload", "task", "threads", "bakelite", *peers, "times faster", "of floor", "2 threads"]
    table = [columns]
    alone = {(r["workload"], r["task"]): r["us"].get("bakelite") for r in rows if r["threads"] == 1}
    for row in rows:
        us, own = row["us"], row["us"].get("bakelite")
        others = [us[name] for name in peers if name in us]
        single = alone.get((row["workload"], row["task"]))
        table.append([
            row["workload"], row["task"], str(row["threads"]),
            *(f"{us[name]:.2f}" if name in us else "-" for name in ["bakelite", *peers]),
            f"{min(others) / own:.2f}" if own and others else "-",
            f"{row['floor_us'] / own:.0%}" if own and "floor_us" in row else "-",
            f"{single / own:.2f}x" if own and single and row["threads"] == 2 else "-",
        ])
    widths = [max(len(line[i]) for line in table) for i in range(len(columns))]
    for line in table:
        print("  ".join(cell.rjust(w) if i > 1 else cell.ljust(w) for i, (cell, w) in enumerate(zip(line, widths))))


if __name__ == "__main__":
    main()
