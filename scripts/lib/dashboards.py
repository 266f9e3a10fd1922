"""What the dashboards of config/deploy show of a Prometheus: every query is asked, and drawn as a picture.

A query that Prometheus refuses, or that names a metric which nobody exports, is a problem; one that finds nothing is none, as where
nothing failed. Run by itself, it looks whether what Grafana and Prometheus are given by compose.yaml fits together."""

import html
import json
import math
import pathlib
import re
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

DEPLOY = pathlib.Path(__file__).resolve().parents[2] / "config" / "deploy"
DASHBOARDS = DEPLOY / "grafana" / "dashboards"
# Exported only where there is TLS, and where events or pushes are handed out.
NOT_EVERYWHERE = {
    "conn_tls_certificate_expiration_timestamp_seconds",
    "grpc_certificate_expiration_timestamp_seconds",
    "logic_walk_lag_seconds",
    "logic_live_events_dropped_total",
    "logic_offline_pushes_total",
    "logic_offline_pushes_queued",
    "logic_offline_pushes_awaited",
    "logic_offline_push_seconds_bucket",
}
# Panels that show something of any run in which messages were sent.
ALWAYS = {
    "Connections", "Connections that end", "Accepted and refused", "Sign-ins", "Packets and frames", "Bytes", "Links", "Commits of inboxes",
    "Rows stored", "Inbox writer", "Database", "gRPC calls", "gRPC, 99 %", "Versions", "Redis", "Pools of the database", "Requests, by code",
    "Requests, 99 %", "Connections, of those that there may be", "CPU", "Memory", "Files",
}
COLUMNS, WIDTH, HEIGHT, MARGIN = 3, 420, 240, 12
COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22"]


def ask(prometheus, path, **parameters):
    """The data of an answer; a refusal is an AssertionError with Prometheus's sentence."""
    url = f"{prometheus}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
    try:
        with urllib.request.urlopen(url, timeout=20) as answer:
            return json.load(answer)["data"]
    except urllib.error.HTTPError as error:
        raise AssertionError(f"{parameters.get('query', path)}: {error.read().decode(errors='replace')}") from None


def panels():
    for dashboard in sorted(DASHBOARDS.glob("*.json")):
        for panel in json.loads(dashboard.read_text())["panels"]:
            yield panel


def look(prometheus, since, window, hosts, step_s=1):
    """Each panel with the series of its queries, from `since` (Unix time) until now; `hosts` are the names of addresses. Fails where a
    query is none."""
    exported = set(ask(prometheus, "label/__name__/values"))
    found, missing = [], set()
    for panel in panels():
        series = []
        for target in panel["targets"]:
            query = target["expr"].replace("$__rate_interval", window).replace("$namespace", ".*")
            names = set(re.findall(r"\b((?:conn|logic|business|grpc|database|gim|process|log|http)_\w+)", query))
            missing |= names - exported - NOT_EVERYWHERE
            data = ask(prometheus, "query_range", query=query, start=since, end=time.time(), step=step_s)
            for result in data["result"]:
                legend = re.sub(r"\{\{(\w+)\}\}", lambda label: result["metric"].get(label[1], ""), target["legendFormat"])
                for name, address in hosts.items():
                    legend = legend.replace(f"{address}:", f"{name}:")
                points = [(float(at), float(value)) for at, value in result["values"]]
                series.append((legend, [(at, value) for at, value in points if math.isfinite(value)]))
        found.append((panel["title"], series))
    assert not missing, f"nobody exports {', '.join(sorted(missing))}"
    shown = {title for title, series in found if any(points for _, points in series)}
    assert shown >= ALWAYS, f"these panels show nothing: {', '.join(sorted(ALWAYS - shown))}"
    return found


