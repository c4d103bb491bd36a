"""The methods. Each is one file: frozen hyper-parameters, `build`, `step`, `render`."""

import importlib

from render.settings import nearest

# A new method is one line here; nothing else in the program learns its name. The first is the default.
METHODS = {
    "ngp": "render.methods.ngp:NGP",
    "nerf": "render.methods.nerf:NeRF",
    "nerfacto": "render.methods.nerfacto:Nerfacto",
}


def method(name: str) -> type:
    """The class of hyper-parameters called `name`. Raises ValueError for an unknown one."""
    if name not in METHODS:
        raise ValueError(f"method {name!r} is unknown; known: {', '.join(METHODS)}{nearest(name, METHODS)}")
    module, attribute = METHODS[name].split(":")
    return getattr(importlib.import_module(module), attribute)
