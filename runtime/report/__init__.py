"""Pages that need nothing else: markup, drawings as inline SVG, one style, one document around them."""
