"""A bundle on a device."""

import os

# ONNX Runtime's official packages report to their maker, in newer versions on Linux too: they write an identifier of
# the device into the user's cache and send events. What is told not to before it is loaded does neither.
os.environ["ORT_DISABLE_TELEMETRY"] = os.environ["ORT_TELEMETRY_DISABLED"] = "1"
