#!/usr/bin/env python3
"""topology.py MYSQL_URL REDIS_URL: runs what config/deploy/compose.yaml describes, by the images that scripts/test-deploy built.

Each service of ours has a loopback address of its own, as all share the network of the host; names are told to each container as
compose tells them. The databases are those of the caller. Every container is waited for by the health check of its image, in the
order of depends_on; then gim-bench checks that every message arrives, a Prometheus that scraped it all is asked every query of the
dashboards, and all are stopped in order. Where GIM_PICTURES names a folder, what the dashboards show is left there. Exit code 1 where
anything is not as it should be."""

import json
import os
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import yaml

import dashboards

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "config" / "deploy"
HEALTHY_WITHIN_S = 60
STOPPED_WITHIN_S = 45
# How long messages are sent for the dashboards, and how often they are scraped meanwhile.
SHOWN_S, SCRAPE_S = 20, 1
ENVIRONMENT = {
    "GIM_INTERNAL_TOKEN": "a-secret-for-this-run-alone",
    "GIM_DATABASE_PASSWORD": "password",
    "GIM_DEVELOPMENT_CODE": "123456",
}


def buildah(*arguments, **options):
    """What buildah prints."""
    return subprocess.run(["buildah", *arguments], check=True, capture_output=True, text=True, **options).stdout.strip()


def filled_in(text):
    """A value of the file with its variables, as compose fills them in."""

    def value(match):
        name, _, rest = match[1].partition(":")
        if name in ENVIRONMENT:
            return ENVIRONMENT[name]
        assert rest.startswith("-"), f"{name} has neither a value nor a default"
        return rest[1:]

    return re.sub(r"\$\{([^}]*)\}", value, text)


class Container:
    """One service of the file, in a container of its image."""

    def __init__(self, name, service, address, mysql, redis):
        self.name, self.address, self.process = name, address, None
        self.image = "localhost/" + service["image"]
        self.needs = [need for need in service.get("depends_on", {}) if need not in ("mariadb", "redis")]
        self.environment = {key: filled_in(value) for key, value in service["environment"].items()}
        for key, value in self.environment.items():
            value = re.sub(r"^mysql://[^/]*", mysql, value)
            self.environment[key] = re.sub(r"^redis://redis:6379", redis, value)
        prefix = service["image"].replace("-", "_").upper()
        settings = (DEPLOY / "image" / f"{service['image'].removeprefix('gim-')}.toml").read_text()
        section = ""
        for line in settings.splitlines():
            if line.startswith("["):
                section = line.strip("[]").upper() + "__"
            elif match := re.match(r'(\w*listen) = "0\.0\.0\.0:(\d+)"', line):
                self.environment[f"{prefix}_{section}{match[1].upper()}"] = f"{address}:{match[2]}"
        config = json.loads(buildah("inspect", "--type", "image", self.image))["Docker"]["config"]
        self.command, self.check = config["Entrypoint"], config["Healthcheck"]["Test"][1:]
        self.id = None

    def make(self, hosts):
        names = [word for name, address in hosts.items() for word in ("--add-host", f"{name}:{address}")]
        self.id = buildah("from", "--pull-never", *names, self.image)

    def run(self, command):
        settings = [word for key, value in self.environment.items() for word in ("--env", f"{key}={value}")]
        return ["buildah", "run", *settings, self.id, "--", *command]

    def start(self):
        self.log = open(f"{os.environ['GIM_LOGS']}/{self.name}.log", "wb")
        self.process = subprocess.Popen(self.run(self.command), stdout=self.log, stderr=subprocess.STDOUT)

    def await_health(self):
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        while True:
            assert self.process.poll() is None, f"{self.name} ended: {self.last_line()}"
            check = subprocess.run(self.run(self.check), capture_output=True, text=True)
            if check.returncode == 0:
                return
            said = check.stderr.splitlines()[0] if check.stderr else "nothing"
            assert time.monotonic() < deadline, f"{self.name} is not healthy in {HEALTHY_WITHIN_S} s: {said}"
            time.sleep(0.2)

    def program(self):
        """The process id of the service itself; buildah does not hand signals on to it."""
        generation = [self.process.pid]
        while generation:
            children = [int(child) for pid in generation for child in children_of(pid)]
            for pid in children:
                if pathlib.Path(f"/proc/{pid}/comm").read_text().startswith("gim-"):
                    return pid
            generation = children
        return None

    def stop(self):
        pid = self.program()
        assert pid, f"{self.name} does not run"
        os.kill(pid, signal.SIGTERM)
        try:
            code = self.process.wait(STOPPED_WITHIN_S)
        except subprocess.TimeoutExpired:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError(f"{self.name} has not stopped within {STOPPED_WITHIN_S} s") from None
        assert code == 0, f"{self.name} ended with {code}: {self.last_line()}"

    def changed_files(self):
        """What was written into its root since it was made, beyond what buildah itself puts there."""
        root = pathlib.Path(buildah("mount", self.id))
        made = (root / "etc/hosts").stat().st_mtime
        files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
        changed = [f"/{path.relative_to(root)}" for path in files if path.stat().st_mtime > made + 1]
        buildah("umount", self.id)
        return [path for path in changed if path not in ("/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/run/.containerenv")]

    def last_line(self):
        lines = pathlib.Path(self.log.name).read_text(errors="replace").splitlines()
        return next((line for line in reversed(lines) if not line.startswith(("subprocess exited", "Error: exit"))), "")

    def remove(self):
        if self.process and self.process.poll() is None:
            if pid := self.program():
                os.kill(pid, signal.SIGKILL)
            self.process.wait()
        if self.id:
            buildah("rm", self.id)


