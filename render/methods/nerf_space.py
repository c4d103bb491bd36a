"""The space that NeRF's networks see, and where samples stand in it, by the bounds of a scene.

    a box        the model frame; samples even in distance
    a frustum    NDC of the view that forward-facing cameras share (NeRF, arXiv:2003.08934, appendix C);
                 samples even in disparity along its axis
    no end       contracted (mip-NeRF 360, arXiv:2111.12077, Eq. 10); samples even in distance at first, in
                 disparity further out

Density is what a length of this space holds: at the end of the world a unit of NDC or of the contracted
shell is long, and as easy to fill as one that is near. What a length of the model frame holds depends on its
direction there; `Space.scale` is the mean of all directions that fields/contraction.py justifies.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from fields.contraction import contract, contraction_scale, ndc_scale, to_ndc
from render.samplers.hierarchical import RaySamples, Rule
from render.samplers.proposal import distance_of_s, piecewise, points_at
from render.volume import edges_of_points
from scenes.rays import Rays
from scenes.scene import Bounds

TURN = piecewise(1.0)  # at the faces of the box [-1, 1]^3
LEAST_ALONG = 0.05  # share of a ray along the frustum's axis: what runs across it never leaves


@dataclass(frozen=True)
class Space:
    """Samples stand at places u along rays: distances in a box, else shares of the way, 0 to 1."""

    bounds: Bounds

    @property
    def name(self) -> str:
        if self.bounds.frustum:
            return "NDC"
        return "contracted" if self.bounds.unbounded else "box"

    def ends(self, stretch: Float[Tensor, "n"]) -> tuple[Float[Tensor, "n"], Float[Tensor, "n"]]:
        """u where rays begin and end; near and far of a box are told `stretch` times as far away."""
        if self.bounds.unbounded:
            return torch.zeros_like(stretch), torch.ones_like(stretch)
        return self.bounds.near * stretch, self.bounds.far * stretch

    def distances(self, u: Float[Tensor, "n s"], rays: Rays) -> Float[Tensor, "n s"]:
        """How far along its ray (n,) each place is, scene units."""
        bounds = self.bounds
        if not bounds.unbounded:
            return u
        near, far = (torch.full_like(u[:, 0], end) for end in (bounds.near, bounds.far))
        if bounds.frustum is None:
            return distance_of_s(u, near, far, TURN)
        near = torch.full_like(near, bounds.frustum.near)
        forward = near.new_tensor(bounds.frustum.forward)
        behind = ((rays.origins - near.new_tensor(bounds.frustum.centre)) * forward).sum(dim=-1)
        along = (rays.directions * forward).sum(dim=-1).clamp(min=LEAST_ALONG)
        z = 1 / ((1 - u) / near[:, None] + u / far[:, None])
        return ((z - behind[:, None]) / along[:, None]).clamp(min=0)

    def points(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Points of the model frame as the networks take them."""
        frustum = self.bounds.frustum
        if frustum is None:
            return contract(points) if self.bounds.unbounded else points
        seen = self._in_frustum(points)
        seen = torch.cat((seen[..., :2], seen[..., 2:].clamp(min=frustum.near / 2)), dim=-1)
        slope = points.new_tensor(frustum.slope)
        return to_ndc(seen, torch.ones_like(slope), slope, frustum.near)

    def scale(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n"]:
        """Lengths in the networks' space over lengths in the model frame, about points of the model frame.

        The cube root of how volumes change; 0 before a frustum begins, where no ray is read.
        """
        frustum = self.bounds.frustum
        if frustum is None:
            return contraction_scale(points) if self.bounds.unbounded else torch.ones_like(points[..., 0])
        seen, slope = self._in_frustum(points), points.new_tensor(frustum.slope)
        before = seen[..., 2] < frustum.near
        seen = torch.where(before[..., None], 1.0, seen)
        return torch.where(before, 0.0, ndc_scale(seen, torch.ones_like(slope), slope, frustum.near))

    def _in_frustum(self, points: Float[Tensor, "*n 3"]) -> Float[Tensor, "*n 3"]:
        """Points of the model frame in the axes of the view that cameras share."""
        frustum = self.bounds.frustum
        axes = points.new_tensor([frustum.right, frustum.down, frustum.forward])
        return (points - points.new_tensor(frustum.centre)) @ axes.T

    def edges(self, samples: RaySamples, rays: Rays, rule: Rule) -> Float[Tensor, "n edges"]:
        """Lengths along rays (n,) in the space of the networks, at the edges of samples."""
        if not self.bounds.unbounded:
            return samples.edges
        places = samples.distances if rule == "published" else samples.edges
        way = self.points(points_at(rays, self.distances(places, rays.detach())))
        steps = way.diff(dim=-2).norm(dim=-1)
        lengths = torch.nn.functional.pad(steps, (1, 0)).cumsum(dim=-1)
        return edges_of_points(lengths) if rule == "published" else lengths
