"""An image onto a template."""
