"""Size and accuracy of bundles of one checkpoint, from the reports that their builds wrote into them.

for p in fp32 int8 int4 mixed; do mosear-export build reference -o bundles/$p --precision $p --mose merged; done
python benchmarks/precisions.py bundles/fp32 bundles/int8 bundles/int4 bundles/mixed
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mosear.runtime.bundle import Bundle

SUBSETS = ("video_aligned", "audio_aligned", "consistent")


def row(path: Path) -> list[str]:
    """One bundle's cells."""
    manifest = Bundle.open(path).manifest
    report = manifest.verification
    measured = {check["name"]: check["measured"] for check in report["checks"]}
    graphs = sum(entry.size for name, entry in manifest.files.items() if name.endswith((".onnx", ".weights")))
    accuracy = [f"{100 * report['accuracy'][subset]['bundle']:.1f}" for subset in SUBSETS]
    return [
        f"{manifest.target}, {manifest.precision}",
        f"{graphs / 1e6:.2f}",
        *accuracy,
        f"{100 * measured['modality gap']:.1f}",
        f"{100 * measured['label agreement with the unmerged model']:.1f}",
        f"{measured['label distributions, mean KL (same gates)']:.1e}",
        f"{100 * measured['heads selected alike']:.2f}",
        f"{measured['expected calibration error']:.3f}",
    ]


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", nargs="+", type=Path)
    print(
        "| bundle | graphs and weights, MB | video-aligned % | audio-aligned % | consistent % | gap | labels alike % "
        "| label KL, nats | heads alike % | ECE |"
    )
    print("|" + "---|" * 10)
    for path in parser.parse_args().bundles:
        print(f"| {' | '.join(row(path))} |")


if __name__ == "__main__":
    main()
