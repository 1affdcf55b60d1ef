#!/usr/bin/env python3
"""Writes JSON schemas that kubeconform can read without a network, from a Kubernetes release's own OpenAPI document.

    schemas.py SWAGGER.JSON FOLDER

One file for each kind, FOLDER/KIND-GROUP-VERSION.json in lower case (kubeconform's name for it), self-contained, and strict:
a field that Kubernetes does not know is an error. Optional fields may be null, as the API server has it.
"""
import json
import pathlib
import sys

PREFIX = "#/definitions/"
DROPPED = {"description", "properties"}


def resolve(node, definitions, seen):
    """Returns node with its references replaced by what they name; a definition that contains itself stays open."""
    if isinstance(node, list):
        return [resolve(n, definitions, seen) for n in node]
    if not isinstance(node, dict):
        return node
    if isinstance(node.get("$ref"), str):
        name = node["$ref"].removeprefix(PREFIX)
        if name in seen:
            return {}
        return resolve(definitions[name], definitions, seen | {name})
    if node.get("format") == "int-or-string":
        return {"oneOf": [{"type": "string"}, {"type": "integer"}]}
    out = {k: resolve(v, definitions, seen) for k, v in node.items() if k not in DROPPED and not k.startswith("x-kubernetes")}
    if "properties" in node:
        out["additionalProperties"] = False
        out["properties"] = {k: resolve(v, definitions, seen) for k, v in node["properties"].items()}
        for name in set(out["properties"]) - set(node.get("required", [])):
            p = out["properties"][name]
            if isinstance(p.get("type"), str):
                p["type"] = [p["type"], "null"]
    return out


def main():
    swagger, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    definitions = json.loads(pathlib.Path(swagger).read_text())["definitions"]
    # A quantity is written as a number too.
    definitions["io.k8s.apimachinery.pkg.api.resource.Quantity"] = {"oneOf": [{"type": "string"}, {"type": "number"}]}
    folder.mkdir(parents=True, exist_ok=True)
    for name, definition in definitions.items():
        for kind in definition.get("x-kubernetes-group-version-kind", []):
            if len(definition["x-kubernetes-group-version-kind"]) > 1:
                continue  # DeleteOptions and the like, which no manifest is
            group = kind["group"].split(".")[0]
            parts = [kind["kind"], group, kind["version"]] if group else [kind["kind"], kind["version"]]
            schema = resolve(definition, definitions, {name})
            (folder / ("-".join(parts).lower() + ".json")).write_text(json.dumps(schema, separators=(",", ":")))


if __name__ == "__main__":
    main()
