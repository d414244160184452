"""In the child: which packages are installed, and whether they can be imported."""

import importlib
import importlib.metadata
import re
from collections.abc import Iterator
from typing import Any


def packages(question: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield ``distributions`` (version by name), then a line before and one after each import.

    question: ``imports``, names of modules.
    """
    yield {"distributions": _distributions()}
    for name in question["imports"]:
        yield {"importing": name}
        try:
            module = importlib.import_module(name)
        except ImportError as error:
            missing = isinstance(error, ModuleNotFoundError) and error.name == name.split(".")[0]
            yield {"module": name, "missing": missing, "trouble": str(error)}
        except Exception as error:  # an import runs a library's own code
            yield {"module": name, "missing": False, "trouble": f"{type(error).__name__}: {error}"}
        else:
            yield {"module": name, "missing": False, "version": str(getattr(module, "__version__", ""))}


def _distributions() -> dict[str, str]:
    found: dict[str, str] = {}
    for each in importlib.metadata.distributions():
        name = each.metadata["Name"]
        if name:  # folders of packages that were half removed have none
            # The first on the path is the one that is imported.
            found.setdefault(re.sub(r"[-_.]+", "-", name).lower(), each.version)
    return found
