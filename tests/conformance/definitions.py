"""What the fixture server lists: the tools, resources and prompts the official suite asks for.

Lists are sorted by name: some scenarios take the first one, and it must be the same one behind
the gateway, which sorts.
"""

from typing import Any

import mcp_types as t

from tests.conformance import jobs

NO_ARGUMENTS: dict[str, Any] = {"type": "object", "properties": {}}

# SEP-1613 and SEP-2106: every keyword in here has to survive a listing.
DIALECT_SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}

# SEP-2243: the suite takes the first string property that is mirrored to a header.
HEADER_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "region": {
            "type": "string",
            "description": "Where to look",
            "x-mcp-header": "Region",
        }
    },
}


def _one_string(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string"}}, "required": [name]}


TOOLS: dict[str, tuple[str, dict[str, Any]]] = {
    "echo_region": ("Say which region the request named", HEADER_SCHEMA),
    "greet": ("Greet somebody", _one_string("name")),
    "json_schema_2020_12_tool": ("Carries a JSON Schema of the 2020-12 dialect", DIALECT_SCHEMA),
    "test_audio_content": ("Answer with a sound", NO_ARGUMENTS),
    "test_elicitation": ("Ask the user for a name and an address", _one_string("message")),
    "test_elicitation_sep1034_defaults": ("Ask with default values", NO_ARGUMENTS),
    "test_elicitation_sep1330_enums": ("Ask with every kind of enumeration", NO_ARGUMENTS),
    "test_embedded_resource": ("Answer with an embedded resource", NO_ARGUMENTS),
    "test_error_handling": ("Always fail", NO_ARGUMENTS),
    "test_image_content": ("Answer with a picture", NO_ARGUMENTS),
    "test_input_required_result_capabilities": ("Ask only what the client can do", NO_ARGUMENTS),
    "test_input_required_result_elicitation": ("Ask for a name, then greet", NO_ARGUMENTS),
    "test_input_required_result_list_roots": ("Ask for the client's roots", NO_ARGUMENTS),
    "test_input_required_result_multi_round": ("Ask twice, one after the other", NO_ARGUMENTS),
    "test_input_required_result_multiple_inputs": ("Ask three things at once", NO_ARGUMENTS),
    "test_input_required_result_request_state": ("Ask, and carry state", NO_ARGUMENTS),
    "test_input_required_result_sampling": ("Ask the client's model", NO_ARGUMENTS),
    "test_input_required_result_tampered_state": ("Ask, and refuse altered state", NO_ARGUMENTS),
    "test_logging_tool": ("Log one line, if the request wants lines", NO_ARGUMENTS),
    "test_missing_capability": ("Need sampling of every client", NO_ARGUMENTS),
    "test_multiple_content_types": ("Answer with text, picture and resource", NO_ARGUMENTS),
    "test_reconnection": ("Close the stream half-way, answer after", NO_ARGUMENTS),
    "test_sampling": ("Ask the client's model a question", _one_string("prompt")),
    "test_simple_text": ("Answer with a sentence", NO_ARGUMENTS),
    "test_streaming_elicitation": ("Report progress, then ask", NO_ARGUMENTS),
    "test_tool_with_logging": ("Log three lines while working", NO_ARGUMENTS),
    "test_tool_with_progress": ("Report progress three times", NO_ARGUMENTS),
    "test_trigger_prompt_change": ("Add a prompt, or take it away again", NO_ARGUMENTS),
    "test_trigger_tool_change": ("Add a tool, or take it away again", NO_ARGUMENTS),
}
TOOLS |= jobs.TOOLS
SCHEMAS: dict[str, dict[str, Any]] = {name: schema for name, (_, schema) in TOOLS.items()}

# What the two triggers add and take away.
PASSING_TOOL = t.Tool(name="passing_tool", description="Comes and goes", input_schema=NO_ARGUMENTS)
PASSING_PROMPT = t.Prompt(name="passing_prompt", description="Comes and goes")

STATIC_TOOLS = [
    t.Tool(name=name, description=description, input_schema=schema)
    for name, (description, schema) in sorted(TOOLS.items())
]

RESOURCES = [
    t.Resource(
        uri="test://static-binary",
        name="static-binary",
        description="A picture",
        mime_type="image/png",
    ),
    t.Resource(
        uri="test://static-text",
        name="static-text",
        description="A sentence",
        mime_type="text/plain",
    ),
    t.Resource(
        uri="test://watched-resource",
        name="watched-resource",
        description="A sentence one may subscribe to",
        mime_type="text/plain",
    ),
]
TEMPLATES = [
    t.ResourceTemplate(
        uri_template="test://template/{id}/data",
        name="template",
        description="Says which id was asked for",
        mime_type="application/json",
    )
]


def _required(name: str, description: str) -> t.PromptArgument:
    return t.PromptArgument(name=name, description=description, required=True)


STATIC_PROMPTS = [
    t.Prompt(
        name="test_input_required_result_prompt",
        description="Asks for its subject before it answers",
    ),
    t.Prompt(
        name="test_prompt_with_arguments",
        description="Puts two words into a sentence",
        arguments=[_required("arg1", "The first word"), _required("arg2", "The second word")],
    ),
    t.Prompt(
        name="test_prompt_with_embedded_resource",
        description="Carries a resource",
        arguments=[_required("resourceUri", "Which resource to carry")],
    ),
    t.Prompt(name="test_prompt_with_image", description="Carries a picture"),
    t.Prompt(name="test_simple_prompt", description="One sentence"),
]

# The forms that the elicitation scenarios of 2025-11-25 inspect field by field.
CONTACT_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "username": {"type": "string", "description": "User's response"},
        "email": {"type": "string", "description": "User's email address"},
    },
    "required": ["username", "email"],
}
DEFAULTS_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {
            "type": "string",
            "enum": ["active", "inactive", "pending"],
            "default": "active",
        },
        "verified": {"type": "boolean", "default": True},
    },
    "required": [],
}


def _titled(values: list[str]) -> list[dict[str, str]]:
    return [{"const": value, "title": f"The {value} one"} for value in values]


_OPTIONS = ["option1", "option2", "option3"]
_VALUES = ["value1", "value2", "value3"]
ENUMS_FORM: dict[str, Any] = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": _OPTIONS},
        "titledSingle": {"type": "string", "oneOf": _titled(_VALUES)},
        "legacyEnum": {
            "type": "string",
            "enum": ["opt1", "opt2", "opt3"],
            "enumNames": ["Option One", "Option Two", "Option Three"],
        },
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": _OPTIONS}},
        "titledMulti": {"type": "array", "items": {"anyOf": _titled(_VALUES)}},
    },
    "required": [],
}
