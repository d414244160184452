"""Where live answers go. A slow or lost sink never stops the loop."""
