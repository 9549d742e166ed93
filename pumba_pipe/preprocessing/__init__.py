"""An image before its brain is looked for: conforming, bias field, series reference."""
