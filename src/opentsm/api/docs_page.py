"""The reference page, made from the OpenAPI document: plain HTML, one style sheet inside, no script."""

import json
import re
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

Json = Mapping[str, Any]

STYLE = """
:root { color-scheme: light dark; --line: #8884; --mark: #0a6; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem 1.25rem 4rem; }
h2 { margin-top: 2.5rem; border-bottom: 1px solid var(--line); }
code, pre { font: 14px/1.4 ui-monospace, monospace; }
nav ul { columns: 18rem; padding-left: 1.25rem; }
details { border: 1px solid var(--line); border-radius: .4rem; margin: .5rem 0; padding: .4rem .75rem; }
summary { cursor: pointer; overflow-wrap: anywhere; }
summary b { display: inline-block; min-width: 3.5rem; color: var(--mark); }
summary span { opacity: .75; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .2rem .6rem .2rem 0; }
tr { border-bottom: 1px solid var(--line); }
"""
_CODE = re.compile(r"`([^`\n]+)`")
_METHODS = ("get", "post", "put", "patch", "delete")


def render(document: Json) -> str:
    """Return the page."""
    info = document["info"]
    body = "\n".join(_body(document))
    return (
        "<!doctype html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head><body>\n"
        f"<h1>{escape(info['title'])} API <small>{escape(info['version'])}</small></h1>\n"
        f"<p>{_text(info.get('description', ''))}</p>\n"
        '<p><a href="openapi.json">openapi.json</a></p>\n'
        f"{body}\n</body></html>\n"
    )


def _body(document: Json) -> Iterator[str]:
    groups: dict[str, list[str]] = {}
    for path, item in sorted(document["paths"].items()):
        for method in _METHODS:
            if method in item:
                operation = item[method]
                tag = (operation.get("tags") or ["other"])[0]
                groups.setdefault(tag, []).append("".join(_operation(path, method, operation)))
    yield "<nav><ul>" + "".join(f'<li><a href="#{_anchor(t)}">{escape(t)}</a></li>' for t in groups)
    yield '<li><a href="#schemas">schemas</a></li></ul></nav>'
    for tag, operations in groups.items():
        yield f'<h2 id="{_anchor(tag)}">{escape(tag)}</h2>'
        yield from operations
    yield '<h2 id="schemas">schemas</h2>'
    for name, schema in sorted(document.get("components", {}).get("schemas", {}).items()):
        yield from _schema(name, schema)


def _operation(path: str, method: str, operation: Json) -> Iterator[str]:
    yield f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> "
    yield f"<span>{_text(operation.get('summary', ''))}</span></summary>"
    yield f"<p>{_text(operation.get('description', ''))}</p>"
    if operation.get("parameters"):
        rows = (
            (p["name"], p["in"], _type(p.get("schema", {})), p.get("description", ""), p.get("required"))
            for p in operation["parameters"]
        )
        yield _table(("parameter", "in", "type", "meaning", ""), rows)
    yield _security(operation)
    for kind, media in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: <code>{escape(kind)}</code> {_type(media.get('schema', {}))}</p>"
    yield "<ul>" + "".join(_response(*pair) for pair in sorted(operation["responses"].items())) + "</ul>"
    yield "</details>\n"


def _security(operation: Json) -> str:
    names = [name for one in operation.get("security") or [] for name in one]
    return f"<p>Token: {', '.join(f'<code>{escape(name)}</code>' for name in names) or 'none'}</p>"


def _response(status: str, response: Json) -> str:
    types = ", ".join(_type(media.get("schema", {})) for media in response.get("content", {}).values())
    return f"<li><b>{escape(status)}</b> {types} {_text(response.get('description', ''))}</li>"


def _schema(name: str, schema: Json) -> Iterator[str]:
    yield f'<details id="{_anchor(name)}"><summary><code>{escape(_short(name))}</code></summary>'
    yield f"<p>{_text(schema.get('description', ''))}</p>"
    if "properties" not in schema:
        yield f"<p>{_type(schema)}</p>"
    yield _table(("field", "type", "meaning", ""), _fields(schema, "")) + "</details>\n"


def _fields(schema: Json, prefix: str) -> Iterator[tuple[str, str, str, bool]]:
    """Give the rows of an object's members, those of objects inside it by their whole path."""
    required = schema.get("required", [])
    for name, value in schema.get("properties", {}).items():
        yield f"{prefix}{name}", _type(value), value.get("description", ""), name in required
        yield from _fields(value, f"{prefix}{name}.")
        yield from _fields(value.get("items", {}), f"{prefix}{name}[].")


def _table(heads: tuple[str, ...], rows: Any) -> str:
    lines = []
    for first, *cells, required in rows:
        marked = [f"<code>{escape(first)}</code>"]
        marked += [cell if cell.startswith("<") else _text(cell) for cell in cells]
        marked.append("required" if required else "")
        lines.append("<tr>" + "".join(f"<td>{cell}</td>" for cell in marked) + "</tr>")
    if not lines:
        return ""
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    return f"<table><tr>{head}</tr>{''.join(lines)}</table>"


def _type(schema: Json) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f'<a href="#{_anchor(name)}">{escape(_short(name))}</a>'
    for words in ("oneOf", "anyOf"):
        if words in schema:
            return "<span>" + " or ".join(_type(one) for one in schema[words]) + "</span>"
    if "enum" in schema:
        return "<code>" + escape(" | ".join(map(str, schema["enum"]))) + "</code>"
    if "const" in schema:
        return f"<code>{escape(json.dumps(schema['const']))}</code>"
    if isinstance(schema.get("additionalProperties"), dict):
        return "<span>map to " + _type(schema["additionalProperties"]) + "</span>"
    if schema.get("type") == "array":
        return "<span>list of " + _type(schema.get("items", {})) + "</span>"
    kind = schema.get("type", "any")
    name = " or ".join(kind) if isinstance(kind, list) else str(kind)
    return f"<span>{escape(schema.get('format', name))}</span>"


def _text(text: str) -> str:
    """Write a description: paragraphs, and `code` between backticks as in Markdown."""
    return _CODE.sub(r"<code>\1</code>", escape(text)).replace("\n\n", "</p><p>")


def _anchor(name: str) -> str:
    return "".join(ch if ch.isalnum() else "-" for ch in name)


def _short(name: str) -> str:
    return name.rsplit("_", 1)[-1].rsplit(".", 1)[-1]
