"""The session in a window of Open3D: the picture in an image widget, its controls in a panel beside it.

Open3D's GUI belongs to the main thread. The picture is drawn by another one, which posts it there; laying
frusta, points and meshes over it is ours too (`overlays.py`), so that they and the picture hide each other.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.nn import functional as F

from scenes.crop import Crop
from scenes.scene import SceneError
from tools.viewer.export_film import FilmExport
from tools.viewer.keyframes import Keyframes
from tools.viewer.layers import Layers, crop_around
from tools.viewer.session import Picture, Session
from tools.viewer.solids import SolidError

WIDTH, HEIGHT = 1120, 820  # of the window, at first
PANEL = 20  # widths of a letter
WHEEL = 1.0  # steps of zoom a notch
STEP = 0.05  # sizes of the scene that a key flies
GLANCE = 0.02  # heights of the picture that an arrow key looks aside


class Window:
    """See the module. `run` returns when it is closed."""

    def __init__(
        self, session: Session, title: str, folder: Path, overlays: dict[str, Callable[[], Any]]
    ) -> None:
        """folder: where files go unless told. overlays: by name, what makes that which is laid over."""
        import open3d

        self.open3d, self.gui = open3d, open3d.visualization.gui
        self.session, self.folder, self.layers = session, folder, Layers(session, overlays, self._tell)
        self.controls: dict[str, Any] = {}  # widgets of the panel, by the name that is beside them
        self.film: FilmExport | None = None
        self.preview = threading.Event()
        self.app = self.gui.Application.instance
        self.app.initialize()
        self.window = self.app.create_window(title, WIDTH, HEIGHT)
        self.image = self.gui.ImageWidget(self._image(torch.zeros(8, 8, 3, dtype=torch.uint8)))
        self.image.set_on_mouse(self._on_mouse)
        self.image.set_on_key(self._on_key)
        self.panel = self.gui.ScrollableVert(4, self.gui.Margins(8, 8, 24, 8))  # the bar is to the right
        self._fill_panel()
        for widget in (self.image, self.panel):
            self.window.add_child(widget)
        self.window.set_on_layout(self._on_layout)
        self.window.set_on_close(self._on_close)
        self.pointer = (0, 0)
        self.failure: Exception | None = None

    def run(self) -> None:
        """Show the window until somebody closes it."""
        drawing = threading.Thread(target=self._draw, name="draw", daemon=True)
        drawing.start()
        try:
            self.app.run()
        finally:
            self.session.close()
            drawing.join(10)
        if self.failure:
            raise self.failure

    # The picture.

    def _draw(self) -> None:
        """What goes wrong in the thread that draws ends the window, and is raised by `run`."""
        try:
            self.session.run(self._present, self._tell)
        except Exception as error:
            self.failure = error
            self.app.post_to_main_thread(self.window, self.window.close)

    def _present(self, picture: Picture) -> None:
        """From the thread that draws: lay over, bring to the size of the widget, and post."""
        rgb = enlarged(self.layers.over(picture), picture.view.width, picture.view.height)
        image = self._image(rgb)
        status = f"{picture.camera.width} x {picture.camera.height}, {1000 * picture.seconds:.0f} ms"
        legend = self.session.legend(picture.view)
        done = threading.Event()

        def put() -> None:
            self.image.update_image(image)
            self.status.text, self.legend.text = status, legend
            self.window.post_redraw()
            done.set()

        self.app.post_to_main_thread(self.window, put)
        done.wait(1.0)  # no picture is drawn that could not be shown

    def _image(self, rgb: UInt8[Tensor, "h w 3"]) -> Any:
        return self.open3d.geometry.Image(rgb.contiguous().numpy())

    def _on_layout(self, context: Any) -> None:
        area, panel = self.window.content_rect, int(PANEL * self.window.theme.font_size)
        width = max(area.width - panel, 16)
        self.image.frame = self.gui.Rect(area.x, area.y, width, area.height)
        self.panel.frame = self.gui.Rect(area.x + width, area.y, panel, area.height)
        size = {"width": width, "height": max(area.height, 16)}
        if size != {name: getattr(self.session.view, name) for name in size}:
            self.session.change(**size)

    def _on_close(self) -> bool:
        if self.film:
            self.film.stop()
        self.session.close()
        return True

    # Hands.

    def _on_mouse(self, event: Any) -> Any:
        kinds, modifier = self.gui.MouseEvent.Type, self.gui.KeyModifier
        if event.type == kinds.WHEEL:
            self.session.zoom(WHEEL * event.wheel_dy)
        elif event.type == kinds.DRAG:
            height = self.session.view.height
            right, down = (event.x - self.pointer[0]) / height, (event.y - self.pointer[1]) / height
            pans = event.is_modifier_down(modifier.CTRL) or event.is_button_down(self.gui.MouseButton.RIGHT)
            if pans or event.is_button_down(self.gui.MouseButton.MIDDLE):
                self.session.pan(right, down)
            elif event.is_modifier_down(modifier.SHIFT):
                self.session.look(-right, -down)
            else:
                self.session.orbit(right, down)
        self.pointer = (event.x, event.y)
        return self.gui.Widget.EventCallbackResult.CONSUMED

    def _on_key(self, event: Any) -> Any:
        if event.type != self.gui.KeyEvent.Type.DOWN:
            return self.gui.Widget.EventCallbackResult.IGNORED
        keys = self.gui.KeyName
        fly = {
            keys.W: (STEP, 0, 0), keys.S: (-STEP, 0, 0), keys.D: (0, STEP, 0), keys.A: (0, -STEP, 0),
            keys.E: (0, 0, STEP), keys.Q: (0, 0, -STEP),
        }  # fmt: skip
        look = {
            keys.LEFT: (-GLANCE, 0), keys.RIGHT: (GLANCE, 0), keys.UP: (0, -GLANCE), keys.DOWN: (0, GLANCE),
        }  # fmt: skip
        if event.key in fly:
            self.session.fly(*fly[event.key])
        elif event.key in look:
            self.session.look(*look[event.key])
        else:
            return self.gui.Widget.EventCallbackResult.IGNORED
        return self.gui.Widget.EventCallbackResult.CONSUMED

    # The panel.

    def _fill_panel(self) -> None:
        self.status, self.legend, self.said = (self.gui.Label(" ") for _ in range(3))
        for widget in (self.status, self.legend, self.said):
            self.panel.add_child(widget)
        self._view_controls()
        self._camera_controls()
        self._film_controls()
        self._overlay_controls()
        self._crop_controls()

    def _view_controls(self) -> None:
        mode = self.gui.Combobox()
        for name in self.session.modes:
            mode.add_item(name)
        mode.set_on_selection_changed(lambda name, index: self.session.change(mode=name))
        self._row("show", mode)
        fov = self.gui.Slider(self.gui.Slider.DOUBLE)
        fov.set_limits(5, 120)
        fov.double_value = self.session.view.fov
        fov.set_on_value_changed(lambda value: self.session.change(fov=float(value)))
        self.fov = fov
        self._row("field of view", fov)
        colour = self.gui.ColorEdit()
        colour.color_value = self.gui.Color(*(self.session.scene.background or (0.0, 0.0, 0.0)))
        colour.set_on_value_changed(lambda c: self.session.change(background=(c.red, c.green, c.blue)))
        self._row("background", colour)
        self._buttons(("home", self._go_home), ("level", self.session.level))
        self._buttons(("save picture", self._screenshot))

    def _camera_controls(self) -> None:
        if self.session.cameras is None:
            return
        number = self.gui.Slider(self.gui.Slider.INT)
        number.set_limits(0, len(self.session.cameras) - 1)
        number.set_on_value_changed(lambda value: self._do(lambda: self._jump(int(value))))
        self._row("training camera", number)

    def _film_controls(self) -> None:
        self.keys = self.gui.Label("no keys")
        self.seconds = self._number("seconds", self.session.keyframes.seconds, self._timed)
        self.panel.add_child(self.keys)
        self._buttons(
            ("add key", lambda: self._edit(self.session.add_key)),
            ("drop key", lambda: self._edit(self.session.drop_key)),
        )
        closed = self.gui.Checkbox("back to the first key")
        closed.set_on_checked(lambda on: self._keyed(closed=on))
        self.closed = closed
        self._control("back to the first key", closed)
        self.path = self.gui.TextEdit()
        self.path.text_value = str(self.folder / "film.mp4")
        self._row("file", self.path)
        self._buttons(("preview", self._preview), ("export film", self._export))
        self._buttons(("save keys", self._save_keys), ("load keys", self._load_keys))
        self.progress = self.gui.ProgressBar()
        self.panel.add_child(self.progress)

    def _overlay_controls(self) -> None:
        for name in self.layers.names:
            self._switch(name)
        self.file = self.gui.TextEdit()
        self.file.placeholder_text = "mesh.ply, points.ply"
        self._row("mesh or points", self.file)
        self._buttons(("lay over", self._open_solid))

    def _crop_controls(self) -> None:
        box = crop_around(self.session)
        self.centre, self.size = self.gui.VectorEdit(), self.gui.VectorEdit()
        self.centre.vector_value, self.size.vector_value = box.centre, box.size
        self.cropping = self.gui.Checkbox("crop")
        self.cropping.set_on_checked(lambda on: self._do(self._crop))
        self._control("crop", self.cropping)
        for name, edit in (("centre", self.centre), ("size", self.size)):
            edit.set_on_value_changed(lambda value: self._do(self._crop))
            self._row(name, edit)

    def _row(self, name: str, widget: Any) -> None:
        self.panel.add_child(self.gui.Label(name))
        self._control(name, widget)

    def _control(self, name: str, widget: Any, parent: Any = None) -> None:
        self.controls[name] = widget
        (parent or self.panel).add_child(widget)

    def _number(self, name: str, value: float | int, changed: Callable[[float], None]) -> Any:
        edit = self.gui.NumberEdit(self.gui.NumberEdit.DOUBLE)
        edit.double_value = value
        edit.set_on_value_changed(lambda value: self._do(lambda: changed(value)))
        self._row(name, edit)
        return edit

    def _buttons(self, *buttons: tuple[str, Callable[[], None]]) -> None:
        row = self.gui.Horiz(4)
        for name, action in buttons:
            button = self.gui.Button(name)
            button.vertical_padding_em = 0
            button.set_on_clicked(lambda action=action: self._do(action))
            self._control(name, button, row)
        self.panel.add_child(row)

    def _switch(self, name: str) -> None:
        box = self.gui.Checkbox(name)
        box.set_on_checked(lambda on: self._do(lambda: self.layers.switch(name, on)))
        self._control(name, box)

    def _do(self, action: Callable[[], None]) -> None:
        """Run what a control asks for, and say what is wrong with it."""
        try:
            action()
        except (ValueError, IndexError, OSError, SceneError, SolidError) as error:
            self._say(str(error))

    def _tell(self, text: str) -> None:
        """Say something, from another thread."""
        self.app.post_to_main_thread(self.window, lambda: self._say(text))

    def _say(self, text: str) -> None:
        self.said.text = "\n".join(text[i : i + 34] for i in range(0, min(len(text), 240), 34))
        self.window.set_needs_layout()
        self.window.post_redraw()

    # What the controls do.

    def _go_home(self) -> None:
        self.session.go_home()
        self.fov.double_value = self.session.view.fov

    def _jump(self, index: int) -> None:
        self.session.jump(index)
        self.fov.double_value = self.session.view.fov
        if self.session.names:
            self._say(self.session.names[index])

    def _screenshot(self) -> None:
        path = free_name(self.folder / "view.png")
        self.session.screenshot(path)
        self._say(str(path))

    def _edit(self, how: Callable[[], None]) -> None:
        how()
        self._count_keys()

    def _keyed(self, **changes: Any) -> None:
        self.session.keyframes = replace(self.session.keyframes, **changes)
        self._count_keys()

    def _count_keys(self) -> None:
        self.keys.text = f"{len(self.session.keyframes.keys)} keys"

    def _timed(self, seconds: float) -> None:
        self._keyed(seconds=seconds)

    def _save_keys(self) -> None:
        path, view = Path(self.path.text_value).with_suffix(".json"), self.session.view
        self.session.keyframes.save(path, self.session.scene.model_from_input, view.width, view.height)
        self._say(str(path))

    def _load_keys(self) -> None:
        path = Path(self.path.text_value).with_suffix(".json")
        self.session.keyframes = Keyframes.load(path, self.session.scene.model_from_input)
        self.seconds.double_value = self.session.keyframes.seconds
        self.closed.checked = self.session.keyframes.closed
        self._count_keys()

    def _preview(self) -> None:
        """Go along the film, as fast as it will be shown; pressed again, stop."""
        if self.preview.is_set():
            self.preview.clear()
            return
        cameras = self.session.keyframes.cameras(self.session.view.width, self.session.view.height)
        self.preview.set()

        def play() -> None:
            began, fps = time.perf_counter(), self.session.keyframes.fps
            try:
                while self.preview.is_set() and (at := int((time.perf_counter() - began) * fps)) < len(
                    cameras
                ):
                    self.session.show(cameras[at].camera_to_world, float(cameras[at].fov))
                    time.sleep(1 / 60)
            finally:
                self.preview.clear()

        threading.Thread(target=play, name="preview", daemon=True).start()

    def _export(self) -> None:
        if self.film and self.film.thread.is_alive():
            self.film.stop()
            return
        view = self.session.view

        def tell(share: float | None, line: str) -> None:
            def put() -> None:
                self.progress.value = 0.0 if share is None else share
                self._say(line)

            self.app.post_to_main_thread(self.window, put)

        self.film = FilmExport(self.session, Path(self.path.text_value), view.width, view.height, tell)
        self.film.start()

    def _open_solid(self) -> None:
        path = Path(self.file.text_value).expanduser()
        self.layers.open(path)
        if path.name not in self.controls:
            self._switch(path.name)
        self.controls[path.name].checked = True
        self.layers.switch(path.name, True)
        self.window.set_needs_layout()

    def _crop(self) -> None:
        crop = None
        if self.cropping.checked:
            centre, size = (tuple(map(float, edit.vector_value)) for edit in (self.centre, self.size))
            crop = Crop(centre, size).moved(self.session.scene.model_from_input)
        self.session.change(crop=crop)


def enlarged(rgb: UInt8[Tensor, "h w 3"], width: int, height: int) -> UInt8[Tensor, "height width 3"]:
    """A coarse picture at the size of the widget."""
    if rgb.shape[:2] == (height, width):
        return rgb
    planes = rgb.movedim(-1, 0)[None].float()
    return F.interpolate(planes, (height, width), mode="bilinear")[0].movedim(0, -1).to(torch.uint8)


def free_name(path: Path) -> Path:
    """The path, or the first of path-2, path-3, ... that is not there yet."""
    number, free = 1, path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.stem}-{number}{path.suffix}")
    return free