def children_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split() + [
            child
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir()
            if task.name != str(pid)
            for child in (task / "children").read_text().split()
        ]
    except FileNotFoundError:
        return []


def in_order(containers):
    """Whoever is needed comes first. (business needs logic as well, but only when somebody signs up.)"""
    ordered = []
    while len(ordered) < len(containers):
        names = [container.name for container in ordered]
        ordered += [c for c in containers if c.name not in names and set(c.needs) <= set(names)]
    return ordered


def check_refused_without_token(container):
    """A node that others reach, and that asks nobody for a token, does not start, and says why."""
    del container.environment["GIM_CONN_GRPC__INTERNAL_TOKEN"]
    container.environment["GIM_CONN_GRPC__LISTEN"] = "0.0.0.0:8000"  # which a loopback address is not
    end = subprocess.run(container.run(container.command), capture_output=True, text=True, timeout=HEALTHY_WITHIN_S)
    assert "internal_token" in end.stderr, f"a conn node that others reach, without a token, says: {end.stdout}{end.stderr}"


def bench(containers, hosts, *command):
    """The last line of gim-bench, which has to pass."""
    tools = buildah("from", "--pull-never", *[w for n, a in hosts.items() for w in ("--add-host", f"{n}:{a}")], "localhost/gim-tools")
    conns = [c.name for c in containers if c.name.startswith("conn-")]
    arguments = [
        *("--tcp", ",".join(f"{name}:8002" for name in conns)),
        *("--logic", "http://logic-1:8010", "--business", "http://business:8020"),
        *("--internal-token", ENVIRONMENT["GIM_INTERNAL_TOKEN"]),
    ]
    if command[0] == "smoke":
        arguments += ["--ws", ",".join(f"ws://{name}:8003/ws" for name in conns)]
    try:
        run = ["buildah", "run", tools, "--", "/gim-bench", *command, *arguments]
        end = subprocess.run(run, capture_output=True, text=True, timeout=120)
        assert end.returncode == 0, f"gim-bench {command[0]} ended with {end.returncode}: {end.stdout}{end.stderr}"
        return end.stdout.splitlines()[-1]
    finally:
        buildah("rm", tools)


class Prometheus:
    """The one of compose.yaml, with its settings, but that it asks more often."""

    def __init__(self, hosts, address):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="gim-prometheus."))
        shutil.copy(DEPLOY / "prometheus" / "alerts.yml", self.folder)
        settings = (DEPLOY / "prometheus" / "prometheus.yml").read_text()
        for name, host in hosts.items():
            settings = settings.replace(f'"{name}:', f'"{host}:')
        settings = settings.replace("scrape_interval: 15s", f"scrape_interval: {SCRAPE_S}s")
        (self.folder / "prometheus.yml").write_text(settings)
        self.hosts = hosts
        self.url, self.since = f"http://{address}:9090", time.time()
        options = [f"--config.file={self.folder}/prometheus.yml", f"--storage.tsdb.path={self.folder}/data"]
        log = open(f"{os.environ['GIM_LOGS']}/prometheus.log", "wb")
        self.process = subprocess.Popen(
            ["prometheus", *options, f"--web.listen-address={address}:9090"], stdout=log, stderr=subprocess.STDOUT
        )

    def targets(self):
        return [target["health"] for target in dashboards.ask(self.url, "targets")["activeTargets"]]

    def await_targets(self, count):
        deadline = time.monotonic() + HEALTHY_WITHIN_S
        while True:
            try:
                healths = self.targets()
            except (OSError, AssertionError):  # until its storage is open, it refuses
                healths = []
            if healths.count("up") == count:
                return
            assert time.monotonic() < deadline, f"Prometheus reaches {healths.count('up')} of {count} services"
            time.sleep(0.2)

    def show(self):
        """Asks every query; draws what they find where somebody wants to see it."""
        found = dashboards.look(self.url, self.since, f"{4 * SCRAPE_S}s", self.hosts)
        shown = sum(1 for _, series in found if series)
        print(f"{len(found)} panels of the dashboards are asked for, {shown} of them show something", flush=True)
        if folder := os.environ.get("GIM_PICTURES"):
            pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
            dashboards.draw(found, pathlib.Path(folder) / "gim.svg")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder)


def main():
    mysql, redis = sys.argv[1:]
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    ours = {name: service for name, service in services.items() if service["image"].startswith("gim-")}
    network = f"127.{random.randint(64, 250)}.{random.randint(0, 250)}"
    hosts = {name: f"{network}.{number}" for number, name in enumerate(ours, 1)}
    containers = in_order([Container(name, service, hosts[name], mysql, redis) for name, service in ours.items()])
    prometheus = None
    try:
        for container in containers:
            container.make(hosts)
        for container in containers:
            container.start()
            container.await_health()
            print(f"{container.name} is healthy", flush=True)
        prometheus = Prometheus(hosts, f"{network}.250")
        prometheus.await_targets(len(containers))
        print(bench(containers, hosts, "smoke"), flush=True)
        day = ["--connections", "500", "--seconds", str(SHOWN_S)]
        print(bench(containers, hosts, "mixed", *day), flush=True)
        prometheus.show()
        for container in reversed(containers):
            container.stop()
            changed = container.changed_files()
            assert not changed, f"{container.name} wrote into its root: {changed}"
        print("all have stopped in order, and wrote nothing into their images")
        check_refused_without_token(containers[-1])
    finally:
        if prometheus:
            prometheus.stop()
        for container in reversed(containers):
            container.remove()


if __name__ == "__main__":
    try:
        main()
    except AssertionError as problem:
        sys.exit(f"topology.py: {problem}")
