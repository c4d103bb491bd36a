"""Whether a window can open here, and if not, why and what to do."""

import ctypes.util
import os
import sys

INSTEAD = "; without a window: `render view RUN --web` in a browser, or `render video RUN`"


class NoDisplay(RuntimeError):
    """No window can open; the message says why in one line."""


def check_display() -> None:
    """Raises: NoDisplay if there is no screen, or a library that windows need; ImportError without Open3D."""
    if sys.platform.startswith("linux"):
        if not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise NoDisplay("there is no display (DISPLAY is not set)" + INSTEAD)
        if missing := missing_library():
            raise NoDisplay(f"a window needs {missing[0]} (Debian: apt install {missing[1]})" + INSTEAD)
        if os.environ.get("DISPLAY") and not answers():
            raise NoDisplay(f"the display {os.environ['DISPLAY']} does not answer" + INSTEAD)
    try:
        import open3d  # noqa: F401
    except ImportError as error:
        raise ImportError(f'a window needs open3d ({error}): pip install ".[viewer]"' + INSTEAD) from error


def missing_library() -> tuple[str, str] | None:
    """The first shared library that Open3D's windows want and that is not here, and its Debian packages."""
    wanted = {
        "X11": "libx11-6",
        "GL": "libgl1",
        "usb-1.0": "libusb-1.0-0",
        "vulkan": "libvulkan1 mesa-vulkan-drivers",
    }
    for name, package in wanted.items():
        if not ctypes.util.find_library(name):
            return f"lib{name}", package
    return None


def answers() -> bool:
    """Whether an X server is behind DISPLAY: Open3D ends the process where there is none."""
    library = ctypes.util.find_library("X11")
    if library is None:
        return True
    x11 = ctypes.CDLL(library)
    x11.XOpenDisplay.restype, x11.XOpenDisplay.argtypes = ctypes.c_void_p, [ctypes.c_char_p]
    x11.XCloseDisplay.argtypes = [ctypes.c_void_p]
    display = x11.XOpenDisplay(None)
    if display:
        x11.XCloseDisplay(display)
    return bool(display)
