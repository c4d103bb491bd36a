"""What the fused calls of `fields/kernels/ngp.py` pass: the structures of csrc/kernels.h, field by field."""

import ctypes
from ctypes import c_double, c_float, c_int32, c_int64, c_uint64, c_void_p

import torch

from fields.kernels.checks import check_array
from fields.kernels.library import Grid
from scenes.lenses import COEFFICIENTS, PROJECTIONS
from scenes.pixels import PixelSource


class FieldStruct(ctypes.Structure):
    """nr_ngp of csrc/kernels.h."""

    _fields_ = (
        ("grid", Grid),
        ("table", c_void_p),
        ("table_half", c_void_p),
        ("density_weights", c_void_p),
        ("color_weights", c_void_p),
        ("density_width", c_int32),
        ("density_hidden_layers", c_int32),
        ("color_width", c_int32),
        ("color_hidden_layers", c_int32),
        ("bits", c_void_p),
        ("resolution", c_int32),
        ("levels", c_int32),
        ("bfloat16", c_int32),
        ("box_minimum", c_float * 3),
        ("box_side", c_float),
        ("density_shift", c_float),
    )


class PixelsStruct(ctypes.Structure):
    """nr_pixels."""

    _fields_ = (
        ("data", c_void_p),
        ("offset", c_void_p),
        ("width", c_void_p),
        ("height", c_void_p),
        ("camera_to_world", c_void_p),
        ("intrinsics", c_void_p),
        ("blocks", c_void_p),
        ("foreground_blocks", c_int64),
        ("background_blocks", c_int64),
        ("foreground_rate", c_double),
        ("sighting_rate", c_double),
        ("seen", c_void_p),
        ("distortion", c_void_p),
        ("distance", c_void_p),
        ("sighted", c_void_p),
        ("sighted_distance", c_void_p),
        ("sightings", c_int64),
        ("appearance", c_void_p),
        ("projection", c_int32),
        ("channels", c_int32),
    )


class AdamStruct(ctypes.Structure):
    """nr_adam_state."""

    _fields_ = tuple((name, c_void_p) for name in ("value", "first_moment", "second_moment", "gradient"))


class StepRaysStruct(ctypes.Structure):
    """nr_step_rays."""

    _fields_ = tuple((name, c_void_p) for name in ("pixel", "color", "color_gradient", "origin", "direction"))


class StepStruct(ctypes.Structure):
    """nr_ngp_step."""

    _fields_ = (
        ("seed", c_uint64),
        ("step", c_int64),
        ("rays", c_int64),
        ("march_step", c_float),
        ("march_growth", c_float),
        ("march_near", c_float),
        ("lowest_transmittance", c_float),
        ("lowest_weight", c_float),
        ("fade", c_float),
        ("distortion", c_float),
        ("depth", c_float),
        ("opacity", c_float),
        ("active_levels", c_int32),
        ("huber_delta", c_float),
        ("background_weight", c_float),
        ("random_background", c_int32),
        ("background", c_float * 3),
        ("learning_rate", c_float),
        ("beta1", c_float),
        ("beta2", c_float),
        ("epsilon", c_float),
        ("weight_decay", c_float),
        ("table", AdamStruct),
        ("density_weights", AdamStruct),
        ("color_weights", AdamStruct),
        ("rays_told", c_void_p),
        ("gradients_only", c_int32),
        ("profile", c_int32),
        ("loss", c_double),
        ("squared_error", c_double),
        ("evaluated", c_int64),
        ("selected", c_int64),
        ("stage_seconds", c_double * 10),
    )


class OccupancyStruct(ctypes.Structure):
    """nr_occupancy_update."""

    _fields_ = (
        ("density", c_void_p),
        ("bits", c_void_p),
        ("seed", c_uint64),
        ("step", c_int64),
        ("updates", c_int64),
        ("stride", c_int64),
        ("march_step", c_float),
        ("decay", c_float),
        ("thinnest", c_float),
    )


def pixels_struct(pixels: PixelSource) -> PixelsStruct:
    """Where the pixels lie, checked, without a step's rates and appearance. Raises: ValueError."""
    n = len(pixels)
    check_array("pixels.data", pixels.data, (None,), torch.uint8)
    check_array("pixels.offset", pixels.offset, (n,), torch.int64)
    check_array("pixels.width", pixels.width, (n,), torch.int32)
    check_array("pixels.height", pixels.height, (n,), torch.int32)
    check_array("pixels.camera_to_world", pixels.camera_to_world, (n, 3, 4))
    check_array("pixels.intrinsics", pixels.intrinsics, (n, 4))
    check_array("pixels.blocks", pixels.blocks, (None, 3), torch.int32)
    if pixels.seen is not None:
        check_array("pixels.seen", pixels.seen, (len(pixels.blocks),), torch.int64)
    if pixels.distortion is not None:
        check_array("pixels.distortion", pixels.distortion, (n, COEFFICIENTS))
    if pixels.distances is not None:
        check_array("pixels.distances", pixels.distances, (len(pixels.data) // pixels.channels,))
    sightings = 0 if pixels.sighted is None else len(pixels.sighted)
    if sightings:
        check_array("pixels.sighted", pixels.sighted, (sightings, 3), torch.int32)
        check_array("pixels.sighted_distance", pixels.sighted_distance, (sightings,))
    return PixelsStruct(
        data=pixels.data.data_ptr(),
        offset=pixels.offset.data_ptr(),
        width=pixels.width.data_ptr(),
        height=pixels.height.data_ptr(),
        camera_to_world=pixels.camera_to_world.data_ptr(),
        intrinsics=pixels.intrinsics.data_ptr(),
        blocks=pixels.blocks.data_ptr(),
        foreground_blocks=pixels.n_foreground,
        background_blocks=len(pixels.blocks) - pixels.n_foreground,
        seen=None if pixels.seen is None else pixels.seen.data_ptr(),
        distortion=None if pixels.distortion is None else pixels.distortion.data_ptr(),
        distance=None if pixels.distances is None else pixels.distances.data_ptr(),
        sighted=pixels.sighted.data_ptr() if sightings else None,
        sighted_distance=pixels.sighted_distance.data_ptr() if sightings else None,
        sightings=sightings,
        projection=PROJECTIONS.index(pixels.projection),
        channels=pixels.channels,
    )
