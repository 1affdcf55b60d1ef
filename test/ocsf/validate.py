#!/usr/bin/env python3
"""validate.py < EVENTS: validates OCSF events, one JSON object a line, by the strict schemas of their classes and profiles.

Prints the line number, the path and the error for each fault, and exits with status 1 if there is one. A strict schema
rejects attributes that OCSF does not have, and missing attributes that it requires. Deprecated attributes are faults too.
"""
import functools
import json
import sys

import jsonschema
from ocsf_json_schema import OcsfJsonSchema, OcsfJsonSchemaEmbedded, get_ocsf_schema

VERSION = "1.6.0"
SCHEMA = get_ocsf_schema(version=VERSION)
CLASSES = OcsfJsonSchema(SCHEMA)


@functools.cache
def validator(class_uid, profiles):
    name = CLASSES.lookup_class_name_from_uid(class_uid)
    unknown = set(profiles) - set(SCHEMA["classes"][name]["profiles"])
    if unknown:
        raise ValueError(f"{name} has no profiles {unknown}")
    schema = OcsfJsonSchemaEmbedded(SCHEMA).get_class_schema(name, list(profiles))
    return jsonschema.Draft202012Validator(schema)


def deprecated(attributes, event, path):
    """Yields the path of each attribute of an event that is deprecated."""
    for key, value in event.items():
        known = attributes.get(key, {})
        here = f"{path}.{key}"
        if "@deprecated" in known:
            yield here
        inner = SCHEMA["objects"].get(known.get("object_type"), {}).get("attributes", {})
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, dict):
                yield from deprecated(inner, item, here)


def faults(event):
    metadata = event.get("metadata", {})
    if metadata.get("version") != VERSION:
        yield f"metadata.version is {metadata.get('version')}, not {VERSION}"
        return
    v = validator(event["class_uid"], tuple(metadata.get("profiles", ())))
    for e in v.iter_errors(event):
        yield f"{e.json_path}: {e.message[:300]}"
    name = CLASSES.lookup_class_name_from_uid(event["class_uid"])
    for path in deprecated(SCHEMA["classes"][name]["attributes"], event, "$"):
        yield f"{path} is deprecated"


def main():
    bad = count = 0
    for number, line in enumerate(sys.stdin, 1):
        count += 1
        for fault in faults(json.loads(line)):
            bad += 1
            print(f"line {number}: {fault}")
    print(f"{count} events, {bad} faults")
    return bad > 0


if __name__ == "__main__":
    sys.exit(main())
