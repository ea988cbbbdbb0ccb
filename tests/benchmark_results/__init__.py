"""
The benchmarks without the other programs that they need: how they read figures, judge and compare them.
"""
