"""How exactly regions find known motions of the pictures that scikit-image ships.

python -m benchmarks.structure
python -m benchmarks.structure --picture docs/structure.jpg
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

from benchmarks.features import error_px, known_pair, known_rows, summary


def main() -> None:
    """Print the table, or write the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--images", nargs="+", default=["camera", "coins", "page", "cell", "moon", "retina"])
    options = parser.parse_args()
    if options.picture:
        draw(options.picture)
    else:
        print(summary(list(known_rows(["regions"], options.images, "transform"))))


def draw(path: Path) -> None:
    """Write a picture of the regions of coins, matched with those of the same coins turned, smaller and noisier."""
    from PIL import Image as Canvas

    from coincide.registration import register
    from coincide.report.pictures import figure

    pair, truth = known_pair("coins", "similarity", 35, 0.7, True)
    result = register(pair, "regions:transform=similarity")
    print(*result.decisions, f"error {error_px(result.transform, truth, pair):.3f} px", sep="\n")
    picture = Canvas.open(io.BytesIO(figure(result, "matches"))).convert("RGB")
    picture.resize([round(n * 1200 / picture.width) for n in picture.size], Canvas.Resampling.LANCZOS).save(
        path
    )


if __name__ == "__main__":
    main()
