"""Networks as torch modules: building an `Arch`, counting it, fusing it, loading published weights into it.

This module imports nothing, so that counting (`ghostfit.counting`) needs no torch.
"""
