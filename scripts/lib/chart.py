#!/usr/bin/env python3
"""chart.py FILE... --kubernetes VERSION: holds what the chart makes against the schemas of Kubernetes, and against what our page
promises of it. Exit code 1 with a sentence for each thing that is wrong."""

import argparse
import pathlib
import re
import sys

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Of operators, whose schemas do not come with Kubernetes.
OF_OTHERS = {"Certificate", "ServiceMonitor"}


def problems_of_schemas(file, resources, version):
    for resource in resources:
        if resource["kind"] in OF_OTHERS:
            continue
        try:
            kubernetes_validate.validate(resource, version, strict=True)
        except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as error:
            yield f"{file}: {resource['kind']} {resource['metadata']['name']}: {error}"


def one(resources, kind, name):
    found = [r for r in resources if r["kind"] == kind and r["metadata"]["name"] == name]
    assert len(found) == 1, f"{len(found)} {kind} {name}"
    return found[0]


def problems_of_promises(file, resources):
    """What no schema says."""
    conn = one(resources, "StatefulSet", "gim-conn")["spec"]["template"]["spec"]
    environment = {variable["name"]: variable.get("value") for variable in conn["containers"][0]["env"]}
    waits = conn["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    drains = int(environment["GIM_CONN_DRAIN__TIMEOUT_MS"]) / 1000
    if conn["terminationGracePeriodSeconds"] <= waits + drains:
        yield f"{file}: a conn pod is killed while it drains"
    if "GIM_CONN_TLS__CERTIFICATES" in environment and environment.get("GIM_CONN_TLS__FILES_INTERVAL_MS", "0") == "0":
        yield f"{file}: conn does not notice when cert-manager renews its certificate"
    nodes = one(resources, "Service", "gim-logic-nodes")["spec"]
    if not nodes.get("publishNotReadyAddresses") or nodes["clusterIP"] != "None":
        yield f"{file}: conn does not find logic nodes that are not ready"
    logic = one(resources, "StatefulSet", "gim-logic")["spec"]["template"]["spec"]["containers"][0]
    if {"name": "GIM_LOGIC_NODE_NUMBER", "value": "$(POD_INDEX)"} not in logic["env"]:
        yield f"{file}: logic has no number of its pod"
    for resource in resources:
        if resource["kind"] in ("StatefulSet", "Deployment"):
            yield from problems_of_variables(file, resource)
            yield from problems_of_volumes(file, resource, resources)
        if resource["kind"] == "NetworkPolicy":
            service = resource["metadata"]["labels"]["app.kubernetes.io/component"]
            for rule in resource["spec"]["ingress"]:
                ports = {port["port"] for port in rule["ports"]}
                if not rule.get("from") and not ports <= {8002, 8003, 8004, 8005}:
                    yield f"{file}: everybody reaches {ports} of {service}"
        if resource["kind"] == "Ingress" and not resource["metadata"]["name"].endswith("-files"):
            yield from problems_of_paths(file, resource)


def problems_of_variables(file, resource):
    """A variable that names another one has to stand below it, and a setting has to be one."""
    service = resource["metadata"]["labels"]["app.kubernetes.io/component"]
    settings = (ROOT / "config" / f"{service}.toml").read_text()
    before = set()
    for variable in resource["spec"]["template"]["spec"]["containers"][0]["env"]:
        for named in re.findall(r"\$\((\w+)\)", variable.get("value") or ""):
            if named not in before:
                yield f"{file}: {variable['name']} names {named}, which stands below it"
        before.add(variable["name"])
        if setting := re.match(rf"GIM_{service.upper()}_(?:(\w+?)__)?(\w+)$", variable["name"]):
            section, key = ((part or "").lower() for part in setting.groups())
            text = settings.split(f"\n[{section}]\n", 1)[-1].split("\n[", 1)[0] if section else settings.split("\n[", 1)[0]
            if not re.search(rf"^{key} = ", text, re.MULTILINE):
                yield f"{file}: {variable['name']} is no setting"


def problems_of_volumes(file, resource, resources):
    """What is mounted is a volume of the pod, and a claim that nobody else makes is made; a file that settings name is in the Secret's folder."""
    pod = resource["spec"]["template"]["spec"]
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = pod["containers"][0]["volumeMounts"]
    for mount in mounts:
        if mount["name"] not in volumes:
            yield f"{file}: {resource['metadata']['name']} mounts {mount['name']}, which is no volume of the pod"
    for volume in volumes.values():
        if claim := volume.get("persistentVolumeClaim", {}).get("claimName"):
            one(resources, "PersistentVolumeClaim", claim)
    settings = "".join(one(resources, "ConfigMap", resource["metadata"]["name"])["data"].values())
    folders = tuple(mount["mountPath"] + "/" for mount in mounts)
    for named in re.findall(r'_file = "([^"]+)"', settings):
        if not named.startswith(folders):
            yield f"{file}: {resource['metadata']['name']}: nobody puts {named} there"


def problems_of_paths(file, ingress):
    """All services of clients, and no other."""
    paths = {path["path"].strip("/") for path in ingress["spec"]["rules"][0]["http"]["paths"]}
    services = set()
    for file_of_proto in (ROOT / "proto" / "proto").glob("*.proto"):
        text = file_of_proto.read_text()
        package = re.search(r"^package (\w+);", text, re.MULTILINE)[1]
        services |= {f"{package}.{service}" for service in re.findall(r"^service (\w+ExtService) ", text, re.MULTILINE)}
    if paths != services:
        yield f"{file}: the ingress leads to {sorted(paths ^ services)} or does not"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    parser.add_argument("--kubernetes", required=True)
    arguments = parser.parse_args()
    problems, count = [], 0
    for path in arguments.files:
        resources = [resource for resource in yaml.safe_load_all(path.read_text()) if resource]
        count += len(resources)
        problems += problems_of_schemas(path.name, resources, arguments.kubernetes)
        problems += problems_of_promises(path.name, resources)
    for problem in problems:
        print(problem)
    print(f"{count} resources of {len(arguments.files)} charts, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
