"""What runs on the device that is measured, and so needs no more than Python, numpy, PyYAML and the runtime there."""
