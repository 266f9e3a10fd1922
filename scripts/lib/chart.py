#!/usr/bin/env python3
"""chart.py FILE... --kubernetes VERSION: holds what the chart makes against the schemas of Kubernetes, and against what our page
promises of it. Exit code 1 with a sentence for each thing that is wrong."""

import argparse
import json
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
            yield from problems_of_secrets(file, resource)
        if resource["kind"] == "NetworkPolicy":
            service = resource["metadata"]["labels"]["app.kubernetes.io/component"]
            for rule in resource["spec"]["ingress"]:
                ports = {port["port"] for port in rule["ports"]}
                if not rule.get("from") and not ports <= {8002, 8003, 8004, 8005}:
                    yield f"{file}: everybody reaches {ports} of {service}"
    yield from problems_of_the_way_in(file, resources)
    yield from problems_of_data(file, resources)


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
    volumes |= {claim["metadata"]["name"]: claim for claim in resource["spec"].get("volumeClaimTemplates", [])}
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


def problems_of_the_way_in(file, resources):
    """What clients call is served where their own addresses count, and nowhere else: the ingress leads to nothing but the port
    `clients`, its controller reaches no other, and logic believes that controller."""
    logic = environment_of(one(resources, "StatefulSet", "gim-logic"))
    if logic.get("GIM_LOGIC_GRPC__SERVES_CLIENTS") != "false":
        yield f"{file}: clients are served at the port of services, where all behind one proxy are one address"
    ingresses = [resource for resource in resources if resource["kind"] == "Ingress"]
    for ingress in ingresses:
        for path in ingress["spec"]["rules"][0]["http"]["paths"]:
            service = path["backend"]["service"]
            if (service["name"], service["port"]["name"]) not in (("gim-logic", "clients"), ("gim-business", "files")):
                yield f"{file}: an ingress leads to {service['port']['name']} of {service['name']}"
    if ingresses and not json.loads(logic.get("GIM_LOGIC_CLIENTS__PROXIES", "[]")):
        yield f"{file}: to logic all clients behind the ingress are one address"
    controllers = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}]
    for policy in (resource for resource in resources if resource["kind"] == "NetworkPolicy"):
        for rule in policy["spec"]["ingress"]:
            ports = {port["port"] for port in rule["ports"]}
            if any(peer in controllers for peer in rule.get("from", [])) and not ports <= {8012, 8023}:
                yield f"{file}: the ingress controller reaches {ports} of {policy['metadata']['name']}"


def problems_of_secrets(file, resource):
    """A pod sees changes of files, never of its environment, where a secret would be seen by more besides. What is mounted is in it."""
    service = resource["metadata"]["labels"]["app.kubernetes.io/component"]
    for variable in resource["spec"]["template"]["spec"]["containers"][0]["env"]:
        if "secretKeyRef" in variable.get("valueFrom", {}):
            yield f"{file}: {variable['name']} has a secret in the environment"
    environment = environment_of(resource)
    if environment.get(f"GIM_{service.upper()}_ADMIN__FILES_INTERVAL_MS", "0") == "0":
        yield f"{file}: {service} does not notice when its settings, Secrets or certificates change"
    access = next(v for v in resource["spec"]["template"]["spec"]["volumes"] if v["name"] == "access")["secret"]
    files = {f"/etc/gim-access/{item['path']}" for item in access["items"]}
    named = {value for value in environment.values() if value and value.startswith("/etc/gim-access/")}
    if files != named:
        yield f"{file}: {service} names {sorted(files ^ named)}, or has them, and not both"


def problems_of_data(file, resources):
    """What logic writes, where the root of its image is read-only."""
    logic = one(resources, "StatefulSet", "gim-logic")
    folder = environment_of(logic).get("GIM_LOGIC_DATA_DIR")
    mounts = {m["mountPath"]: m for m in logic["spec"]["template"]["spec"]["containers"][0]["volumeMounts"]}
    if folder not in mounts or mounts[folder].get("readOnly"):
        yield f"{file}: logic cannot write to its data_dir, {folder}"


def environment_of(resource):
    return {v["name"]: v.get("value") for v in resource["spec"]["template"]["spec"]["containers"][0]["env"]}


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
