"""What tells Home Assistant about a node: a retained configuration an entity, as its MQTT integration wants them.

See https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery, and sensor.mqtt and binary_sensor.mqtt there.
"""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

STALE_S = 180
"""Home Assistant takes an entity for unavailable when no state has come for so long."""


def entities(prefix: str, node: str, base: str, labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The configurations by topic.

    Args:
        prefix: Home Assistant's discovery prefix.
        node: stays the same for one device for ever; the entities' identity is made of it.
        base: the topic above ``state`` and ``availability``.
        labels: what the label may be.
    """
    # The word None is how an entity's state becomes unknown.
    described: dict[tuple[str, str], dict[str, Any]] = {
        ("sensor", "label"): {
            "name": "Expression",
            "icon": "mdi:emoticon-outline",
            "device_class": "enum",
            "options": list(labels),
            "value_template": "{{ value_json.label if value_json.label != 'unknown' else 'None' }}",
        },
        ("sensor", "confidence"): {
            "name": "Confidence",
            "icon": "mdi:gauge",
            "state_class": "measurement",
            "suggested_display_precision": 2,
            "value_template": "{{ value_json.confidence }}",
        },
        ("sensor", "conflict"): {
            "name": "Conflict of face and voice",
            "icon": "mdi:compare-horizontal",
            "state_class": "measurement",
            "suggested_display_precision": 2,
            "value_template": "{{ value_json.conflict }}",
        },
        ("binary_sensor", "in_view"): {
            "name": "Someone in view",
            "device_class": "occupancy",
            "payload_on": "True",
            "payload_off": "False",
            "value_template": "{{ value_json.in_view }}",
        },
    }
    shared = {
        "state_topic": f"{base}/state",
        "availability_topic": f"{base}/availability",
        "payload_available": "online",
        "payload_not_available": "offline",
        "expire_after": STALE_S,
        "device": {"identifiers": [f"mosear_{node}"], "name": f"mosear {node}", "manufacturer": "mosear"},
        "origin": {"name": "mosear", "sw_version": _version()},
    }
    return {
        f"{prefix}/{kind}/mosear_{node}/{key}/config": {**entity, "unique_id": f"mosear_{node}_{key}", **shared}
        for (kind, key), entity in described.items()
    }


def _version() -> str:
    try:
        return version("mosear")
    except PackageNotFoundError:
        return "unknown"
