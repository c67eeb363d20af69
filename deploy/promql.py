"""Parses the expressions of alerts and Grafana dashboards in rendered manifests: promql.py FILE..."""

import json
import sys

import promql_parser
import yaml


def expressions(document):
    """The expressions of a PrometheusRule or of a ConfigMap with dashboards, each with where it stands."""
    name = document["metadata"]["name"]
    if document["kind"] == "PrometheusRule":
        for group in document["spec"]["groups"]:
            for rule in group["rules"]:
                yield f"{name}, {rule['alert']}", rule["expr"]
    elif document["metadata"].get("labels", {}).get("grafana_dashboard"):
        for text in document["data"].values():
            for panel in json.loads(text)["panels"]:
                for target in panel["targets"]:
                    yield f"{name}, {panel['title']}", target["expr"]


def main(files):
    parsed = 0
    for file in files:
        with open(file, encoding="utf-8") as stream:
            for document in yaml.safe_load_all(stream):
                for place, expression in expressions(document):
                    try:
                        promql_parser.parse(expression)
                    except ValueError as error:
                        sys.exit(f"{file}: {place}: {expression}: {error}")
                    parsed += 1
    if not parsed:
        sys.exit("no expressions were found")
    print(f"{parsed} expressions of PromQL")


main(sys.argv[1:])