def draw(found, path):
    """One SVG with all panels."""
    rows = math.ceil(len(found) / COLUMNS)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{COLUMNS * WIDTH}" height="{rows * HEIGHT}" font-family="sans-serif" font-size="10">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for index, (title, series) in enumerate(found):
        left, top = index % COLUMNS * WIDTH, index // COLUMNS * HEIGHT
        parts += [f'<g transform="translate({left},{top})">', *panel_parts(title, series), "</g>"]
    path.write_text("\n".join([*parts, "</svg>"]) + "\n")


def panel_parts(title, series):
    yield f'<text x="{MARGIN}" y="18" font-size="13" font-weight="bold">{html.escape(title)}</text>'
    points = [point for _, line in series for point in line]
    if not points:
        yield f'<text x="{MARGIN}" y="40" fill="#777">nothing to show</text>'
        return
    first, last = min(at for at, _ in points), max(at for at, _ in points)
    top = max(value for _, value in points) or 1.0
    bottom = min(0.0, min(value for _, value in points))
    left, right, upper, lower = 56, WIDTH - MARGIN, 28, 160
    yield f'<path d="M{left} {upper}V{lower}H{right}" fill="none" stroke="#999"/>'
    yield f'<text x="{left - 4}" y="{upper + 8}" text-anchor="end">{top:.3g}</text>'
    yield f'<text x="{left - 4}" y="{lower}" text-anchor="end">{bottom:.3g}</text>'
    yield f'<text x="{right}" y="{lower + 12}" text-anchor="end">{last - first:.0f} s</text>'
    shown = sorted(series, key=lambda one: -max((value for _, value in one[1]), default=0))[: 2 * 4]
    for number, (legend, line) in enumerate(shown):
        colour = COLOURS[number % len(COLOURS)]
        place = [
            f"{left + (at - first) / max(last - first, 1) * (right - left):.1f},{lower - (value - bottom) / (top - bottom) * (lower - upper):.1f}"
            for at, value in line
        ]
        yield f'<polyline points="{" ".join(place)}" fill="none" stroke="{colour}" stroke-width="1.3"/>'
        column, row = number % 2, number // 2
        text = html.escape(legend if len(legend) <= 36 else legend[:35] + "…")
        yield f'<text x="{MARGIN + column * (WIDTH // 2 - 4)}" y="{lower + 26 + row * 13}" fill="{colour}">{text}</text>'
    if len(series) > len(shown):
        yield f'<text x="{WIDTH - MARGIN}" y="18" text-anchor="end" fill="#777">and {len(series) - len(shown)} more</text>'


def problems_of_files():
    """What compose.yaml mounts, what Grafana reads there, and whom it asks."""
    import yaml

    def read(path):
        return yaml.safe_load((DEPLOY / path).read_text())

    services = read("compose.yaml")["services"]
    mounts = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    provisioning, uids = pathlib.Path("grafana/provisioning"), set()
    if mounts.get(f"./{provisioning}") != "/etc/grafana/provisioning":
        yield "compose.yaml: Grafana does not find its provisioning"
    for source in read(provisioning / "datasources" / "gim.yaml")["datasources"]:
        uids.add(source["uid"])
        host = urllib.parse.urlsplit(source["url"]).hostname
        if host not in services:
            yield f"Grafana asks {host}, which is no service of compose.yaml"
    for provider in read(provisioning / "dashboards" / "gim.yaml")["providers"]:
        if mounts.get("./grafana/dashboards") != provider["options"]["path"]:
            yield f"Grafana looks for dashboards in {provider['options']['path']}, where compose.yaml puts none"
    for panel in panels():
        if panel["datasource"]["uid"] not in uids:
            yield f"{panel['title']}: there is no source {panel['datasource']['uid']}"
    for job in read("prometheus/prometheus.yml")["scrape_configs"]:
        for target in job["static_configs"][0]["targets"]:
            if target.split(":")[0] not in services:
                yield f"Prometheus scrapes {target}, which is no service of compose.yaml"


if __name__ == "__main__":
    found = list(problems_of_files())
    print("\n".join(found) or f"{sum(1 for _ in panels())} panels, whose source and folder are there")
    sys.exit(1 if found else 0)
