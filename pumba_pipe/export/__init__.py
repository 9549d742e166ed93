"""Networks for other runtimes: ONNX files and MONAI bundles, with what has to go around them."""
