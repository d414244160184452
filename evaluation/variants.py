"""The variants of an ablation: what of MoSEAR is at work."""

from __future__ import annotations

AS_IS = ""
BASE, ONLY_MOSE, ONLY_AR, BOTH = "base", "mose", "ar", "mose_ar"

ABLATION = (BASE, ONLY_MOSE, ONLY_AR, BOTH)

TITLES = {
    AS_IS: "as it is",
    BASE: "base",
    ONLY_MOSE: "+MoSE",
    ONLY_AR: "+AR",
    BOTH: "+MoSE +AR",
}
