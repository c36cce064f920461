"""Compiled projection of round cones along parallel rays; what it does is said in `limbs.py`."""

from __future__ import annotations

import numpy as np

from coincide.data.synthesis._paint_kernels import span
from coincide.ops._parallel import kernel


@kernel
def _within(x, y, c, swell):
    """Where a ray along z through (x, y) enters and leaves the round cone `c`, whose radii count `swell` times."""
    ax, ay, az, r0, dr = c[3] - c[0], c[4] - c[1], c[5] - c[2], c[6] * swell, (c[7] - c[6]) * swell
    x, y = x - c[0], y - c[1]
    low, high = 1e9, -1e9
    ball = r0 * r0 - x * x - y * y
    if ball > 0:
        low, high = -np.sqrt(ball), np.sqrt(ball)
    ball = (r0 + dr) ** 2 - (x - ax) ** 2 - (y - ay) ** 2
    if ball > 0:
        low, high = min(low, az - np.sqrt(ball)), max(high, az + np.sqrt(ball))
    square = ax * ax + ay * ay + az * az
    if square > 0:
        # the share along the axis is t + k u at the height u, what is across the axis A + u B, the radius R + u S
        t, k = (ax * x + ay * y) / square, az / square
        a0, a1, a2 = x - t * ax, y - t * ay, -t * az
        b0, b1, b2 = -k * ax, -k * ay, 1 - k * az
        radius, slope = r0 + t * dr, k * dr
        p = b0 * b0 + b1 * b1 + b2 * b2 - slope * slope
        q = a0 * b0 + a1 * b1 + a2 * b2 - radius * slope
        s = a0 * a0 + a1 * a1 + a2 * a2 - radius * radius
        first, last = -1e9, 1e9
        if abs(k) > 1e-9:
            first, last = min(-t / k, (1 - t) / k), max(-t / k, (1 - t) / k)
        elif t < 0 or t > 1:
            last = -2e9
        if p > 1e-9:
            inner = q * q - p * s
            if inner > 0:
                first, last = max(first, (-q - np.sqrt(inner)) / p), min(last, (-q + np.sqrt(inner)) / p)
            else:
                last = -2e9
        elif s >= 0:
            last = -2e9
        if last > first:
            low, high = min(low, first), max(high, last)
    return low + c[2], high + c[2]


@kernel
def _joined(spans, low, high):
    """Add a stretch of a ray to those that are there, which touch nowhere; empty ones end before they begin."""
    for n in range(len(spans)):
        if spans[n, 1] > spans[n, 0] and spans[n, 0] <= high and low <= spans[n, 1]:
            low, high = min(low, spans[n, 0]), max(high, spans[n, 1])
            spans[n, 0], spans[n, 1] = 1.0, 0.0
    for n in range(len(spans)):
        if spans[n, 1] <= spans[n, 0]:
            spans[n, 0], spans[n, 1] = low, high
            return


@kernel
def project(spans, labels, near, origin, step, noise, rods, names, wall):
    """Join the stretches of all rays inside `rods` to `spans`; label what is nearest to the viewer, whose z is least.

    `wall` is the share of the radius, at least 0.6 mm, that is left out all around; labels are told where it is 0.
    """
    for s in range(len(rods)):
        c = rods[s]
        reach = max(c[6], c[7]) * 1.2
        i0, i1 = span(min(c[0], c[3]) - reach, max(c[0], c[3]) + reach, origin[0], step[0], labels.shape[0])
        j0, j1 = span(min(c[1], c[4]) - reach, max(c[1], c[4]) + reach, origin[1], step[1], labels.shape[1])
        thin = 1 - max(wall, 0.6 / max(min(c[6], c[7]), 0.61)) if wall > 0 else 1.0
        if thin <= 0.05:
            continue
        for i in range(i0, i1):
            for j in range(j0, j1):
                x, y = origin[0] + i * step[0], origin[1] + j * step[1]
                low, high = _within(x, y, c, thin * (1 + 0.05 * noise[i, j]))
                if high > low:
                    _joined(spans[i, j], low, high)
                    if names[s] > 0 and low < near[i, j]:
                        labels[i, j], near[i, j] = names[s], low
