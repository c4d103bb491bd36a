"""A page that shows a multiplane image in a browser, the mouse moving the camera.

One file, with the planes and all scripts in it: it asks nothing of any network, and may not. WebGL 2 goes
through the planes as `render.multiplane.render` does, for each pixel of the window.
"""

import base64
import html
import json
import re
from io import BytesIO
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from render.multiplane import MultiplaneImage
from scenes.images import write_png
from tools.export.folder import whole
from tools.multiplane.folder import plane_pictures

TEMPLATE = Path(__file__).with_name("page.html")
REACH, AHEAD = 0.14, 0.5  # of the camera aside and ahead, as shares of the way to the nearest plane


def write_page(image: MultiplaneImage, out: Path, title: str = "") -> None:
    """Write OUT.html. Densities become alpha (`tools/multiplane/folder.py` says what that loses).

    The camera moves across the picture, not turning, and the lens shifts so that the middle of all
    disparities stays where it is.
    Raises: ExportError if the file cannot be written.
    """
    with whole(out) as path:
        path.write_text(page(image, title), encoding="utf-8")


def page(image: MultiplaneImage, title: str = "") -> str:
    """The text of the page; see `write_page`."""
    camera, nearest = image.camera, float(image.z_depth[0])
    width, height = camera.width, camera.height
    shares = zip(camera.intrinsics.tolist(), (width, height, width, height), strict=True)
    table = {
        "width": width,
        "height": height,
        "lens": [value / side for value, side in shares],
        "z_depth": image.z_depth.tolist(),
        "focus": middle_disparity(image),
        "reach": REACH * nearest,
        "ahead": AHEAD * nearest,
        "planes": [data_url(picture) for picture in plane_pictures(image)],
    }
    values = {
        "title": html.escape(title or "A photograph in depth"),
        "width": str(width),
        "height": str(height),
        "image": json.dumps(table).replace("<", "\\u003c"),  # nothing may end the script
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: values[found[1]], TEMPLATE.read_text(encoding="utf-8"))


def middle_disparity(image: MultiplaneImage) -> float:
    """Half-way between the nearest and the farthest plane."""
    return float((1 / image.z_depth[0] + 1 / image.z_depth[-1]) / 2)


def data_url(picture: UInt8[Tensor, "h w 4"]) -> str:
    """A picture as the address that holds it."""
    file = BytesIO()
    write_png(file, picture)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
